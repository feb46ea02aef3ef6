"""One thing done to a history, as text for people and as source for a script.

Both are made only when somebody will read them: most steps belong to stories that end well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

Lazy = str | Callable[[], str]


@dataclass(frozen=True)
class Step:
    """`text` is the line that a report shows, `code` the same in Python, `result` what it gave."""

    text: Lazy
    code: Lazy
    result: Lazy | None = None

    def line(self) -> str:
        """The step with its result, `a.messages  ->  [Human "0"]`; empty for a mere check."""
        return (
            now(self.text) if self.result is None else f"{now(self.text)}  ->  {now(self.result)}"
        )

    def source(self) -> str:
        """The step as Python, one or several lines."""
        return now(self.code)

    def with_result(self, result: Lazy) -> Step:
        """The same step, with what it gave."""
        return replace(self, result=result)


def now(lazy: Lazy) -> str:
    """The text itself."""
    return lazy if isinstance(lazy, str) else lazy()
