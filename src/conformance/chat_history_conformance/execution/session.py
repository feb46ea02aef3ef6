"""What a contract's body holds: handles to open, add to, read and clear, and the record of steps.

A session carries each operation out through the driver of its mode, keeps the plain list that the
history is compared with, and writes down what was done as text and as source.
"""

from __future__ import annotations

import contextlib
import hashlib
import operator
import string
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_conformance.declaration.capabilities import READS
from chat_history_conformance.diagnosis.canonical import dump
from chat_history_conformance.diagnosis.code import (
    Code,
    Need,
    Ref,
    call,
    fill,
    given,
    join,
    lazily,
    need_of,
    values_of,
)
from chat_history_conformance.diagnosis.compare import (
    ConformanceFailure,
    NotApplicable,
    ServerFailure,
    Snapshot,
    compare,
    lines,
    raised,
    returned_lines,
)
from chat_history_conformance.diagnosis.rendering import show, source
from chat_history_conformance.diagnosis.script import id_source, opener, script
from chat_history_conformance.diagnosis.script_claims import are_messages, is_sized
from chat_history_conformance.diagnosis.script_helpers import (
    Elsewhere,
    all_at_once,
    attempted,
    claim,
    enter_new_loop,
    expect,
    give_up_after,
    leave_loop,
    read_until,
    refused,
    timed,
    together,
    wait,
)
from chat_history_conformance.diagnosis.steps import Step, now
from chat_history_conformance.drivers.calls import Call, Done, How, Invocation, invocation
from chat_history_conformance.drivers.clock import SetClock
from chat_history_conformance.drivers.errors import (
    Hung,
    RemoteError,
    SecondProcessLost,
    is_server_error,
)
from chat_history_conformance.drivers.local import Local
from chat_history_conformance.drivers.second_process import SecondProcess
from chat_history_conformance.execution.outage import Outage
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Finding, Kind, Mode

_POLL = 0.02

STALE_WAIT = 1.0
"""Seconds after which a message that appears after all counts as late instead of lost."""

Lane = Sequence[tuple["Handle", str, tuple[Any, ...]]]


class Model:
    """What a plain list would hold for one session id, and what it held before."""

    def __init__(self) -> None:
        self.stored: list[Snapshot] = []
        self.cleared: list[Snapshot] = []
        self.refused: list[Snapshot] = []

    def add(self, messages: Sequence[BaseMessage]) -> None:
        """Messages were added."""
        self.stored.extend(Snapshot(message) for message in messages)

    def clear(self) -> None:
        """The session was cleared."""
        self.cleared.extend(self.stored)
        self.stored = []


class Session(Outage):
    """One telling of one contract on one backend in one mode.

    Args:
        subject: The backend, ready to be used.
        mode: `sync`, `async`, `mixed` (alternating) or `process` (every other handle in a second
            process).
        label: The contract and mode, for reproducers.
        racy: Whether reproducers have to try again and again.
        pinned: The kind of the finding whose shortest story is looked for.
        check_budget: Called before each operation; raises when the time is up.
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
        self.odd_read: Ref | None = None
        """The result of a read that returned other things than messages."""
        self.error = Ref("error", None)
        """The exception of the last call that was allowed to raise, or None."""
        self.lanes: list[Ref] = []
        """The results of the reads of each lane of the last `together`."""
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.nonce = subject.nonce()
        self.number = str(
            int.from_bytes(hashlib.blake2b(self.nonce.encode(), digest_size=6).digest())
        )
        self.handles: list[Handle] = []
        self._check_budget = check_budget
        self._models: dict[str, Model] = {}
        self._left: list[str] = []
        self._operations = 0
        self._variables = 0

    # -- what is done ------------------------------------------------------------------------

    def open(
        self,
        session: str = "{nonce}-1",
        *,
        ttl: tuple[int | None] | None = None,
        near: bool = False,
    ) -> Handle:
        """Open a handle.

        Args:
            session: The session id; `{nonce}` in it is replaced by an id of this example, and
                `{number}` by digits that are as unique; `{uuid}`, `{UUID}` and `{uuid-hex}` by
                spellings of one UUID of its own.
            ttl: `(milliseconds,)` or `(None,)` to open it through `with_ttl`.
            near: Keep it in this process in every mode.
        """
        handle = self._new_handle(session, near)
        code = self.opening(handle, ttl)
        text = (
            f"{handle.name} = open({show(session.replace('{nonce}', 'N').replace('{number}', '1'))}"
        )
        text += f", ttl_ms={ttl[0]})" if ttl else ")"
        if handle.far:
            text += "  in a second process"
        self.steps.append(Step(text, code))
        name = getattr(self.subject.backend.factory, "__name__", "the factory")
        self.carry_out(
            f"{name}(session_id)",
            lambda: self.host(handle).open(handle.key, handle.id, handle.how, ttl),
        )
        handle.is_open, handle.astray = True, self.astray
        return handle

    def prepare(self, session: str = "{nonce}-1") -> Handle:
        """A handle that is opened later, by the operation `open` of a lane of `together`."""
        return self._new_handle(session, False)

    def try_open(
        self, session: str = "{nonce}-1", *, ttl: tuple[Any] | None = None
    ) -> tuple[Handle | None, Exception | None]:
        """Open a handle with what may be refused; the refusal is returned."""
        try:
            return self.open(session, ttl=ttl), None
        except ConformanceFailure as failure:
            error = failure.__cause__
            if not isinstance(error, Exception) or isinstance(error, Hung):
                raise
            step = self.steps.pop()
            opened, awaited = opener(
                self.subject.backend, id_source(session), self.handles[-1].how, ttl
            )
            code = fill("error = {}", lazily(refused, call(wait, opened) if awaited else opened))
            self.steps.append(Step(step.text, code, f"refused: {type_name(error)}"))
            self.error = Ref("error", error)
            return None, error

    def opening(self, handle: Handle, ttl: tuple[Any] | None = None) -> Code:
        """Write the statement that opens a handle."""
        code, awaited = opener(self.subject.backend, id_source(handle.session), handle.how, ttl)
        code = fill("{} = {}", handle.name, call(wait, code) if awaited else code)
        return elsewhere(code) if handle.far else code

    def let(self, name: str, value: Any) -> Ref:
        """Give a value a name in the steps."""
        step = Step(f"{name} = {show(value)}", fill("{} = {}", name, source(value)))
        self.steps.append(step)
        return Ref(name, value)

    def do(self, function: Callable[..., Any], *arguments: Any, as_: str = "", **named: Any) -> Ref:
        """Call a function that scripts may use too, such as `trim_messages`.

        Args:
            function: A function that can be imported, or one of the modules of helpers.
            arguments: Its arguments; a `Ref` stands for its value.
            as_: The name of the result in the steps.
            named: Its keyword arguments.
        """
        code = call(
            function, *map(source, arguments), **{key: source(item) for key, item in named.items()}
        )
        return self._do(
            function.__name__,
            fill("{} = {}", as_, code) if as_ else code,
            as_,
            lambda: function(
                *map(values_of, arguments), **{key: values_of(item) for key, item in named.items()}
            ),
        )

    def call_method(self, target: Ref, method: str, *arguments: Any) -> None:
        """Call a method of a value that has a name, such as `append` of a list that was read."""
        code = fill("{}.{}({})", source(target), method, join(", ", map(source, arguments)))
        values = [values_of(argument) for argument in arguments]
        self._do(method, code, "", lambda: getattr(target.value, method)(*values))

    def set_attribute(self, target: Ref, name: str, value: Any) -> None:
        """Set an attribute of a value that has a name."""
        code = fill("{}.{} = {}", source(target), name, source(value))
        self._do(name, code, "", lambda: setattr(target.value, name, value))

    def set_item(self, target: Ref, key: Any, value: Any) -> None:
        """Set an item of a list or a dict that has a name."""
        code = fill("{}[{}] = {}", source(target), source(key), source(value))
        self._do(str(key), code, "", lambda: operator.setitem(target.value, key, value))

    def _do(self, name: str, code: Code, as_: str, action: Callable[[], Any]) -> Ref:
        self.steps.append(Step(code.text, code))
        try:
            value = action()
        except Exception as error:
            self.explain(name, error)
        if as_ and isinstance(value, int | float):
            self.steps[-1] = self.steps[-1].with_result(show(value))
        return Ref(as_, value)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        code = fill("{}({})", TIME_SLEEP, f"{seconds:g}")
        self.steps.append(Step(f"wait {seconds:g} s", code))
        time.sleep(seconds)

    @contextlib.contextmanager
    def another_loop(self) -> Iterator[None]:
        """Carry out what is asynchronous on an event loop of its own, which ends afterwards."""
        self.steps.append(Step("on another event loop:", call(enter_new_loop)))
        with self.subject.local.another_loop():
            yield
        self.steps.append(Step("on the first event loop again:", call(leave_loop)))

    def corrupt(self, handle: Handle) -> None:
        """Make the last stored record of a handle's session undecodable."""
        corrupt = self.subject.backend.corrupt
        assert corrupt is not None  # the contract needs "corrupt"
        text = f"the last stored record of {handle.name}'s session is damaged"
        code = fill("{}({})", given("corrupt"), id_source(handle.session))
        self.steps.append(Step(text, code))
        self.carry_out("corrupt", lambda: self.subject.local.run(lambda: corrupt(handle.id)))

    @contextlib.contextmanager
    def clock(self, handle: Handle, seconds: float) -> Iterator[None]:
        """Make the wall clock of this process say `seconds` since the epoch, for what follows."""
        self.steps.append(
            Step(
                f"the wall clock says {seconds:.3f}",
                fill("clock = {}.__enter__()", call(SetClock, Code(handle.name), source(seconds))),
            )
        )
        with SetClock(self.subject.local.history(handle.key), seconds):  # type: ignore[no-untyped-call]
            yield
        self.steps.append(Step("the wall clock is right again", Code("clock.__exit__()")))

    def second_process_dies(self) -> None:
        """Kill the second process; the handles in it are gone with it."""
        self.steps.append(Step("the second process is killed", fill("{}.kill()", ELSEWHERE)))
        self.subject.second_process.die()
        for handle in self.handles:
            if handle.far:
                handle.is_open = False
                self._left.append(handle.session)

    def together(self, lanes: Sequence[Lane], *, may_raise: bool = False) -> list[list[Done]]:
        """Carry out several lists of operations at once.

        Args:
            lanes: For each thread, task or process the operations on handles, in order. Beside
                those of a history there are `("open", ())` for a handle from `prepare`, and
                `("wait", (seconds,))`. What reads return is in the script as `laneN_got`.
            may_raise: Return errors instead of failing on the first.

        Returns:
            For each lane what its calls gave. The model is left to the caller.
        """
        self.steps.append(_lanes_step(lanes, self.mode))
        calls = [
            [
                Call(handle.key, name, (handle.id, None) if name == "open" else args, handle.how)
                for handle, name, args in lane
            ]
            for lane in lanes
        ]
        far = [index for index, lane in enumerate(lanes) if lane[0][0].far]
        near = [index for index in range(len(lanes)) if index not in far]

        def carry_out() -> list[list[Done]]:
            done: dict[int, list[Done]] = {}
            wait = (
                self.subject.second_process.begin([calls[index] for index in far]) if far else list
            )
            if near:
                answers = self.subject.local.together([calls[index] for index in near])
                done.update(zip(near, answers, strict=True))
            done.update(zip(far, wait(), strict=True))
            return [done[index] for index in range(len(lanes))]

        done: list[list[Done]] = self.carry_out("concurrent calls", carry_out)
        opened = {
            item.call.key
            for lane in done
            for item in lane
            if item.call.operation == "open" and item.error is None
        }
        for handle in self.handles:
            handle.is_open = handle.is_open or handle.key in opened
        self._note_interleaving(lanes, done)
        self.lanes = [
            Ref(f"lane{number}_got", [item.value for item in lane if _is_read(item.call.operation)])
            for number, lane in enumerate(done, 1)
        ]
        for lane, outcome in zip(lanes, done, strict=True):
            for (handle, name, args), item in zip(lane, outcome, strict=False):
                if item.error is not None and not may_raise:
                    phrase = handle.phrase(name, args, item.call.how)
                    self.explain(phrase.spelt.name, item.error)
                if item.error is None and _is_read(name) and not is_sized(item.value):
                    summary = f"`{name}` returned {show(item.value)} in place of a list of messages"
                    self.fail("other", summary)
        return done

    # -- what is judged ----------------------------------------------------------------------

    def offered(self, names: Sequence[str]) -> list[str]:
        """Those of `names`, found capabilities, that the history has."""
        try:
            able = self.subject.capabilities.names
        except Exception:
            self.open()  # tells what is wrong as a finding, with its step
            raise
        return [name for name in names if name in able]

    def id_of(self, template: str) -> str:
        """The session id that a template stands for in this example; see `open`."""
        own = uuid.uuid5(uuid.NAMESPACE_OID, self.nonce)
        for token, value in (
            ("{nonce}", self.nonce),
            ("{number}", self.number),
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
        """The plain list of one session id."""
        return self._models.setdefault(session, Model())

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
        """Fail with a claim that the script makes, as `check` does if the claim does not hold."""
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
        error: BaseException | None = None,
    ) -> NoReturn:
        """Fail with a finding of what was done so far."""
        finding = Finding(
            kind=kind,
            summary=summary,
            steps=tuple(line for step in self.steps if (line := step.line())),
            expected=tuple(expected),
            returned=tuple(returned),
            reproducer=script(
                self.subject.backend, self.label, summary, self.steps, racy=self.racy
            ),
            cause=cause,
            notes=tuple(self.notes),
        )
        raise ConformanceFailure(finding) from error

    def not_applicable(self, reason: str) -> NoReturn:
        """This history cannot be asked this."""
        raise NotApplicable(reason)

    # -- carrying out ------------------------------------------------------------------------

    def carry_out(self, operation: str, action: Callable[[], Any]) -> Any:
        """Run `action`; what it raises becomes a finding about `operation`."""
        self._check_budget()
        self._operations += 1
        try:
            return action()
        except Exception as error:
            self.explain(operation, error)

    def host(self, handle: Handle) -> Local | SecondProcess:
        """Where the operations on a handle are carried out."""
        return self.subject.second_process if handle.far else self.subject.local

    def explain_body(self, error: Exception) -> NoReturn:
        """Turn what a contract's own code raised into a finding, if a history led to it.

        A body that looks into what was read need not expect items that are no messages.
        """
        if self.odd_read is None:
            raise error
        items = self.odd_read.value
        difference = compare([], items)
        summary = difference.summary if difference else "returned items that are no messages"
        self.fail_claim(
            are_messages,
            self.odd_read,
            kind="altered",
            summary=summary,
            returned=returned_lines(items),
        )

    def explain(self, operation: str, error: BaseException) -> NoReturn:
        """Turn what an operation raised into the failure that it is."""
        if isinstance(error, ConformanceFailure | ServerFailure | NotApplicable):
            raise error
        if isinstance(error, Hung):
            summary = f"`{operation}` did not return: {error}"
            code = call(give_up_after, Code(f"{self.subject.limit:g}"), source(summary))
            self.steps.insert(-1, Step("", code))
            self.fail("hung", summary, cause=f"`{operation}` hangs", error=error)
        if isinstance(error, SecondProcessLost):
            if self.subject.backend.importable is None:
                raise NotApplicable(str(error)) from error
            raise ServerFailure(str(error)) from error
        if is_server_error(error, self.subject.backend) and not self.disturbed:
            raise ServerFailure(f"`{operation}`: {type_name(error)}: {error}") from error
        summary, cause = raised(operation, error)
        self.fail("other", summary, cause=cause, error=error)

    def how(self, handle: Handle) -> How:
        """How the next operation on a handle is called: alternating in mixed mode."""
        if self.mode == "mixed" and not handle.far:
            return "sync" if self._operations % 2 == 0 else "async"
        return "async" if self.mode == "async" else self.subject.how

    def variable(self, stem: str) -> str:
        """A fresh name for a value in the steps."""
        self._variables += 1
        return f"{stem}{self._variables}"

    def finish(self, *, failed: bool) -> None:
        """Remove what was stored and close all handles.

        Args:
            failed: A failure is on its way already; another one from closing would hide it.
        """
        self.end_outage(failed=failed)
        opened = [handle.session for handle in self.handles if handle.is_open and not handle.astray]
        stored = [] if self.subject.disposable else list(dict.fromkeys([*opened, *self._left]))
        if self.subject.backend.remove is None:
            for session in stored:
                self._tidy(session)
        trouble: Exception | None = None
        for handle in self.handles:
            if not handle.is_open:
                continue
            try:
                self.host(handle).release(handle.key, handle.opened_how)
            except Exception as error:
                if not (handle.astray and is_server_error(error, self.subject.backend)):
                    trouble = trouble or error
        if self.subject.backend.remove is not None:
            for session in stored:
                self._remove(self.subject.backend.remove, self.id_of(session))
        if trouble is not None and not failed:
            self.explain("close", trouble)

    def _remove(self, remove: Callable[[str], None], session_id: str) -> None:
        """Remove all trace of a session, the way its backend declares."""
        try:
            self.subject.local.run(lambda: remove(session_id))
        except Exception as error:
            self._note_once(f"what was stored could not be removed ({type(error).__name__})")

    def _tidy(self, session: str) -> None:
        """Clear a session through a handle that is still usable, or through a fresh one."""
        for handle in self.handles:
            if handle.session == session and handle.is_open and not handle.is_closed:
                with contextlib.suppress(Exception):  # clearing is judged by contracts, not here
                    self.host(handle).call(Call(handle.key, "clear", (), handle.opened_how))
                    return
        local, how, key = self.subject.local, self.subject.how, f"{self.nonce}:tidy"
        try:
            local.open(key, self.id_of(session), how, None)
            try:
                local.call(Call(key, "clear", (), how))
            finally:
                local.release(key, how)
        except Exception as error:
            self._note_once(f"what was stored could not be cleared ({type(error).__name__})")

    def _note_once(self, note: str) -> None:
        if note not in self.subject.notes:
            self.subject.notes.append(note)

    def _new_handle(self, session: str, near: bool) -> Handle:
        number = len(self.handles)
        far = self.mode == "process" and number % 2 == 1 and not near
        name = string.ascii_lowercase[number % 26] + ("" if number < 26 else str(number // 26))
        handle = Handle(self, name, session, far)
        self.handles.append(handle)
        return handle

    def _note_interleaving(self, lanes: Sequence[Lane], done: list[list[Done]]) -> None:
        events = sorted(
            (
                (item.started, item.ended, number, position)
                for number, lane in enumerate(done)
                for position, item in enumerate(lane)
            )
        )
        if not events:
            return
        start = events[0][0]
        self.notes = [note for note in self.notes if not note.startswith("interleaving")]
        told = ["interleaving, in ms from the first call:"]
        for started, ended, number, position in events[:40]:
            handle, name, args = lanes[number][position]
            item = done[number][position]
            outcome = f"  raised {type_name(item.error)}" if item.error is not None else ""
            told.append(
                f"  {(started - start) * 1000:8.2f} to {(ended - start) * 1000:8.2f}  "
                f"lane {number + 1}: {_tell_item(handle, name, args, 'sync')[0]}{outcome}"
            )
        if len(events) > 40:
            told.append(f"  … {len(events) - 40} more")
        self.notes.append("\n".join(told))


class Phrase:
    """An operation on a handle, in words and in source."""

    def __init__(self, handle: str, far: bool, spelt: Invocation, args: tuple[Any, ...]) -> None:
        self.spelt = spelt
        self._handle = handle
        self._far = far
        self._args = args

    def text(self) -> str:
        """The line of a report: `await a.aadd_messages([Human "0"])`."""
        text = self._written(lambda value: Code(show(value))).text
        text = f"await {text}" if self.spelt.awaited else text
        return f"{text}  in the second process" if self._far else text

    def code(self) -> Code:
        """The expression of a script."""
        code = call(wait, self.bare()) if self.spelt.awaited else self.bare()
        return elsewhere(code) if self._far else code

    def bare(self) -> Code:
        """The call alone, to be awaited where it is asynchronous."""
        return self._written(source)

    def _written(self, write: Callable[[Any], Code]) -> Code:
        name, kwargs = self.spelt.name, self.spelt.kwargs
        if name in ("str", "repr"):
            return fill("{}({})", name, self._handle)
        if self.spelt.attribute:
            return fill("{}.{}", self._handle, name)
        arguments = [fill("{}={}", key, source(value)) for key, value in kwargs.items()]
        return fill(
            "{}.{}({})", self._handle, name, join(", ", arguments or map(write, self._args))
        )


class Handle:
    """One open history of a session; its methods are the operations that contracts use."""

    def __init__(self, session: Session, name: str, session_id: str, far: bool) -> None:
        self._session = session
        self.name = name
        self.session = session_id
        self.far = far
        self.id = session.id_of(session_id)
        self.key = f"{session.nonce}:{name}"
        self.is_open = False
        self.took = 0.0
        """Seconds that the last operation took."""
        self.result = Ref("got", [])
        """The result of the last read, under its name in the steps."""
        self.read_moments: list[float] = []
        """When each read of the last `read_until` had returned, on the monotonic clock."""
        self.opened_how: How = self.how
        self.is_closed = False
        self.astray = False
        """Whether it was led to where no server is."""

    @property
    def how(self) -> How:
        """How the next operation is called."""
        return self._session.how(self)

    @property
    def took_ref(self) -> Ref:
        """Seconds that the last bounded read took, under their name in the steps."""
        return Ref("took", self.took)

    @property
    def model(self) -> Model:
        """The plain list of this handle's session."""
        return self._session.model(self.session)

    # -- adding ------------------------------------------------------------------------------

    def add(self, messages: Sequence[BaseMessage] | Ref) -> None:
        """Add a batch with `add_messages`."""
        value = messages.value if isinstance(messages, Ref) else messages
        before = [Snapshot(message) for message in value]
        shown = messages if isinstance(messages, Ref) else _as_added(value, before)
        self._do("add_messages", (messages,), shown=(shown,))
        self.model.stored.extend(before)

    def add_one(self, message: BaseMessage | Ref) -> None:
        """Add one message with `add_message`."""
        before = Snapshot(message.value if isinstance(message, Ref) else message)
        shown = message if isinstance(message, Ref) else before.message
        self._do("add_message", (message,), shown=(shown,))
        self.model.stored.append(before)

    def add_user(self, message: str | HumanMessage) -> None:
        """Add with `add_user_message`, which exists only synchronously."""
        self._do("add_user_message", (message,), "sync")
        self.model.add([HumanMessage(message) if isinstance(message, str) else message])

    def add_ai(self, message: str | AIMessage) -> None:
        """Add with `add_ai_message`, which exists only synchronously."""
        self._do("add_ai_message", (message,), "sync")
        self.model.add([AIMessage(message) if isinstance(message, str) else message])

    def try_add(self, messages: Any, *, operation: str = "add_messages") -> Exception | None:
        """Add what may be refused.

        Returns:
            The exception that refused it, or None where it was accepted; then the model has it
            if it was a list of messages.
        """
        value = messages.value if isinstance(messages, Ref) else messages
        batch = value if isinstance(value, Sequence) else [value]
        storable = all(isinstance(item, BaseMessage) for item in batch)
        before = [Snapshot(item) for item in batch] if storable else []
        error = self._attempt(operation, (messages,), (messages,))
        (self.model.stored if error is None else self.model.refused).extend(before)
        return error

    # -- reading -----------------------------------------------------------------------------

    def read(self) -> list[BaseMessage]:
        """Read the whole conversation."""
        return self._read("messages", ())

    def reads_back(self) -> list[BaseMessage]:
        """Read, and fail unless exactly the model's messages come back."""
        returned = self.read()
        self.expect(returned)
        return returned

    def last(self, count: int) -> list[BaseMessage]:
        """The last `count` messages."""
        return self._read("last_messages", (count,))

    def bounded(self, operation: str, *bounds: Any) -> list[BaseMessage]:
        """A bounded read, with as many bounds as given; the step tells its time."""
        return self._read(operation, bounds, with_time=True)

    def try_bounded(self, operation: str, *bounds: Any) -> Exception | None:
        """A bounded read that may be refused."""
        return self._attempt(operation, bounds, bounds)

    def bounded_unless_refused(self, operation: str, *bounds: Any) -> list[BaseMessage] | None:
        """What a bounded read returns, or None where it is refused."""
        session, how = self._session, self.how
        phrase = self.phrase(operation, bounds, how)
        variable = session.variable("got")
        self.result = Ref(variable, [])

        def code() -> Code:
            return fill("{}, error, took = {}", variable, lazily(attempted, phrase.code()))

        session.steps.append(Step(phrase.text, code))
        try:
            told = list(self._carry_out(phrase, operation, bounds, how))
        except ConformanceFailure as failure:
            error = failure.__cause__
            if not isinstance(error, Exception) or isinstance(error, Hung):
                raise
            refusal = f"refused, {type_name(error)}: {show(str(error), 120)}"
            session.steps[-1] = session.steps[-1].with_result(refusal)
            session.error = Ref("error", error)
            return None
        session.error, self.result = Ref("error", None), Ref(variable, told)
        took = self.took
        session.steps[-1] = session.steps[-1].with_result(lambda: _result(told, took))
        return told

    def read_until(
        self, seconds: float, enough: Callable[..., bool], *arguments: Any
    ) -> list[BaseMessage]:
        """Read the whole conversation again and again.

        Args:
            seconds: The last read begins no earlier than this many seconds from now.
            enough: A claim about what was read: reading ends when it holds.
            arguments: Further arguments of the claim.

        Returns:
            What was read last.
        """
        session = self._session
        deadline, number = time.monotonic() + seconds, len(session.steps)
        self.read_moments = []
        while True:
            begun = time.monotonic()
            phrase = self.phrase("messages", (), self.how)
            got = self.read()
            self.read_moments.append(time.monotonic())
            step = session.steps[number]
            del session.steps[number:]
            if enough(list(got), *arguments) or begun >= deadline:
                break
            time.sleep(_POLL)
        variable = self.result.name

        def code() -> Code:
            read = fill("lambda: {}", phrase.code())
            further = [source(round(seconds, 2)), source(enough), *map(source, arguments)]
            return fill("{} = {}", variable, call(read_until, read, *further))

        condition = call(enough, source(self.result), *map(source, arguments)).text
        text = f"{now(step.text)}, again and again until {condition}, at most {seconds:.2f} s"
        session.steps.append(Step(text, code, step.result))
        return got

    def text(self, function: str = "str") -> str:
        """`str` or `repr` of the history."""
        result: str = self._do(function, (), "sync")
        return result

    def expect(
        self,
        returned: Ref | Sequence[Any],
        expected: Sequence[Snapshot] | None = None,
        *,
        late: bool = True,
        called: tuple[Kind, str] | None = None,
    ) -> None:
        """Fail unless `returned` is the model's list, or `expected`.

        Args:
            returned: What a read gave; a `Ref` if it is not the last read of this handle.
            expected: What it should be, where it is not the whole conversation.
            late: Look again before saying lost: what then appears was late, hence stale.
            called: What any difference is called where the contract knows its cause: the kind,
                and words to follow the summary.
        """
        read = returned if isinstance(returned, Ref) else Ref(self.result.name, returned)
        items: Sequence[Any] = read.value
        model = self.model
        wanted = model.stored if expected is None else list(expected)
        foreign = [
            kept
            for name, other in self._session._models.items()
            if name != self.session
            for kept in (*other.stored, *other.cleared)
        ]
        difference = compare(
            wanted, items, foreign=foreign, cleared=model.cleared, refused=model.refused
        )
        if difference is None:
            return
        kind, summary = difference.kind, difference.summary
        if called is not None:
            kind, summary = called[0], f"{summary} {called[1]}"
        if kind in ("lost", "resurrected") and late and expected is None and self._is_stale():
            kind, summary = "stale", f"{self.name} shows an earlier state: {summary}, for now"
        self._session.steps.append(_expect_step(read.name, wanted, summary))
        self._session.fail(
            kind, summary, expected=lines(wanted), returned=returned_lines(list(items))
        )

    def expect_part(
        self,
        returned: Ref | Sequence[Any],
        expected: Sequence[Snapshot],
        what: str,
        *,
        delivered: Sequence[Snapshot] = (),
        otherwise: Kind = "wrong_bound",
    ) -> None:
        """Fail unless `returned` is `expected`, which is a part of the conversation.

        Args:
            returned: What a read gave.
            expected: What it should be.
            what: `expected` in words, after "asked for": `the oldest 2 of 5 messages`.
            delivered: Messages that must not come again.
            otherwise: What it is called if other messages of the conversation come, or fewer.
        """
        read = returned if isinstance(returned, Ref) else Ref(self.result.name, returned)
        items: Sequence[Any] = read.value
        difference = compare(expected, items)
        if difference is None:
            return
        keys = [dump(item) for item in items if isinstance(item, BaseMessage)]
        again = [key for key in keys if any(key in kept.keys for kept in delivered)]
        own = all(any(key in kept.keys for kept in self.model.stored) for key in keys)
        kind, summary = difference.kind, ""
        if again:
            kind = "duplicated"
            summary = f"{len(again)} came that had been delivered before"
        elif own and kind in ("lost", "foreign", "altered"):
            kind = otherwise
            summary = f"{len(keys)} came" if len(keys) != len(expected) else "others came"
        if not summary or len(keys) < len(items):
            self.expect(read, expected)
        session, summary = self._session, f"asked for {what}, {summary}"
        session.steps.append(_expect_step(read.name, expected, summary))
        session.fail(
            kind,
            summary,
            expected=lines(expected),
            returned=returned_lines(list(items)),
        )

    # -- the rest ----------------------------------------------------------------------------

    def clear(self) -> None:
        """Clear the session."""
        self._do("clear", ())
        self.model.clear()

    def close(self) -> None:
        """Close the handle with its own `close` or `aclose`."""
        self.is_closed = True
        self._do("close", (), self.opened_how)

    def release(self) -> None:
        """Be rid of the handle as its factory's shape asks for; it is not usable after that."""
        self._session.steps.append(Step(f"{self.name} is closed", self._closing_code()))
        host = self._session.subject.second_process if self.far else self._session.subject.local
        self.is_open = False
        self._session._left.append(self.session)
        self._session.carry_out("close", lambda: host.release(self.key, self.opened_how))

    def phrase(self, operation: str, args: tuple[Any, ...], how: How) -> Phrase:
        """An operation on this handle, to be written down as text or as source."""
        subject = self._session.subject
        keys = (handle.key for handle in self._session.handles if handle.is_open and not handle.far)
        key = next(keys, None) if self.far or not self.is_open else self.key
        history = None if key is None else subject.local.history(key)
        values = tuple(values_of(item) for item in args)
        spelt = invocation(subject.backend, history, Call(self.key, operation, values, how))
        if how == "async" and operation == "add_message":
            args = ([args[0]],)
        return Phrase(self.name, self.far, spelt, args)

    def _do(
        self,
        operation: str,
        args: tuple[Any, ...],
        how: How | None = None,
        shown: tuple[Any, ...] | None = None,
    ) -> Any:
        how = how or self.how
        phrase = self.phrase(operation, args if shown is None else shown, how)
        self._session.steps.append(Step(phrase.text, phrase.code))
        return self._carry_out(phrase, operation, args, how)

    def _read(
        self, operation: str, args: tuple[Any, ...], *, with_time: bool = False
    ) -> list[BaseMessage]:
        session, how = self._session, self.how
        phrase = self.phrase(operation, args, how)
        variable = session.variable("got")

        def code() -> Code:
            if not with_time:
                return fill("{} = {}", variable, phrase.code())
            return fill("{}, took = {}", variable, lazily(timed, phrase.code()))

        session.steps.append(Step(phrase.text, code))
        value = self._carry_out(phrase, operation, args, how)
        self.result = Ref(variable, value)
        session.check(
            is_sized,
            self.result,
            kind="other",
            summary=f"`{phrase.spelt.name}` returned {show(value)} in place of a list of messages",
        )
        # The caller owns the list and may change it before the steps are told.
        told, took = list(value), self.took if with_time else None
        if not are_messages(told):
            session.odd_read = Ref(variable, told)
        session.steps[-1] = session.steps[-1].with_result(lambda: _result(told, took))
        return value  # type: ignore[no-any-return]

    def _attempt(
        self, operation: str, args: tuple[Any, ...], shown: tuple[Any, ...]
    ) -> Exception | None:
        session, how = self._session, self.how
        phrase = self.phrase(operation, shown, how)
        session.steps.append(
            Step(phrase.text, lambda: fill("error = {}", lazily(refused, phrase.code())))
        )
        session.error = Ref("error", None)
        try:
            self._carry_out(phrase, operation, args, how)
        except ConformanceFailure as failure:
            error = failure.__cause__
            if not isinstance(error, Exception) or isinstance(error, Hung):
                raise
            refusal = f"refused, {type_name(error)}: {show(str(error), 120)}"
            session.steps[-1] = session.steps[-1].with_result(refusal)
            session.error = Ref("error", error)
            return error
        return None

    def _carry_out(self, phrase: Phrase, operation: str, args: tuple[Any, ...], how: How) -> Any:
        values = tuple(values_of(item) for item in args)
        call = Call(self.key, operation, values, how)
        session, started = self._session, time.monotonic()
        try:
            return session.carry_out(phrase.spelt.name, lambda: session.host(self).call(call))
        finally:
            self.took = time.monotonic() - started

    def _is_stale(self) -> bool:
        """Whether the model's list can be read after all, later or through a new handle."""
        pinned = self._session.pinned
        if pinned is not None:
            return pinned == "stale"  # the search for a shorter story need not wait again
        deadline = time.monotonic() + STALE_WAIT
        subject, session = self._session.subject, self._session
        host = subject.second_process if self.far else subject.local
        fresh = f"{self.key}:fresh"
        while True:
            for key in (self.key, fresh):
                if key == fresh and "shared" in subject.backend.lacks:
                    continue
                with contextlib.suppress(Exception):  # what cannot be read is not there yet
                    if key == fresh:
                        host.open(fresh, self.id, self.how, None)
                    try:
                        again = host.call(Call(key, "messages", (), self.how))
                    finally:
                        if key == fresh:
                            host.release(fresh, self.how)
                    if compare(session.model(self.session).stored, again) is None:
                        return True
            if time.monotonic() > deadline:
                return False
            time.sleep(STALE_WAIT / 4)

    def _closing_code(self) -> Code:
        history = None if self.far else self._session.subject.local.history(self.key)
        if self.far or callable(getattr(history, "close", None)):
            code = Code(f"{self.name}.close()")
        elif hasattr(history, "aclose"):
            code = call(wait, Code(f"{self.name}.aclose()"))
        else:
            return Code(f"{self.name} = None")
        return elsewhere(code) if self.far else code


ELSEWHERE = Code("elsewhere", frozenset({need} if (need := need_of(Elsewhere)) else ()))
"""The second process of a script."""

TIME_SLEEP = Code("time.sleep", frozenset({Need("time")}))


def elsewhere(code: Code) -> Code:
    """Write that a line of the script is run in the second process."""
    return fill("{}({})", ELSEWHERE, code.quoted())


def _expect_step(name: str, wanted: Sequence[Snapshot], summary: str) -> Step:
    messages = source([kept.message for kept in wanted])
    return Step("", call(expect, Code(name), messages, source(summary)))


def _lanes_step(lanes: Sequence[Lane], mode: Mode) -> Step:
    return Step(lambda: _tell_lanes(lanes, mode)[0], lambda: _tell_lanes(lanes, mode)[1])


def _tell_lanes(lanes: Sequence[Lane], mode: Mode) -> tuple[str, Code]:
    texts, names = ["at the same time:"], []
    codes: list[Code] = []
    awaited = mode == "async"
    for number, lane in enumerate(lanes, 1):
        how: How = "async" if awaited else "sync"
        opens = [handle.name for handle, name, _ in lane if name == "open" and not handle.far]
        body = [Code(f"nonlocal {name}") for name in opens]
        for handle, name, args in lane:
            text, code = _tell_item(handle, name, args, how)
            texts.append(f"      lane {number}: {text}")
            body.append(fill(f"lane{number}_got.append({{}})", code) if _is_read(name) else code)
        codes += [Code(f"{' = '.join([*opens, 'None'])}")] if opens else []
        codes += [Code(f"lane{number}_got = []")] if any(_is_read(item[1]) for item in lane) else []
        codes += [Code(f"{'async ' * awaited}def lane{number}():")]
        codes += [line.indented() for line in body]
        names.append(f"lane{number}")
    if awaited:
        codes += [call(wait, call(all_at_once, *(Code(f"{name}()") for name in names)))]
    else:
        codes += [call(together, *map(Code, names))]
    return "\n".join(texts), join("\n", codes)


def _tell_item(handle: Handle, name: str, args: tuple[Any, ...], how: How) -> tuple[str, Code]:
    """One item of a lane, as text and as source inside the lane's own function."""
    awaited = how == "async"
    if name == "wait":
        text = f"wait {args[0]:g} s"
        if awaited:
            return text, Code(f"await asyncio.sleep({args[0]:g})", frozenset({Need("asyncio")}))
        return text, fill("{}({})", TIME_SLEEP, f"{args[0]:g}")
    if name == "open":
        text = f"{handle.name} = open({show(handle.session.replace('{nonce}', 'N'))})"
        if handle.far:
            return f"{text}  in a second process", handle._session.opening(handle)
        backend = handle._session.subject.backend
        code, is_awaited = opener(backend, id_source(handle.session), how, None)
        if is_awaited:
            code = fill("await {}", code) if awaited else call(wait, code)
        return text, fill("{} = {}", handle.name, code)
    phrase = handle.phrase(name, args, how)
    if awaited and not handle.far:
        return phrase.text(), fill("{}{}", "await " * phrase.spelt.awaited, phrase.bare())
    return phrase.text(), phrase.code()


def _is_read(operation: str) -> bool:
    return operation == "messages" or operation in READS


def type_name(error: BaseException | None) -> str:
    """The name of an exception's type, the one it had in the second process included."""
    return error.type_name if isinstance(error, RemoteError) else type(error).__name__


def _as_added(value: Sequence[BaseMessage], before: Sequence[Snapshot]) -> Sequence[BaseMessage]:
    """The batch as it was when it was added, in a sequence of the same kind."""
    messages = [kept.message for kept in before]
    return tuple(messages) if isinstance(value, tuple) else messages


def _result(items: list[Any], took: float | None) -> str:
    shown = show(items) if len(items) <= 6 else f"{len(items)} messages"
    return shown if took is None else f"{shown} after {took:.2f} s"
