"""The examples of one contract: how many run, when they end, and the smallest failure."""

from __future__ import annotations

import threading
import time
import traceback
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage

from chat_history_conformance.diagnosis.compare import (
    ConformanceFailure,
    NotApplicable,
    ServerFailure,
    Unrepeated,
)
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.enumeration import Enumeration, enumerating
from chat_history_conformance.execution.model import Model
from chat_history_conformance.execution.profiles import MIN_EXAMPLES, Profile
from chat_history_conformance.execution.session import Session
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Finding, Mode

__all__ = ["Decided", "Examples", "Spent", "TimeIsUp", "forget"]


_HYPOTHESIS = threading.Lock()


class TimeIsUp(BaseException):
    """The end of the time to shorten a story; no `Exception`, so that Hypothesis stops at once."""


class Spent(BaseException):
    """The end of the operations of a contract."""


class Decided(BaseException):
    """An outcome that no further example can change."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class _WholeListFailed(BaseException):
    """A failure of an example with a whole fixed list, which Hypothesis cannot shorten."""


class Examples:
    """The examples of one contract on one backend in one mode.

    Attributes:
        number: The examples that ran until the first failure.
        found: The finding of the shortest failure so far.
        cut: Whether the operations ended before all examples had run.
        untried: What the declaration would have to name for more to be tried, in sentences.
        stories: The steps of all examples until the first failure, if they are wanted.
        messages: The messages that the history accepted in the shortest failure.
    """

    def __init__(
        self,
        contract: Contract,
        subject: Subject,
        mode: Mode,
        profile: Profile,
        stories: list[Sequence[Step]] | None = None,
    ) -> None:
        self.contract = contract
        self.subject = subject
        self.mode = mode
        self.profile = profile
        self.number = 0
        self.found: Finding | None = None
        self.cut = False
        self.untried: dict[str, None] = {}
        self.stories = stories
        self.messages: list[BaseMessage] = []
        self._cost = 0.0
        self._deadline: float | None = None
        self._enumeration = Enumeration()
        self._pinned: Finding | None = None
        self._accepted: Iterable[Model] = ()
        self._script: Callable[[], str] | None = None

    def search(self, seed: int) -> None:
        """Draw examples until one fails or the operations are used up, then shorten the failure.

        Args:
            seed: The seed of the examples.

        Raises:
            TimeIsUp: The time to shorten the failure is up.
            Decided: Nothing can be judged.
            ConformanceFailure: `found` is the shortest failure.
            Flaky: `found` is a failure that did not come every time.
        """
        try:
            with enumerating(whole=True) as self._enumeration:
                self._draw(seed, self.run_one)
        except Spent:
            self.cut = True
        except _WholeListFailed:
            self._pinned, self.found = self.found, None
            try:
                with enumerating(whole=False) as self._enumeration:
                    self._draw(seed, self.run_one)
            finally:
                if self.found is None:
                    self.found, self._script = self._pinned, None

    def finding(self) -> Finding | None:
        """Return the finding of the shortest failure, with its script."""
        if self.found is not None and self._script is not None:
            self.found = replace(self.found, reproducer=self._script())
            self._script = None
        return self.found

    def screen(self, seed: int) -> None:
        """Run the examples that `search` draws if none fails, and stop at the first failure.

        Hypothesis runs in one thread at a time. The examples do not.

        Args:
            seed: The seed of the examples.

        Raises:
            Decided: Nothing can be judged.
            ConformanceFailure: `found` is the failure.
            TimeIsUp: The same; it is not shortened.
        """
        programs: list[Any] = []
        with _HYPOTHESIS, enumerating(whole=True):
            self._draw(seed, programs.append)
        try:
            for program in programs:
                self.run_one(program)
        except Spent:
            self.cut = True

    def _draw(self, seed: int, run: Callable[[Any], None]) -> None:
        """Call `run` with the values that Hypothesis draws from the contract's program."""
        contract, profile = self.contract, self.profile
        if contract.program is None:
            run(None)
            return
        number = contract.planned(profile.examples)
        is_short = contract.racy or number == 1
        phases = [Phase.generate] if is_short else [Phase.generate, Phase.shrink]
        choose = settings(
            max_examples=number,
            phases=phases,
            database=None,
            deadline=None,
            derandomize=False,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        drawn: Callable[[Callable[[Any], None]], Callable[[], None]] = given(
            _wrapped(contract.program)
        )

        def example(program: list[Any]) -> None:
            run(program[0])

        mixed = seed ^ zlib.crc32(f"{contract.id}[{self.mode}]".encode())
        choose(with_seed(mixed)(drawn(example)))()

    # -- one example -------------------------------------------------------------------------

    def run_one(self, program: Any) -> None:
        """Run the contract once, with one value drawn from its program."""
        whole, self._enumeration.used = self._enumeration.used, False
        if self.found is None:
            if self.number >= MIN_EXAMPLES and self._cost >= self.profile.operations:
                raise Spent
        elif whole:
            return  # a whole list is not shorter than the example that was found
        self.check_deadline()
        try:
            self._try(program)
        except ConformanceFailure as failure:
            self.number += self._pinned is None and self.found is None
            self._keep(failure, whole=whole)
        except (ServerFailure, NotApplicable) as decided:
            forget(decided)
            raise Decided(decided) from None
        else:
            self.number += self._pinned is None and self.found is None

    def check_deadline(self) -> None:
        """Raise when the time to shorten a failure is up."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise TimeIsUp

    def _try(self, program: Any) -> None:
        """Run the contract once, or twice if a call did not return in time.

        Raises:
            Unrepeated: The second time it did.
        """
        session = self._session()
        try:
            self._run_in(session, program)
        except ConformanceFailure as failure:
            first = failure.finding
            if not session.judged_time or self.found or self._pinned or self.contract.racy:
                raise
            forget(failure)
        else:
            return
        again = self._session()
        self._run_in(again, program)
        raise Unrepeated(f"{first.summary}; when the same steps ran again, this did not happen")

    def _session(self) -> Session:
        wanted = self.found or self._pinned
        return Session(
            self.subject,
            self.mode,
            f"{self.contract.id}[{self.mode}]",
            racy=self.contract.racy,
            pinned=None if wanted is None else wanted.kind,
            effort=self.profile.effort,
            check_budget=self.check_deadline,
        )

    def _run_in(self, session: Session, program: Any) -> None:
        try:
            try:
                self.contract.body(session, program)
            except (ConformanceFailure, ServerFailure, NotApplicable):
                raise
            except Exception as error:
                session.explain_body(error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self.subject.hurry()
            session.finish(failed=True)
            raise
        else:
            session.finish(failed=False)
            self.untried |= session.untried
        finally:
            self._cost += session.cost
            self._accepted = session.models.values()
            if self.stories is not None:
                self.stories.append(session.steps)

    def _keep(self, failure: ConformanceFailure, *, whole: bool) -> None:
        forget(failure)
        wanted = self.found or self._pinned
        if wanted is not None and failure.finding.kind != wanted.kind:
            return  # shrinking must not slip from one defect to another
        if wanted is None:
            self._deadline = time.monotonic() + self.profile.shrink_seconds
        self.found = failure.finding
        self._script = failure.script
        self.messages = [
            kept.message for model in self._accepted for kept in (*model.cleared, *model.stored)
        ]
        if self.stories is not None:
            raise TimeIsUp  # with the first failure; shortening would add more stories
        if whole and wanted is None and not self.contract.racy:
            raise _WholeListFailed
        raise failure


def forget(failure: BaseException) -> None:
    """Let go of everything that the frames of a failure hold, such as handles.

    A history without `close` is closed by letting go of it. The exception of its call has frames
    that hold the history, and the frames hold the exception.
    """
    error: BaseException | None = failure
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    for item in seen:
        item.__cause__ = item.__context__ = None


def _wrapped(program: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Wrap each value in a list, so that Hypothesis never prints it."""
    return st.builds(lambda value: [value], program)
