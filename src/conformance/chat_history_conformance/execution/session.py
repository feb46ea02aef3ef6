"""Sessions, with which the bodies of contracts open histories and use them."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

from chat_history_conformance.declaration.parameters import unbound
from chat_history_conformance.diagnosis.code import Code, Ref, call, fill, given, lazily
from chat_history_conformance.diagnosis.compare import type_name
from chat_history_conformance.diagnosis.rendering import show, show_odd, source
from chat_history_conformance.diagnosis.script import id_source
from chat_history_conformance.diagnosis.script_claims import is_sized
from chat_history_conformance.diagnosis.script_helpers import read_while_refused, refused
from chat_history_conformance.diagnosis.script_loops import enter_new_loop, leave_loop
from chat_history_conformance.diagnosis.steps import Step
from chat_history_conformance.drivers.calls import Call, Done
from chat_history_conformance.drivers.clock import SetClock
from chat_history_conformance.drivers.errors import SecondProcessLost, is_server_error
from chat_history_conformance.execution.declared_steps import Declared
from chat_history_conformance.execution.handle import Handle
from chat_history_conformance.execution.iteration import release_all
from chat_history_conformance.execution.lanes import (
    INTERLEAVING,
    Lane,
    fork_lanes,
    forks_step,
    interleaving,
    is_read,
    lanes_step,
    run_lanes,
    sessions_step,
)
from chat_history_conformance.execution.outage import Outage
from chat_history_conformance.execution.phrase import ELSEWHERE, elsewhere, opening_code
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.results.model import Kind, Mode

__all__ = ["Handle", "Lane", "Session"]


class Session(Declared):
    """One example of one contract on one backend in one mode.

    Args:
        subject: The backend under test.
        mode: `sync`, `async`, `mixed` (alternating) or `process` (every other handle in a second
            process).
        label: The contract and the mode, for scripts.
        racy: Whether scripts repeat the steps many times.
        pinned: The kind of the finding for which a shorter example is searched.
        effort: Multiplies the size of an example that is large on purpose.
        check_budget: Called before each operation; raises when the time is up.

    Attributes:
        handles: All handles, in the order in which they were made.
        effort: The number by which an example that is large on purpose multiplies its size.
        lanes: The results of the reads of each lane of the last `together`.
        server: The server of the backend, for faults.
    """

    def __init__(
        self,
        subject: Subject,
        mode: Mode,
        label: str = "",
        *,
        racy: bool = False,
        pinned: Kind | None = None,
        effort: int = 1,
        check_budget: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(subject, mode, label, racy=racy, pinned=pinned, check_budget=check_budget)
        self.effort = effort
        self.handles: list[Handle] = []
        self.lanes: list[Ref] = []
        self._sessions = self._after_sessions = 0
        self._has_environment = False
        self._closing: list[Step] | None = None
        self.server = Outage(self)

    # -- opening -----------------------------------------------------------------------------

    def open(
        self,
        session: str = "{nonce}-1",
        *,
        ttl: tuple[int | None] | None = None,
        in_this_process: bool = False,
        in_second_process: bool = False,
        again: bool = False,
    ) -> Handle:
        """Open a handle.

        Args:
            session: The session id. `{nonce}` in it is replaced by an id of this example,
                `{number}` by digits that are as unique, and `{uuid}`, `{UUID}` and `{uuid-hex}` by
                three spellings of one UUID of this example.
            ttl: `(milliseconds,)` or `(None,)` to open it through `with_ttl`.
            in_this_process: Whether it is opened in this process in every mode.
            in_second_process: Whether it is opened in the second process in every mode.
            again: Whether to repeat this while it raises, until the time limit of one operation
                has passed, because the server has been away.
        """
        handle = self._new_handle(session, in_this_process, in_second_process)
        name, action = self._begin_opening(handle, ttl, again=again)
        self.carry_out(name, action)
        return handle

    def prepare(self, session: str = "{nonce}-1", *, in_this_process: bool = False) -> Handle:
        """Return a handle that the operation `open` of a lane will open."""
        return self._new_handle(session, in_this_process)

    def try_open(
        self,
        session: str = "{nonce}-1",
        *,
        ttl: tuple[Any] | None = None,
        in_this_process: bool = False,
    ) -> tuple[Handle | None, Exception | None]:
        """Open a handle that may be refused, and return it or the exception."""
        handle = self._new_handle(session, in_this_process)
        error = self.attempt(*self._begin_opening(handle, ttl))
        if error is None:
            return handle, None
        code = opening_code(self.opening, session, handle.how, ttl)
        code = fill("error = {}", lazily(refused, code))
        self.steps[-1] = Step(self.steps[-1].text, code, f"refused: {type_name(error)}")
        self.error = Ref("error", error)
        return None, error

    def _begin_opening(
        self, handle: Handle, ttl: tuple[Any] | None, *, again: bool = False
    ) -> tuple[str, Callable[[], None]]:
        """Add the step that opens a handle, and return its name and its action."""
        shown = show(handle.session.replace("{nonce}", "session").replace("{number}", "1"))
        text = f"{handle.name} = open({shown}{f', ttl_ms={ttl[0]}' if ttl else ''})"
        code = opening_code(self.opening, handle.session, handle.how, ttl)
        if again:
            text += f", again while it raises, for {self.subject.limit:g} s at most"
            limit = source(self.subject.limit)
            code = call(read_while_refused, fill("lambda: {}", code), limit)
        code = fill("{} = {}", handle.name, code)
        if handle.in_second_process:
            text, code = f"{text}  in a second process", elsewhere(code)
        self.steps.append(Step(text, code))

        def enter() -> None:
            handle.host.open(handle.key, handle.id, handle.how, ttl)

        def action() -> None:
            if again:
                read_while_refused(enter, self.subject.limit)
            else:
                enter()
            handle.was_opened()
            handle.unreachable = self.server.is_unreachable

        name = getattr(unbound(self.opening.factory), "__name__", "the factory")
        return f"{name}(session_id)", action

    def offered(self, names: Sequence[str]) -> list[str]:
        """Return those of `names`, capabilities, that the history has."""
        try:
            able = self.subject.capabilities.names
        except Exception:
            self.open()  # fails with a finding that has a step
            raise
        return [name for name in names if name in able]

    def _new_handle(
        self, session: str, in_this_process: bool, in_second_process: bool = False
    ) -> Handle:
        number = len(self.handles) - self._sessions
        second = self.mode == "process" and number % 2 == 1 and not in_this_process
        second = second or in_second_process
        name = string.ascii_lowercase[number % 26] + ("" if number < 26 else str(number // 26))
        handle = Handle(self, name, session, second)
        self.handles.append(handle)
        return handle

    # -- the world around the history --------------------------------------------------------

    @contextlib.contextmanager
    def another_loop(self) -> Iterator[None]:
        """Run asynchronous operations on a new event loop, which ends afterwards."""
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
        """Stop the wall clock of this process at `seconds` since the epoch."""
        clock = call(SetClock, Code(handle.name), source(seconds))
        text = f"the wall clock says {seconds:.3f}"
        self.steps.append(Step(text, fill("clock = {}.__enter__()", clock)))
        history = self.subject.local.history(handle.key)
        with self.subject.quiet.disturbing(self), SetClock(history, seconds):  # type: ignore[no-untyped-call]
            yield
        self.steps.append(Step("the wall clock is right again", Code("clock.__exit__()")))

    def second_process_dies(self) -> None:
        """Kill the second process with the handles in it."""
        self.steps.append(Step("the second process is killed", fill("{}.kill()", ELSEWHERE)))
        self.subject.second_process.die()
        self._drop_handles_there()

    def second_process_starts_with(self, **environment: str) -> None:
        """Start another second process with other environment variables, until the example ends.

        The contract is not applicable if the backend cannot be imported with them.
        """
        shown = ", ".join(f"{name}={value}" for name, value in environment.items())
        code = ", ".join(f"{name}={value!r}" for name, value in environment.items())
        text = f"another second process starts with {shown}"
        self.steps.append(Step(text, fill("{}.kill({})", ELSEWHERE, code)))
        self._drop_handles_there()
        self._has_environment = True
        self.subject.use_environment(environment)
        try:
            assert self.subject.second_process
        except SecondProcessLost as error:
            self.not_applicable(f"with {shown}: {error}")

    def _drop_handles_there(self) -> None:
        for handle in self.handles:
            if handle.in_second_process and handle.is_open:
                handle.was_dropped()

    # -- concurrent operations ---------------------------------------------------------------

    def together(self, lanes: Sequence[Lane], *, may_raise: bool = False) -> list[list[Done]]:
        """Run several lists of operations at once.

        Args:
            lanes: For each thread, task or process the operations on handles, in order. Next to
                those of a history there are `("open", ())` for a handle from `prepare`, and
                `("wait", (seconds,))`. The script has the results of reads as `laneN_got`.
            may_raise: Whether to return errors instead of failing on the first.

        Returns:
            For each lane the results of its calls. The caller updates the model.
        """
        self._settle_for(lanes)
        self.steps.append(lanes_step(self.opening, lanes, self.mode))
        self.cost += max(map(len, lanes)) - 1
        done: list[list[Done]] = self.carry_out(
            "concurrent calls", lambda: run_lanes(self.subject, lanes)
        )
        self._mark_opened(lanes, done)
        self._drop_interleaving()
        note = interleaving(lanes, done)
        self.notes += [note] if note else []
        self.lanes = [
            Ref(f"lane{number}_got", [item.value for item in lane if is_read(item.call.operation)])
            for number, lane in enumerate(done, 1)
        ]
        self._check_lanes(lanes, done, may_raise)
        return done

    def in_forks(self, lanes: Sequence[Lane]) -> None:
        """Run lists of operations one after another, each in a fork of a new process.

        That process has imported the backend, and has not opened a history.

        Args:
            lanes: For each fork the operations, as for `together`. The first is `("open", ())`.
        """
        self.steps.append(forks_step(self.opening, lanes))
        self.cost += sum(map(len, lanes)) - 1
        done = self.carry_out("calls in forks", lambda: fork_lanes(self.subject, lanes))
        self._check_lanes(lanes, done, may_raise=False)

    def write_sessions(self, number: int, lanes: int, messages: Sequence[BaseMessage]) -> None:
        """Write messages to more sessions with the ids `{nonce}-0`, `{nonce}-1` and so on.

        If nothing happens between two calls, the story has one step for both.

        Args:
            number: The number of sessions.
            lanes: How many are written at the same time, if that is allowed.
            messages: The messages that each session gets.
        """
        lanes = 1 if "threads" in self.subject.backend.lacks else lanes
        goes_on = bool(self._sessions) and len(self.steps) == self._after_sessions
        start = len(self.steps) - goes_on
        handles = [self.prepare(f"{{nonce}}-{self._sessions + each}") for each in range(number)]
        handles[0].name = "other"
        self.together(
            [
                [
                    step
                    for handle in handles[lane::lanes]
                    for step in ((handle, "open", ()), (handle, "add_messages", (messages,)))
                ]
                for lane in range(lanes)
            ]
        )
        self._sessions += number  # their handles take no letter
        written = sessions_step(self.opening, handles[0], messages, self._sessions)
        for handle in handles:
            handle.model.add(messages)
            handle.release()
        self.steps[start:] = [written]
        self._after_sessions = len(self.steps)
        self._drop_interleaving()

    def _drop_interleaving(self) -> None:
        self.notes = [note for note in self.notes if not note.startswith(INTERLEAVING)]

    def _mark_opened(self, lanes: Sequence[Lane], done: Sequence[Sequence[Done]]) -> None:
        for lane, outcome in zip(lanes, done, strict=True):
            for (handle, name, _), item in zip(lane, outcome, strict=False):
                if name == "open" and item.error is None and not handle.is_open:
                    handle.was_opened()

    def _settle_for(self, lanes: Sequence[Lane]) -> None:
        if any(is_read(name) for lane in lanes for _, name, _ in lane):
            self.settle()

    def _check_lanes(
        self, lanes: Sequence[Lane], done: Sequence[Sequence[Done]], may_raise: bool
    ) -> None:
        """Fail on the first error, and on reads without a list."""
        for lane, outcome in zip(lanes, done, strict=True):
            for (handle, name, args), item in zip(lane, outcome, strict=False):
                if item.error is None:
                    if is_read(name) and not is_sized(item.value):
                        shown = show_odd(item.value)
                        summary = f"`{name}` returned {shown} instead of a list of messages"
                        self.fail("other", summary)
                elif not may_raise:
                    phrase = handle.phrase(name, args, item.call.how)
                    self.explain(phrase.invocation.name, item.error)

    # -- the end -----------------------------------------------------------------------------

    def finish(self, *, failed: bool) -> None:
        """Remove all stored messages and close all handles.

        Args:
            failed: Whether the example has failed. A second failure would hide the first.
        """
        self.server.end(failed=failed)
        if not failed:
            self._closing = self._steps_that_close()  # they cannot be written for closed handles
        with self.subject.quiet.call(self):
            trouble = self._clean_up(failed=failed)
        self.subject.end_hung_process()
        if self._has_environment:
            self.subject.use_environment({})
        if trouble is not None and not failed:
            self.explain("close", trouble)

    def _clean_up(self, *, failed: bool) -> Exception | None:
        """Remove all stored messages, and return the first exception of closing."""
        trouble = release_all(one for handle in self.handles for one in handle.iterations)
        opened = [
            handle.session for handle in self.handles if handle.is_open and not handle.unreachable
        ]
        stored = list(dict.fromkeys([*opened, *self.abandoned])) if self.subject.removes else []
        if self.subject.backend.remove is None:
            for session in stored:
                self._clear(session)
        trouble = self._release_all() or trouble
        self.leave_store(failed=failed)
        if self.subject.backend.remove is not None:
            for session in stored:
                self._remove(self.subject.backend.remove, self.id_of(session))
        return trouble

    def closing_steps(self) -> list[Step]:
        if self._closing is not None:
            return self._closing
        return self._steps_that_close() if self.racy else []

    def _steps_that_close(self) -> list[Step]:
        opened = [handle for handle in self.handles if handle.is_open and not handle.is_closed]
        return [Step("", handle.closing_code()) for handle in opened]

    def _release_all(self) -> Exception | None:
        """Close all handles, and return the first exception."""
        trouble: Exception | None = None
        for handle in [one for one in self.handles if one.is_open]:
            try:
                handle.host.release(handle.key, handle.opened_how)
            except Exception as error:
                away = handle.unreachable and is_server_error(error, self.subject.backend)
                # durability.close_idempotent judges a second close, and no other contract does.
                if not away and not handle.is_closed:
                    trouble = trouble or error
        return trouble

    def _remove(self, remove: Callable[[str], None], session_id: str) -> None:
        """Remove all trace of a session with the function that its backend declares."""
        try:
            self.subject.local.run(lambda: remove(session_id))
        except Exception as error:
            if self.subject.disposable:
                return  # the run removes the whole server
            self._note_once(f"stored messages could not be removed ({type(error).__name__})")

    def _clear(self, session: str) -> None:
        """Clear a session through a handle that is still usable, or through a new one."""
        for handle in self.handles:
            if handle.session == session and handle.is_open and not handle.is_closed:
                with contextlib.suppress(Exception):  # contracts judge clearing, not this
                    handle.host.call(Call(handle.key, "clear", (), handle.opened_how))
                    return
        local, how, key = self.subject.local, self.subject.how, f"{self.nonce}:clearing"
        try:
            local.open(key, self.id_of(session), how, None)
            try:
                local.call(Call(key, "clear", (), how))
            finally:
                local.release(key, how)
        except Exception as error:
            model = self.models.get(session)
            if model is None or model.stored or model.cleared:  # else nothing was stored
                self._note_once(f"stored messages could not be cleared ({type(error).__name__})")

    def _note_once(self, note: str) -> None:
        if note not in self.subject.notes:
            self.subject.notes.append(note)
