"""The program of a process that runs one contract: a task on stdin, the answer on stdout."""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.diagnosis.script import script
from chat_history_conformance.diagnosis.steps import Step, listed
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.own_process import Answer, Task
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Finding

__all__ = ["main"]


def main() -> None:
    """Run the contract of the task on stdin, and write its answer to stdout."""
    gc.freeze()  # the garbage collector need not look at imported modules
    data = sys.stdin.buffer.read()
    # A history may print. That must not get into the answer, so it goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    task = pickle.loads(data)
    assert isinstance(task, Task)
    sys.path[:] = task.path
    answer = pickle.dumps(_answer(task))
    answers.write(answer)
    answers.flush()
    sys.stderr.flush()
    os._exit(0)  # a history may leave threads that never end


def _answer(task: Task) -> Answer:
    subject = Subject(registry.load_again(task.backend, task.origin), **task.options)
    contract = catalogue.find(task.contract)
    stories: list[Sequence[Step]] | None = [] if task.with_stories else None
    try:
        result = engine.run(
            contract, subject, task.mode, task.profile, task.seed, stories=stories, again=False
        )
    finally:
        subject.stop()
    if result.finding is None or not stories:
        return Answer(result)
    return Answer(result, tuple(_with_earlier(task, subject, result.finding, stories)))


def _with_earlier(
    task: Task, subject: Subject, finding: Finding, stories: Sequence[Sequence[Step]]
) -> Iterator[Finding]:
    """Yield the finding with 1, 2, 4 and more of the examples before it, and with all of them."""
    *earlier, last = stories
    numbers = sorted({*(1 << power for power in range(9)), len(earlier)})
    for number in numbers:
        if 0 < number <= len(earlier):
            before = earlier[-number:]
            label = f"{task.contract}[{task.mode}]"
            code = script(subject.backend, label, finding.summary, last, earlier=before)
            lines = [
                f"earlier, in other sessions: {line}" for steps in before for line in listed(steps)
            ]
            note = (
                f"the failure needs the {number} earlier conversation{'s'[: number != 1]}: the "
                "history keeps a state from them"
            )
            yield replace(
                finding,
                steps=(*lines, *listed(last)),
                reproducer=code,
                notes=(*finding.notes, note),
            )


if __name__ == "__main__":
    main()
