"""One thing done to a history, as text for people and as source for a script.

Both are made only if somebody reads them: most steps belong to runs that end well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chat_history_conformance.diagnosis.code import Code

__all__ = ["LazyCode", "LazyText", "Step", "listed", "now"]

LazyText = str | Callable[[], str]
LazyCode = Code | Callable[[], Code]


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        text: The line that a report shows, empty for a mere check.
        code: The same step in Python.
        result: The result of the step, as text.
        name: The name of the result in the script. The line shows it if another line uses it.
    """

    text: LazyText
    code: LazyCode
    result: LazyText | None = None
    name: str = ""

    def line(self) -> str:
        """Return the step with its result, such as `a.messages  ->  [Human "0"]`."""
        if self.result is None:
            return now(self.text)
        return f"{now(self.text)}  ->  {now(self.result)}"

    def source(self) -> Code:
        """Return the step as Python, one or several lines."""
        return self.code if isinstance(self.code, Code) else self.code()

    def settled(self) -> Step:
        """Return the same step with its texts as they are now."""
        result = None if self.result is None else now(self.result)
        return replace(self, text=now(self.text), result=result)

    def with_source(self) -> Step:
        """Return the same step with its source as it is now, while its histories are open."""
        return replace(self, code=self.source())

    def with_result(self, result: LazyText) -> Step:
        """Return the same step with its result."""
        return replace(self, result=result)


def listed(steps: Sequence[Step]) -> tuple[str, ...]:
    """Return the lines of all steps. A result gets its name if a line uses that name."""
    texts = [step.line() for step in steps]
    words = set(re.findall(r"\w+", "\n".join(texts)))
    return tuple(
        f"{step.name} = {text}" if step.name in words else text
        for step, text in zip(steps, texts, strict=True)
        if text
    )


def now(lazy: LazyText) -> str:
    """Return the text itself."""
    return lazy if isinstance(lazy, str) else lazy()
