"""Who does what is measured: a backend, its floor or a peer, called directly or awaited.

Operations are called on the thread that measures, without the detour that gives a contract's calls
their time limit: it would cost more than a small operation.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.compare import first_line
from chat_history_conformance.drivers.calls import Call, How, Invocation, invocation
from chat_history_conformance.drivers.opening import NeedsLoop, Opened, aenter, enter

T = TypeVar("T")

HANDLES = 8
"""How many handles are used at once where one is not enough."""

_FILLED_AT_ONCE = 1000


class CannotDo(Exception):
    """An operation that this history does not offer; the text says what is missing."""


class Wrong(Exception):
    """What was measured did not do what it should have done; its time means nothing."""


@cache
def conversation(count: int) -> tuple[BaseMessage, ...]:
    """So many messages of about 200 bytes of JSON, from a human and a model by turns."""
    text = "What was said at this point of the talk, number"
    return tuple((AIMessage if n % 2 else HumanMessage)(f"{text} {n:05}") for n in range(count))


@dataclass(frozen=True)
class Hand:
    """An open history, and the operations on it, each ready to be called.

    Attributes:
        add: Adds a list of messages.
        adding: As `add`; what has to be awaited, where `awaits` is true.
        awaits: Whether it is used asynchronously.
        read: The whole conversation.
        clear: Empties it.
        remove: Removes all trace of its session, where it can do more than empty it.
        close: Lets go of it.
        fill: Gives its session a conversation in the fastest way there is, untimed.
        last: Makes a function that reads so many of the last messages, or raises CannotDo.
    """

    add: Callable[[list[BaseMessage]], Any]
    adding: Callable[[list[BaseMessage]], Any]
    awaits: bool
    read: Callable[[], list[BaseMessage]]
    clear: Callable[[], Any]
    remove: Callable[[], Any]
    close: Callable[[], Any]
    fill: Callable[[Sequence[BaseMessage]], Any]
    last: Callable[[int], Callable[[], list[BaseMessage]]]


class Contender:
    """One who takes part in a measurement.

    Args:
        backend: How its histories are opened, and how the operations are spelt on them.
        how: Whether they are called or awaited. What has no asynchronous twin is called, where
            `strict` is false.
        strict: Whether an operation that cannot be awaited is refused instead.
    """

    def __init__(self, backend: Backend, how: How, *, strict: bool = True) -> None:
        self.backend = backend
        self.how: How = how
        self._strict = strict
        self._nonce = f"chb{uuid.uuid4().hex[:8]}x"
        self._sessions: list[str] = []
        self._held: dict[int, str] = {}
        self._runner = asyncio.Runner()
        self._threads: ThreadPoolExecutor | None = None

    # -- sessions ----------------------------------------------------------------------------

    def session(self) -> str:
        """The id of a session that nobody has used."""
        self._sessions.append(f"{self._nonce}{len(self._sessions)}")
        return self._sessions[-1]

    def filled(self, length: int) -> str:
        """A new session that holds a conversation of so many messages."""
        session = self.session()
        if length:
            with self.opened(session) as hand:
                hand.fill(conversation(length))
        return session

    def holding(self, length: int) -> str:
        """A session with a conversation of so many messages, for those who leave it as it is."""
        if length not in self._held:
            self._held[length] = self.filled(length)
        return self._held[length]

    def again(self, how: How | None = None) -> Contender:
        """Another one who uses the same sessions, and opens everything anew.

        Args:
            how: Whether that one calls or awaits, where it is not as this one does.
        """
        other = Contender(self.backend, how or self.how, strict=self._strict)
        other._sessions, other._held, other._nonce = self._sessions, self._held, self._nonce
        return other

    # -- histories ---------------------------------------------------------------------------

    def open(self, session: str) -> Hand:
        """Open a history. Whoever opens it closes its hand."""
        opened = self._opened(session)
        history = opened.history
        awaits = self.how == "async" and (self._strict or hasattr(history, "aadd_messages"))
        how: How = "async" if awaits else "sync"

        def spelt(operation: str, *args: Any) -> tuple[Callable[..., Any], bool]:
            found = invocation(self.backend, history, Call("", operation, args, how))
            return _bound(history, found), found.awaited

        def called(operation: str, *args: Any) -> Callable[..., Any]:
            function, awaited = spelt(operation, *args)
            return self._awaiting(function) if awaited else function

        def last(count: int) -> Callable[[], list[BaseMessage]]:
            name = self.backend.methods.get("last_messages", "last_messages")
            offered = any(hasattr(history, twin) for twin in (name, f"a{name}"))
            if not offered:
                raise CannotDo(f"offers no {name}")
            function, awaited = spelt("last_messages", count)
            if how == "async" and self._strict and not awaited:
                raise CannotDo(f"offers no a{name}")
            return self._awaiting(function) if awaited else function

        add = called("add_messages", [])
        return Hand(
            add=add,
            adding=spelt("add_messages", [])[0],
            awaits=awaits,
            read=called("messages"),
            clear=called("clear"),
            remove=getattr(history, "remove", called("clear")),
            close=lambda: self._close(opened, how),
            fill=lambda messages: self._fill(history, add, how, messages),
            last=last,
        )

    @contextmanager
    def opened(self, session: str) -> Iterator[Hand]:
        """A hand that is closed in the end."""
        hand = self.open(session)
        try:
            yield hand
        finally:
            hand.close()

    def at_once(self, hands: Sequence[Hand], messages: list[BaseMessage]) -> None:
        """Let each of these add the messages: a thread each, or a task each."""
        if hands[0].awaits:

            async def together() -> None:
                await asyncio.gather(*(hand.adding(messages) for hand in hands))

            self._run(together())
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(HANDLES, "history-bench")
        for _ in self._threads.map(lambda hand: hand.add(messages), hands):
            pass

    def _opened(self, session: str) -> Opened:
        async def on_loop() -> Opened:
            return await aenter(self.backend.factory(session))

        if self.how == "async":
            return self._run(on_loop())
        try:
            return enter(self.backend.factory(session))
        except NeedsLoop as needs:
            return self._run(aenter(needs.value))

    def _fill(
        self, history: Any, add: Callable[..., Any], how: How, messages: Sequence[BaseMessage]
    ) -> None:
        if how == "async" and hasattr(history, "afill"):
            self._run(history.afill(list(messages)))
        elif hasattr(history, "fill"):
            history.fill(list(messages))
        else:
            for begin in range(0, len(messages), _FILLED_AT_ONCE):
                add(list(messages[begin : begin + _FILLED_AT_ONCE]))

    def _close(self, opened: Opened, how: How) -> None:
        """As the shape of the factory asks for, or else by the history's own method."""
        if opened.aexit is not None:
            self._run(_awaited(opened.aexit()))
        elif opened.exit is not None:
            opened.exit()
        elif any(hasattr(opened.history, name) for name in ("close", "aclose")):
            found = invocation(self.backend, opened.history, Call("", "close", (), how))
            function = _bound(opened.history, found)
            (self._awaiting(function) if found.awaited else function)()

    def _awaiting(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        run = self._runner.get_loop().run_until_complete
        return lambda *args: run(function(*args))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.get_loop().run_until_complete(coroutine)

    def remove(self) -> str | None:
        """Remove what was stored, and say what could not be."""
        try:
            for session in self._sessions:
                if self.backend.remove is not None:
                    self.backend.remove(session)
                else:
                    with self.opened(session) as hand:
                        hand.remove()
        except Exception as error:  # whatever a history or a server raises here
            return f"{self.backend.name}: not all sessions were removed: {told(error)}"
        return None

    def stop(self) -> None:
        """End the threads and the loop."""
        if self._threads is not None:
            self._threads.shutdown()
        self._runner.close()


def told(error: Exception) -> str:
    """What was raised, on one line: `raises ValueError: ...`; what we found ourselves, as it is."""
    text = first_line(error)
    if isinstance(error, CannotDo | Wrong):
        return text
    return f"raises {type(error).__name__}{text and f': {text}'}"


def _bound(history: Any, found: Invocation) -> Callable[..., Any]:
    """The call as a function that takes the messages where they are not given already."""
    if found.attribute:
        return lambda: getattr(history, found.name)
    method = getattr(history, found.name)
    kwargs = dict(found.kwargs)
    if kwargs:
        return lambda: method(**kwargs)
    return method  # type: ignore[no-any-return]


async def _awaited(awaitable: Any) -> Any:
    return await awaitable
