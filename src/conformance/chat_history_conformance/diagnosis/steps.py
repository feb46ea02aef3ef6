"""One thing done to a history, as text for people and as source for a script.

Both are made only if somebody reads them: most steps belong to runs that end well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from chat_history_conformance.diagnosis.code import Code

__all__ = ["LazyCode", "LazyText", "Step", "now"]

LazyText = str | Callable[[], str]
LazyCode = Code | Callable[[], Code]


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        text: The line that a report shows, empty for a mere check.
        code: The same step in Python.
        result: The result of the step, as text.
    """

    text: LazyText
    code: LazyCode
    result: LazyText | None = None

    def line(self) -> str:
        """Return the step with its result, such as `a.messages  ->  [Human "0"]`."""
        if self.result is None:
            return now(self.text)
        return f"{now(self.text)}  ->  {now(self.result)}"

    def source(self) -> Code:
        """Return the step as Python, one or several lines."""
        return self.code if isinstance(self.code, Code) else self.code()

    def with_result(self, result: LazyText) -> Step:
        """Return the same step with its result."""
        return replace(self, result=result)


def now(lazy: LazyText) -> str:
    """Return the text itself."""
    return lazy if isinstance(lazy, str) else lazy()
