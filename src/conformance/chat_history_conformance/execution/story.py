"""The record of one example: its steps, and the findings about it."""

from __future__ import annotations

import hashlib
import operator
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from chat_history_conformance.diagnosis.code import (
    Code,
    Ref,
    call,
    fill,
    join,
    values_of,
)
from chat_history_conformance.diagnosis.compare import (
    ConformanceFailure,
    NotApplicable,
    ServerFailure,
    Shortage,
    compare,
    raised,
    returned_lines,
    type_name,
)
from chat_history_conformance.diagnosis.rendering import show, source
from chat_history_conformance.diagnosis.script import id_source, script
from chat_history_conformance.diagnosis.script_claims import are_messages, below
from chat_history_conformance.diagnosis.script_helpers import claim, end_after
from chat_history_conformance.diagnosis.script_outcomes import exit_is_a_failure
from chat_history_conformance.diagnosis.steps import Step, listed
from chat_history_conformance.drivers.calls import How
from chat_history_conformance.drivers.errors import (
    EscapedError,
    Hung,
    RemoteError,
    SecondProcessCrashed,
    SecondProcessLost,
    is_server_error,
)
from chat_history_conformance.drivers.places import raised_at
from chat_history_conformance.execution.model import Model
from chat_history_conformance.execution.phrase import SLEEP
from chat_history_conformance.execution.profiles import COST_OF_A_SECOND
from chat_history_conformance.execution.settling import Effect, Settling
from chat_history_conformance.execution.shortage import shortage
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Finding, Kind, Mode
from chat_history_conformance.supervision.line import current

__all__ = ["Story"]


_NO_REFUSALS = (
    ConformanceFailure,
    ServerFailure,
    NotApplicable,
    Hung,
    SecondProcessLost,
)
"""Exceptions of a call that are not an answer of the history."""


class Story:
    """The steps of one example of a contract, and the checks on them.

    Attributes:
        subject: The backend under test.
        mode: The mode in which the example runs.
        label: The contract and the mode, for scripts.
        racy: Whether scripts repeat the steps many times.
        pinned: The kind of the finding for which a shorter example is searched.
        steps: The steps so far.
        notes: Remarks for the finding.
        nonce: A part of every session id of this example.
        error: The exception of the last call that was allowed to raise, or None.
        odd_read: The result of a read that returned other things than messages.
        disturbed: Whether the contract has done something to the server. From then on an error
            such as "connection refused" is an answer of the history, and no trouble of the run.
        models: The plain list of each session.
        local_keys: The keys of the handles that are open in this process.
        abandoned: Sessions whose handles are closed, and that may hold messages.
        cost: The operations so far. A wait counts as operations too, so that the cost does not
            depend on the speed of the history.
        settling: For how long reads may miss a write.
        refusable: Whether the next operation may raise, so that this is not a finding.
        judged_time: Whether the finding is that something took too long.
    """

    def __init__(
        self,
        subject: Subject,
        mode: Mode,
        label: str = "",
        *,
        racy: bool = False,
        pinned: Kind | None = None,
        check_budget: Callable[[], None] = lambda: None,
    ) -> None:
        self.subject = subject
        self.mode = mode
        self.label = label
        self.racy = racy
        self.pinned = pinned
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.nonce = subject.nonce()
        self.error = Ref("error", None)
        self.odd_read: Ref | None = None
        self.disturbed = False
        self.models: dict[str, Model] = {}
        self.local_keys: list[str] = []
        self.abandoned: list[str] = []
        self._check_budget = check_budget
        self.cost = 0.0
        self.settling = Settling(subject.backend.eventual)
        self.judged_time = False
        self._operations = 0
        self._variables = 0

    # -- names -------------------------------------------------------------------------------

    def variable(self, stem: str) -> str:
        """Return a fresh name for a value in the steps."""
        self._variables += 1
        return f"{stem}{self._variables}"

    def id_of(self, template: str) -> str:
        """Return the session id that a template stands for in this example; see `Session.open`."""
        own = uuid.uuid5(uuid.NAMESPACE_OID, self.nonce)
        digest = hashlib.blake2b(self.nonce.encode(), digest_size=6).digest()
        for token, value in (
            ("{nonce}", self.nonce),
            ("{number}", str(int.from_bytes(digest))),
            ("{uuid}", str(own)),
            ("{UUID}", str(own).upper()),
            ("{uuid-hex}", own.hex),
        ):
            template = template.replace(token, value)
        return template

    def id_ref(self, template: str) -> Ref:
        """Return the session id that a template stands for, and its expression in the script."""
        code = id_source(template)
        return Ref(code.text, self.id_of(template), code.needs)

    def model(self, session: str = "{nonce}-1") -> Model:
        """Return the plain list of one session."""
        return self.models.setdefault(session, Model())

    # -- steps without a history -------------------------------------------------------------

    def let(self, name: str, value: Any) -> Ref:
        """Give a value a name in the steps."""
        step = Step(f"{name} = {show(value)}", fill("{} = {}", name, source(value)))
        self.steps.append(step)
        return Ref(name, value)

    def do(self, function: Callable[..., Any], *arguments: Any, as_: str = "", **named: Any) -> Ref:
        """Call a function that scripts can call too, such as `trim_messages`.

        Args:
            function: A function that scripts can import, or one of the `script_*` modules.
            arguments: Its arguments; a `Ref` stands for its value.
            as_: The name of the result in the steps.
            named: Its keyword arguments.

        Returns:
            The result under its name.
        """
        pairs = {key: source(value) for key, value in named.items()}
        code = call(function, *map(source, arguments), **pairs)
        values = {key: values_of(value) for key, value in named.items()}
        value = self._try_step(
            function.__name__,
            fill("{} = {}", as_, code) if as_ else code,
            lambda: function(*map(values_of, arguments), **values),
        )
        if as_ and isinstance(value, int | float):
            self.steps[-1] = self.steps[-1].with_result(show(value))
        return Ref(as_, value)

    def call_method(self, target: Ref, method: str, *arguments: Any) -> None:
        """Call a method of a value that has a name, such as `append` of a list."""
        code = fill("{}.{}({})", source(target), method, join(", ", map(source, arguments)))
        values = [values_of(argument) for argument in arguments]
        self._change_step(method, code, lambda: getattr(target.value, method)(*values))

    def set_attribute(self, target: Ref, name: str, value: Any) -> None:
        """Set an attribute of a value that has a name."""
        code = fill("{}.{} = {}", source(target), name, source(value))
        self._change_step(name, code, lambda: setattr(target.value, name, value))

    def set_item(self, target: Ref, key: Any, value: Any) -> None:
        """Set an item of a list or a dict that has a name."""
        code = fill("{}[{}] = {}", source(target), source(key), source(value))
        self._change_step(str(key), code, lambda: operator.setitem(target.value, key, value))

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.steps.append(Step(f"wait {seconds:g} s", fill("{}({})", SLEEP, f"{seconds:g}")))
        self.cost += seconds * COST_OF_A_SECOND
        time.sleep(seconds)

    def _change_step(self, name: str, code: Code, action: Callable[[], Any]) -> None:
        """Change a value that earlier steps may show: write those steps down first."""
        self.steps = [step.settled() for step in self.steps]
        self._try_step(name, code, action)

    def _try_step(self, name: str, code: Code, action: Callable[[], Any]) -> Any:
        self.steps.append(Step(code.text, code))
        try:
            return action()
        except Exception as error:
            self.explain(name, error)

    def closing_steps(self) -> list[Step]:
        """Return the steps that close the open handles, for scripts that repeat the story."""
        return []

    # -- checks ------------------------------------------------------------------------------

    def check(
        self,
        holds: Callable[..., bool],
        *arguments: Any,
        kind: Kind,
        summary: str,
        expected: Sequence[str] = (),
        returned: Sequence[str] = (),
    ) -> None:
        """Fail unless a claim holds.

        Args:
            holds: The claim: a function that this run calls and a script contains.
            arguments: Its arguments; a `Ref` stands for its value, and the script has its name.
            kind: The kind of the finding if the claim does not hold.
            summary: What happened, in messages.
            expected: Lines to show.
            returned: Lines to show next to them.
        """
        if not holds(*map(values_of, arguments)):
            self.fail_claim(
                holds, *arguments, kind=kind, summary=summary, expected=expected, returned=returned
            )

    def fail_claim(
        self,
        holds: Callable[..., bool],
        *arguments: Any,
        kind: Kind,
        summary: str,
        expected: Sequence[str] = (),
        returned: Sequence[str] = (),
    ) -> NoReturn:
        """Fail as `check` does if the claim does not hold.

        Use it if the run compares with its model, and the script can only make a similar claim.
        """
        self.judged_time = holds is below
        code = call(claim, call(holds, *map(source, arguments)), source(summary))
        self.steps.append(Step("", code))
        self.fail(kind, summary, expected=expected, returned=returned)

    def fail(
        self,
        kind: Kind,
        summary: str,
        *,
        expected: Sequence[str] = (),
        returned: Sequence[str] = (),
        cause: str = "",
        notes: Sequence[str] = (),
        raised_at: str = "",
        error: BaseException | None = None,
    ) -> NoReturn:
        """Fail with a finding about the steps so far.

        Raises:
            ConformanceFailure: It has the finding.
            Shortage: The machine has run out of something, so that nothing can be judged.
        """
        is_search = self.pinned is not None  # most stories of a search are thrown away
        if not is_search and (missing := shortage()) is not None:
            raise Shortage(f"{missing}; then {summary}") from error
        backend, label = self.subject.backend, self.label
        closing = self.closing_steps()
        steps = [step.with_source() for step in (*self.steps, *closing)]
        make = partial(script, backend, label, summary, steps, racy=self.racy)
        finding = Finding(
            kind=kind,
            summary=summary,
            steps=listed(self.steps),
            expected=tuple(expected),
            returned=tuple(returned),
            reproducer="" if is_search else make(),
            cause=cause,
            notes=(*self.notes, *notes),
            raised_at=raised_at,
        )
        raise ConformanceFailure(finding, make if is_search else None) from error

    def not_applicable(self, reason: str) -> NoReturn:
        """End the example: the contract does not apply to this history."""
        raise NotApplicable(reason)

    # -- operations --------------------------------------------------------------------------

    def carry_out(
        self, operation: str, action: Callable[[], Any], *, effect: Effect = "unknown"
    ) -> Any:
        """Run `action`; an exception becomes a finding about `operation`.

        Args:
            operation: Its name in the finding.
            action: The call.
            effect: Its effect on the stored messages.
        """
        self._start(operation)
        try:
            value = self._in_its_time(action)
        except Exception as error:
            self.settling.wrote("none" if effect == "none" else "unknown")
            self.explain(operation, error)
        self.settling.wrote(effect)
        return value

    def attempt(
        self,
        operation: str,
        action: Callable[[], Any],
        *,
        effect: Effect = "unknown",
        on_closed: bool = False,
    ) -> Exception | None:
        """Run `action`, and return the exception with which a history refuses it, or None.

        Other exceptions, such as a call that hangs, become a finding as in `carry_out`.

        Args:
            operation: Its name in the finding.
            action: The call.
            effect: Its effect on the stored messages.
            on_closed: Whether the handle is closed. Its connection is, too, so an exception that
                names the server says nothing about the server.
        """
        self._start(operation)
        try:
            self._in_its_time(action)
        except Exception as error:
            self.settling.wrote("none" if effect == "none" else "unknown")
            if not self._is_refusal(error, on_closed):
                self.explain(operation, error)
            self._guard_exit(f"`{operation}` raises {type_name(error)}", error)
            return error
        self.settling.wrote(effect)
        return None

    def _start(self, operation: str) -> None:
        """Count an operation."""
        self._check_budget()
        self._operations += 1
        self.cost += 1
        current(operation)

    def _in_its_time(self, action: Callable[[], Any]) -> Any:
        """Run `action` when no other example disturbs the history, and record its time."""
        with self.subject.quiet.call(self):
            started = time.monotonic()
            value = action()
            self.subject.pace.record(time.monotonic() - started)
            return value

    def _is_refusal(self, error: Exception, on_closed: bool) -> bool:
        if isinstance(error, _NO_REFUSALS):
            return False
        return on_closed or self.disturbed or not is_server_error(error, self.subject.backend)

    def settle(self) -> None:
        """Wait until reads show all writes, by the declared `eventual`."""
        self.steps += self.settling.steps()
        self.settling.wait()

    def how(self, *, in_second_process: bool = False) -> How:
        """Return how the next operation is called: alternately in mixed mode."""
        if self.mode == "mixed" and not in_second_process:
            return "sync" if self._operations % 2 == 0 else "async"
        return "async" if self.mode == "async" else self.subject.how

    def explain(self, operation: str, error: BaseException) -> NoReturn:
        """Raise the failure that an exception of an operation means."""
        if isinstance(error, ConformanceFailure | ServerFailure | NotApplicable):
            raise error
        if isinstance(error, Hung):
            summary = f"`{operation}` did not return: {error}"
            code = call(end_after, Code(f"{self.subject.limit:g}"), source(summary))
            self.steps.insert(-1, Step("", code))
            self.judged_time = True
            self.fail("hung", summary, cause=f"`{operation}` hangs", error=error)
        if isinstance(error, SecondProcessCrashed):
            summary = f"the second process {error.how}: during `{operation}`"
            self.fail("crashed", summary, cause=f"the process {error.how}", error=error)
        if isinstance(error, SecondProcessLost):
            if self.subject.backend.importable is None:
                raise NotApplicable(str(error)) from error
            raise ServerFailure(str(error)) from error
        if is_server_error(error, self.subject.backend) and not self.disturbed:
            raise ServerFailure(f"`{operation}`: {type_name(error)}: {error}") from error
        summary, cause = raised(operation, error)
        self._guard_exit(summary, error)
        place = error.raised_at if isinstance(error, RemoteError) else raised_at(error)
        self.fail("other", summary, cause=cause, raised_at=place, error=error)

    def _guard_exit(self, summary: str, error: BaseException) -> None:
        """Let the script fail if a call on the history ends it."""
        if isinstance(error, EscapedError) and isinstance(error.__cause__, SystemExit):
            self.steps.insert(-1, Step("", call(exit_is_a_failure, source(summary))))

    def explain_body(self, error: Exception) -> NoReturn:
        """Turn an exception of the contract's own code into a finding, if a history led to it.

        The code of a contract may fail on items other than messages.
        """
        if self.odd_read is None:
            raise error
        items = self.odd_read.value
        difference = compare([], items)
        summary = difference.summary if difference else "returned items other than messages"
        self.fail_claim(
            are_messages,
            self.odd_read,
            kind="altered",
            summary=summary,
            returned=returned_lines(items),
        )
