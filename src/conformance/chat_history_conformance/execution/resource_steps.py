"""Threads, files and sockets that calls leave open."""

from __future__ import annotations

import math
from collections.abc import Callable

from chat_history_conformance.diagnosis.code import fill, join
from chat_history_conformance.diagnosis.script_claims import below
from chat_history_conformance.diagnosis.script_helpers import more_than, open_files, open_threads
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.session import Session

__all__ = ["SPARE", "leaves_nothing_open", "repeat"]

SPARE = 8
"""Additional threads and files that are allowed: pools grow, and other work continues."""


def leaves_nothing_open(
    s: Session, act: Callable[[], None], what: str, *, certain: float = math.inf
) -> None:
    """Do something, and fail if it leaves more and more threads or files open.

    If `SPARE` or more are open after the first time, it is done once more and counted from there:
    a pool that has grown to its size does not grow again.

    Args:
        s: The session.
        act: What to do.
        what: The cause of those that are open, in words.
        certain: If so many are open, no pool explains them, and the first time counts. The second
            one may take so long that threads of the first end meanwhile.
    """
    counts = {"threads": open_threads, "files": open_files}
    for is_last in (False, True):
        before = {name: s.do(count, as_=name) for name, count in counts.items()}
        act()
        more = {
            name: s.do(more_than, before[name], count, SPARE, as_=f"more_{name}")
            for name, count in counts.items()
        }
        most = max(number.value for number in more.values())
        if is_last or most < SPARE or most >= certain:
            break
    for name, number in more.items():
        summary = f"{what} left {number.value} {name} open"
        s.check(below, number, SPARE, kind="other", summary=summary)


def repeat(s: Session, times: int, act: Callable[[], None], text: str) -> None:
    """Do something several times, as one step.

    Args:
        s: The session.
        times: How often.
        act: What to do, with the same steps each time.
        text: The same in words.
    """
    start = len(s.steps)
    for number in range(times):
        act()
        if number == 0:
            steps = s.steps[start:]
        del s.steps[start:]
    body = join("\n", [step.source() for step in steps])
    code = fill("for _ in range({}):\n{}", str(times), body.indented())
    s.steps.append(Step(f"{times} times: {text}", code))
