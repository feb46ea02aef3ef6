"""Declaring backends with `history_backend`, and finding a backend by its name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Concatenate, TypeAlias, TypeVar

from chat_history_conformance.declaration.backend import Backend, Granularity, Interference
from chat_history_conformance.declaration.capabilities import AssumedCapability
from chat_history_conformance.declaration.errors import DeclarationError, clip_repr, did_you_mean
from chat_history_conformance.declaration.hooks import Fresh, Refuse
from chat_history_conformance.declaration.origin import Origin, module_origin, origin_of
from chat_history_conformance.declaration.parameters import published, wanted
from chat_history_conformance.protocols import AsyncChatHistory, ChatHistory, Floor

__all__ = [
    "ENTRY_POINTS",
    "Factory",
    "History",
    "declared",
    "history_backend",
    "load_again",
    "names",
    "resolve",
]

ENTRY_POINTS = "chat_history_backends"
"""The group of entry points in which packages register backends."""

History: TypeAlias = ChatHistory | AsyncChatHistory
"""An open history with synchronous methods, asynchronous methods, or both."""

Factory: TypeAlias = Callable[
    Concatenate[str, ...],
    History
    | Iterator[History]
    | Generator[History, None, None]
    | AbstractContextManager[History]
    | Awaitable[History]
    | AsyncIterator[History]
    | AsyncGenerator[History, None]
    | AbstractAsyncContextManager[History],
]
"""A callable that takes a session id first and opens a history, in one of the supported shapes."""

F = TypeVar("F", bound=Factory)


def history_backend(
    name: str,
    *,
    lacks: Mapping[AssumedCapability, str] | None = None,
    deviations: Mapping[str, str] | None = None,
    methods: Mapping[str, str] | None = None,
    with_ttl: Callable[Concatenate[str, int | None, ...], Any] | None = None,
    ttl_granularity: Granularity = "message",
    corrupt: Callable[Concatenate[str, ...], None] | None = None,
    disposable: bool = False,
    remove: Callable[Concatenate[str, ...], None] | None = None,
    server: str | None = None,
    server_errors: tuple[type[BaseException], ...] = (),
    floor: Callable[[str], Floor | AsyncChatHistory] | None = None,
    peers: Mapping[str, Factory] | None = None,
    round_trips: Callable[[], int] | None = None,
    interference: Mapping[str, Interference] | None = None,
    fresh: Fresh | None = None,
    refuse: Refuse | None = None,
    stop: Callable[[], Any] | None = None,
    start: Callable[[], Any] | None = None,
    eventual: float | None = None,
    lifespan: Callable[[], Any] | None = None,
) -> Callable[[F], F]:
    """Declare the decorated callable as the backend `name`. The callable itself is not changed.

    The callable takes the session id as its first argument, and opens a history. It may be:

    - a class;
    - a function that returns a history;
    - a generator function that yields a history and then cleans up;
    - a function that returns a context manager;
    - an asynchronous form of any of these.

    Each further parameter without a default gets a value by its name: from the object of
    `lifespan=`, or else from a session-scoped pytest fixture. The same is true for the other
    functions of a declaration.

    Example:
        Declare an in-memory history in a `conftest.py`:

        ```python
        @history_backend("mine", lacks={"durable": "kept in process memory by design"})
        def mine(session_id):
            return MyHistory(session_id)
        ```

    Args:
        name: The name of the backend in `--history-backend` and in node ids.
        lacks: Capabilities that the history does not have, each with a reason:
            `{"durable": "kept in process memory by design"}`. `Capabilities` documents them.
        deviations: Contracts that the history is known to break, `{contract id: reason}`. They
            still run. If one of them passes, the run fails until you delete its line.
        methods: Other names of reads, `{"last_messages": "tail"}`. If the history lacks
            `whole_reads`, `"messages"` may be mapped too.
        with_ttl: A function `with_ttl(session_id, ttl_ms)` that opens a history whose messages
            expire after `ttl_ms` milliseconds, and never with `ttl_ms=None`. The default is the
            attribute `with_ttl` of the callable, if it has one.
        ttl_granularity: `"message"` if each message expires by its own age, `"session"` if all
            messages of a session expire together, counted from its last write.
        corrupt: A function of a session id that makes the last stored record of the session
            undecodable, as another writer might.
        disposable: Whether all stored data is inside the working directory of the run, which is
            deleted at the end.
        remove: A function of a session id that removes the session completely, if `clear` leaves
            something behind, such as a topic or a table. It is used on servers that the run did
            not start.
        server: The kind of server that the history needs, such as `"redis"` or `"kafka"`. The run
            finds or starts one. The callable gets its address from
            `chat_history_conformance.servers.address(kind)` and the connection settings from
            `chat_history_conformance.servers.settings(kind)`, at each call.
        server_errors: Exceptions that mean "the server cannot be reached". They make the verdict
            INCOMPLETE instead of counting against the history. `ConnectionError` always does.
        floor: A function of a session id that opens the history's floor for benchmarks: the raw
            client, doing the least correct work behind the methods of a history.
        peers: Histories that benchmarks measure next to this one, each by the distribution that it
            comes from: `{"langchain-community": open_peer}`. Peers that are not installed are
            skipped.
        round_trips: A function that returns the number of round trips to the server that this
            process has made so far. It is needed only for clients that the suite cannot observe.
            The suite observes SQLite, and clients whose network code is Python.
        interference: Things that other users of the store may do to a session, by name:
            `{"an open transaction": open_transaction}`. Each is a function of a session id that
            returns a context manager: the other user interferes inside it, and the store is as
            before after it. Decorate a generator function with `contextlib.contextmanager`. The
            session may not exist yet. It is used only on stores whose data can be thrown away:
            servers that the run started, and `disposable` backends.
        fresh: A function of a name that nothing has used. It returns a factory that opens
            histories in a store of that name, such as a table or a file: `lambda session_id:
            MyHistory(session_id, table=name)`. The first history creates the store. To clean up,
            return a context manager around the factory instead.
        refuse: A function of a session id that makes the store refuse writes. It returns a context
            manager, and writes to the session fail inside it; or None, and the next write fails.
            It may let messages pass whose content is not `refuse this`.
        stop: A function that ends the server that the histories use. With `--history-faults`, the
            run calls it and `start` in the contracts about faults.
        start: A function that starts that server again, with all that it had stored, and returns
            when it is ready.
        eventual: Seconds after a write from which every read shows it, if reads do not show it at
            once. Contracts wait for that time; messages that are missing then are lost.
        lifespan: A generator function without arguments that starts what the histories need, such
            as a container, yields a JSON object once, such as `{"url": "redis://127.0.0.1:6379"}`,
            and then cleans up; or a function that returns a context manager. It runs once for a
            run, before the first contract, whatever the number of processes. The values of the
            object go to all processes.

    Returns:
        A decorator that returns the callable unchanged.

    Raises:
        DeclarationError: The name is already taken by another declaration.
    """

    def declare(factory: F) -> F:
        if type(factory).__module__.startswith("_pytest."):
            raise DeclarationError(
                f"Backend {name!r} is a pytest fixture, which only a test can call. Remove "
                "@pytest.fixture: a generator function that yields a history may clean up after it."
            )
        caller = sys._getframe(1)
        at_import = caller.f_code.co_name == "<module>"
        backend = Backend(
            name=name,
            factory=factory,
            origin=origin_of(factory),
            lacks=dict((lacks or {}).items()),
            deviations=dict(deviations or {}),
            methods=dict(methods or {}),
            with_ttl=with_ttl or getattr(factory, "with_ttl", None),
            ttl_granularity=ttl_granularity,
            corrupt=corrupt,
            disposable=disposable,
            remove=remove,
            server=server,
            server_errors=tuple(server_errors),
            floor=floor,
            peers=dict(peers or {}),
            round_trips=round_trips,
            interference=_copied(interference),
            fresh=fresh,
            refuse=refuse,
            stop=stop,
            start=start,
            eventual=eventual,
            lifespan=lifespan,
            declared_in=module_origin(caller.f_globals.get("__name__", "")) if at_import else None,
        )
        known = _declared.get(name)
        if known is not None and not _same_declaration(known, backend):
            raise DeclarationError(
                f"Two backends are declared as {name!r}: {_place(known)}, and {_place(backend)}. "
                "Rename one of them."
            )
        _declared[name] = backend
        return factory

    return declare


def _copied(interference: Mapping[str, Interference] | None) -> Mapping[str, Interference]:
    """Copy a mapping; `Backend.check` refuses anything else later, with the backend's name."""
    return dict(interference) if isinstance(interference, Mapping) else interference or {}


_declared: dict[str, Backend] = {}


def declared() -> tuple[Backend, ...]:
    """Return the backends that `history_backend` has declared in this process so far."""
    return tuple(_declared.values())


def names() -> list[str]:
    """Return the names of all backends that are declared or registered by a package, sorted."""
    return sorted({*_declared, *(point.name for point in entry_points(group=ENTRY_POINTS))})


def resolve(spec: str) -> Backend:
    """Find the backend that `--history-backend=spec` names.

    Args:
        spec: A declared name, a registered name, or `package.module:attribute`.

    Raises:
        DeclarationError: No backend has that name, importing it failed, or it cannot be called
            with one session id.
    """
    if spec in _declared:
        return _located(_declared[spec])
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == spec:
            return _adopt(spec, _load_entry_point(point), Origin(point.module, point.attr))
    module, separator, attribute = spec.partition(":")
    if not (separator and module and attribute):
        known = names()
        raise DeclarationError(
            f"No backend named {spec!r}.{_other_spelling(spec, known)} "
            f"Known backends: {', '.join(known) or 'none'}. To add one, declare it with "
            "@history_backend in a conftest.py that pytest loads at its start (in the working "
            "directory or a parent, in test*/, in testpaths, or in a path on the command line), "
            f"register it as an entry point in the group {ENTRY_POINTS!r}, or name a callable as "
            "package.module:attribute."
        )
    if "/" in spec or ".py:" in spec:
        raise DeclarationError(f"No backend named {spec!r}.{_other_spelling(spec, names())}")
    origin = Origin(module, attribute)
    try:
        found = origin.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # importing runs the user's code, which may skip or exit
        raise DeclarationError(_import_failure(spec, module, error)) from error
    return _adopt(spec, found, origin)


def _other_spelling(spec: str, known: list[str]) -> str:
    """Return a sentence with the right spelling of `spec`, as far as it can be guessed."""
    several = [part.strip() for part in spec.split(",")]
    if len(several) > 1 and all(several):
        options = " ".join(f"--history-backend={part}" for part in several)
        return f" Give the option once for each backend: {options}."
    path, separator, attribute = spec.replace("::", ":").partition(":")
    if separator and (path.endswith(".py") or "/" in path):
        module = path.removesuffix(".py").removeprefix("./").strip("/").replace("/", ".")
        return f" Name the module and not its file: --history-backend={module}:{attribute}."
    nearest = did_you_mean(spec, known)
    module, dot, attribute = spec.rpartition(".")
    if nearest or not dot or not attribute.isidentifier():
        return nearest
    return f" If it is a callable, write a colon: --history-backend={module}:{attribute}."


def load_again(name: str, origin: Origin) -> Backend:
    """Return a backend in another process than the one that found it, with its values.

    Args:
        name: The name of the backend.
        origin: The place that declares it, or that is it.

    Raises:
        DeclarationError: Its functions have a parameter for which the other process gave no value.
        ImportError: Importing `origin` declares no backend with this name.
    """
    return _found_again(name, origin).bind(published(name))


def _found_again(name: str, origin: Origin) -> Backend:
    found = origin.load()
    for backend in _declared.values():
        if backend.name == name:
            return backend
    for backend in _declared.values():
        if backend.factory is found:
            return backend
    if not origin.attribute:
        raise ImportError(f"importing {origin.file or origin.module} declares no backend {name!r}")
    if isinstance(found, Backend):
        return found
    return _undeclared(name, found, origin)


def _adopt(name: str, found: Any, origin: Origin) -> Backend:
    """Return the declaration of `found`, or a plain backend if `found` is not declared."""
    for backend in _declared.values():
        if backend.factory is found:
            return _located(backend)
    if not callable(found):
        raise DeclarationError(
            f"--history-backend={name} names {type(found).__name__} {clip_repr(found)}, which "
            "cannot be called. Name a class or a function that takes a session id and opens a "
            "chat history."
        )
    try:
        inspect.signature(found).bind("session", **dict.fromkeys(wanted(found, 1)))
    except TypeError as error:
        raise DeclarationError(
            f"--history-backend={name} cannot be called with one session id ({error}). Wrap it: "
            f"def open_history(session_id): return {origin.attribute}(...)."
        ) from error
    except ValueError:  # a callable without a signature is called without this check
        return _undeclared(name, found, origin)
    return _undeclared(name, found, origin)


def _undeclared(name: str, factory: Any, origin: Origin) -> Backend:
    return Backend(name, factory, origin, with_ttl=getattr(factory, "with_ttl", None))


def _load_entry_point(point: EntryPoint) -> Any:
    try:
        return point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # importing runs the package's code, which may skip or exit
        raise DeclarationError(
            f"Backend {point.name!r} is registered as {point.value!r}, but importing it failed: "
            f"{type(error).__name__}: {error}. Check that its package and its extras are installed."
        ) from error


def _located(backend: Backend) -> Backend:
    """Return `backend` with an origin, if its factory has a name in the declaring module.

    A lambda, a closure or an object does not know its name. The name can only be looked up after
    the declaring module has been executed.
    """
    place = backend.declared_in
    if backend.origin is not None or place is None:
        return backend
    for name, value in vars(place.load()).items():
        if value is backend.factory:
            return replace(backend, origin=replace(place, attribute=name))
    return backend


def _same_declaration(one: Backend, other: Backend) -> bool:
    """Return whether both are one declaration, whose file was executed twice."""
    if one.declared_in is None or one.declared_in != other.declared_in:
        return False
    if one.origin != other.origin:
        return False
    first, second = (getattr(backend.factory, "__code__", None) for backend in (one, other))
    return first is None or second is None or first.co_firstlineno == second.co_firstlineno


def _place(backend: Backend) -> str:
    if backend.origin is None:
        return "a function inside a function"
    return f"{backend.origin.attribute} in {backend.origin.file or backend.origin.module}"


def _import_failure(spec: str, module: str, error: BaseException) -> str:
    text = f"--history-backend={spec} cannot be imported: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        if module == error.name or module.startswith(f"{error.name}."):
            return f"{text}. Install its package, or run pytest in the directory that contains it."
    elif isinstance(error, AttributeError):
        known = [name for name in vars(sys.modules.get(module, object)) if name[0] != "_"]
        return f"{text}.{did_you_mean(spec.partition(':')[2], known)}"
    return text
