"""What an adopter states about a backend, and how a backend is found by name.

Frozen values and their validation; nothing here opens a history. Cheap to import: neither
langchain-core nor Hypothesis is needed to declare a backend.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

from chat_history_conformance.declaration import capabilities
from chat_history_conformance.servers import KINDS

ENTRY_POINTS = "chat_history_backends"
OWN_ALIAS = "chat_history_conformance_backends"
OWN_BACKENDS = Path(__file__).parent.parent / "backends"
"""Where the reference backends are. A process that measures another installation's sets it."""

MODES: tuple[Literal["sync", "async"], ...] = ("sync", "async")
"""The ways of calling a history that a backend keeps or gives up."""

Factory = Callable[[str], Any]
F = TypeVar("F", bound=Callable[..., Any])


class DeclarationError(Exception):
    """A backend that cannot be found or is declared wrongly; the text says what to do."""


@dataclass(frozen=True)
class Origin:
    """Where a factory lives, so that a second process and a reproducer can import it again.

    `file` is needed where `module` is no importable name, as for a conftest. `attribute` is a
    dotted name in the module, or empty for the module itself.
    """

    module: str
    attribute: str
    file: str | None = None

    def load(self) -> Any:
        """Import the module, from its file where it has one, and return the attribute."""
        module = self._module()
        target: Any = module
        for name in filter(None, self.attribute.split(".")):
            target = getattr(target, name)
        return target

    def _module(self) -> ModuleType:
        loaded = sys.modules.get(self.module)
        if loaded is not None and (
            self.file is None or getattr(loaded, "__file__", None) == self.file
        ):
            return loaded
        if self.module.startswith(f"{OWN_ALIAS}."):
            return own_backends(self.module.removeprefix(f"{OWN_ALIAS}."))
        if self.file is None:
            return importlib.import_module(self.module)
        spec = importlib.util.spec_from_file_location(self.module, self.file)
        if spec is None or spec.loader is None:
            raise DeclarationError(f"{self.file} cannot be imported as Python source")
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.module] = module
        spec.loader.exec_module(module)
        return module


@dataclass(frozen=True)
class Backend:
    """A backend as declared: its name, how to open it, and what cannot be seen from outside.

    Arguments are those of `history_backend`, which documents them. `origin` leads to the factory,
    `declared_in` to the module whose import declares the backend.
    """

    name: str
    factory: Factory
    origin: Origin | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    deviations: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    with_ttl: Callable[[str, int | None], Any] | None = None
    ttl_granularity: Literal["message", "session"] = "message"
    corrupt: Callable[[str], None] | None = None
    disposable: bool = False
    remove: Callable[[str], None] | None = None
    server: str | None = None
    server_errors: tuple[type[BaseException], ...] = ()
    floor: Factory | None = None
    peers: Mapping[str, Factory] = field(default_factory=dict)
    round_trips: Callable[[], int] | None = None
    declared_in: Origin | None = None

    @property
    def modes(self) -> tuple[Literal["sync", "async"], ...]:
        """The ways of calling that it keeps, synchronous first where it has both."""
        return tuple(mode for mode in MODES if mode not in self.lacks)

    @property
    def importable(self) -> Origin | None:
        """What a second process imports to have this backend; None where it cannot."""
        return self.declared_in or self.origin

    def check(self, contract_ids: Iterable[str]) -> None:
        """Refuse a declaration that names what does not exist.

        Args:
            contract_ids: Every id of the catalogue; deviations must be among them.

        Raises:
            DeclarationError: With the nearest existing name and the whole list where it helps.
        """
        where = f"backend {self.name!r}"
        known = capabilities.assumed()
        for name, reason in self.lacks.items():
            if name not in known:
                raise DeclarationError(
                    f"{where} gives up {name!r} in lacks=, which is no capability that can be "
                    f"given up{nearest(name, known)}. Those that can: {', '.join(known)}."
                )
            _need_reason(where, "lacks", name, reason)
        if {"sync", "async"} <= set(self.lacks):
            raise DeclarationError(
                f"{where} gives up both sync and async in lacks=: nothing is left to judge."
            )
        ids = tuple(contract_ids)
        for contract, reason in self.deviations.items():
            if contract not in ids:
                raise DeclarationError(
                    f"{where} names {contract!r} in deviations=, which is no contract"
                    f"{nearest(contract, ids)}. `history-conformance contracts` lists them."
                )
            _need_reason(where, "deviations", contract, reason)
        mappable = ("messages", *capabilities.READS)
        for name in self.methods:
            if name not in mappable:
                raise DeclarationError(
                    f"{where} maps {name!r} in methods=, which is no read{nearest(name, mappable)}"
                    f". Those that can be mapped: {', '.join(mappable)}."
                )
        if self.server is not None and self.server not in KINDS:
            raise DeclarationError(
                f"{where} has server={self.server!r}, which is no kind of server that can be "
                f"started{nearest(str(self.server), KINDS)}. Those that can: {', '.join(KINDS)}."
            )
        if self.ttl_granularity not in ("message", "session"):
            raise DeclarationError(
                f"{where} has ttl_granularity={self.ttl_granularity!r}: it is 'message' where each "
                "message expires by its own age, 'session' where all do by the last write."
            )


def history_backend(
    name: str,
    *,
    lacks: Mapping[str, str] | None = None,
    deviations: Mapping[str, str] | None = None,
    methods: Mapping[str, str] | None = None,
    with_ttl: Callable[[str, int | None], Any] | None = None,
    ttl_granularity: Literal["message", "session"] = "message",
    corrupt: Callable[[str], None] | None = None,
    disposable: bool = False,
    remove: Callable[[str], None] | None = None,
    server: str | None = None,
    server_errors: tuple[type[BaseException], ...] = (),
    floor: Factory | None = None,
    peers: Mapping[str, Factory] | None = None,
    round_trips: Callable[[], int] | None = None,
) -> Callable[[F], F]:
    """Declare a callable as the backend `name`; it stays usable as it is.

    The callable takes one positional session id and gives a history: a class, a function, a
    generator function that yields it and then cleans up, an async form of these, or a function
    that returns a context manager.

    Args:
        name: What `--history-backend` and node ids call it.
        lacks: Capabilities given up, each with its reason; see `Capabilities`.
        deviations: Contracts known to be broken, `{contract id: reason}`. They still run, and one
            that passes fails the run, so that the line is deleted.
        methods: Reads under other names, `{"last_messages": "tail"}`; `"messages"` may be mapped
            where `whole_reads` is given up.
        with_ttl: `with_ttl(session_id, ttl_ms)` opens a history whose messages expire. An
            attribute of that name on the callable is found by itself.
        ttl_granularity: `"message"` where each message expires by its own age, `"session"` where
            the whole session does by its last write.
        corrupt: Makes the last stored record of a session undecodable, as a foreign writer might.
        disposable: All that is stored lies in the run's own directory and goes with it.
        remove: Removes all trace of a session from a server that is not the run's own, where
            `clear` leaves some, such as a topic or a table.
        server: The kind of server that it needs, `"kafka"` or `"elasticsearch"`. The run finds or
            starts one. Each time it is called, the callable asks
            `chat_history_conformance.servers.address(kind)` for the address and `settings(kind)`
            for the connection settings.
        server_errors: Exceptions that mean "the server is not there", told apart from findings.
        floor: What benchmarks are set against: takes a session id and gives an object with the
            methods of a history that does the least that could be correct with the raw client.
        peers: Histories that benchmarks measure beside this one, by the distribution they are
            from: `{"langchain-community": open_peer}`. One that is not installed is left out.
        round_trips: Tells how many round trips to the server this process has made so far, where
            the suite cannot see them: it sees those of clients written in Python, and SQLite's.
    """

    def declare(factory: F) -> F:
        caller = sys._getframe(1)
        at_import = caller.f_code.co_name == "<module>"
        backend = Backend(
            name=name,
            factory=factory,
            origin=origin_of(factory),
            lacks=dict(lacks or {}),
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
            declared_in=_module_of(caller.f_globals.get("__name__", "")) if at_import else None,
        )
        known = _declared.get(name)
        if known is not None and not _same_place(known, backend):
            raise DeclarationError(
                f"two backends are declared as {name!r}: {_place(known)} and {_place(backend)}. "
                "Give one of them another name."
            )
        _declared[name] = backend
        return factory

    return declare


_declared: dict[str, Backend] = {}


def declared() -> tuple[Backend, ...]:
    """What `history_backend` has declared in this process so far."""
    return tuple(_declared.values())


def names() -> list[str]:
    """The names that can be used now: declared in a loaded conftest or registered by a package."""
    return sorted({*_declared, *(point.name for point in _entry_points())})


def resolve(spec: str) -> Backend:
    """The backend that `--history-backend=spec` means.

    Args:
        spec: A declared or registered name, or `package.module:attribute`.

    Raises:
        DeclarationError: There is none, or importing it fails; says which are known.
    """
    if spec in _declared:
        return _located(_declared[spec])
    for point in _entry_points():
        if point.name == spec:
            return _adopt(spec, _load_entry_point(point), Origin(point.module, point.attr))
    module, separator, attribute = spec.partition(":")
    if not (separator and module and attribute):
        known = names()
        raise DeclarationError(
            f"there is no history backend {spec!r}{nearest(spec, known)}. "
            f"Known: {', '.join(known) or 'none'}. A name comes from a package's entry point in "
            f"the group {ENTRY_POINTS!r}, from @history_backend in a conftest.py that pytest loads "
            "at start (working directory and its parents, test*/, testpaths, paths given), or is "
            "written package.module:attribute."
        )
    origin = Origin(module, attribute)
    try:
        found = origin.load()
    except (Exception, SystemExit) as error:  # importing runs the user's code: it may do anything
        raise DeclarationError(_import_failure(spec, module, error)) from error
    return _adopt(spec, found, origin)


def _adopt(name: str, found: Any, origin: Origin) -> Backend:
    """A backend from what a name led to: one declared on that object, or the object itself."""
    for backend in _declared.values():
        if backend.factory is found:
            return _located(backend)
    if not callable(found):
        raise DeclarationError(
            f"--history-backend={name} leads to {type(found).__name__} {clip_repr(found)}, which "
            "cannot be called. It must be a class or a function that takes a session id and gives "
            "a chat history."
        )
    try:
        inspect.signature(found).bind("session")
    except TypeError as error:
        raise DeclarationError(
            f"--history-backend={name} cannot be called with one session id ({error}). Wrap it: "
            f"def open_history(session_id): return {origin.attribute}(session_id, ...)."
        ) from error
    except ValueError:
        pass  # some callables have no signature; calling them will tell
    return Backend(
        name=name, factory=found, origin=origin, with_ttl=getattr(found, "with_ttl", None)
    )


def _load_entry_point(point: EntryPoint) -> Any:
    try:
        ours = point.dist is not None and point.dist.name == "chat-history-conformance"
        if ours and point.value.startswith("backends."):
            return getattr(own_backends(point.module.partition(".")[2]), point.attr)
        return point.load()
    except (Exception, SystemExit) as error:  # a package may fail to import for any reason
        raise DeclarationError(
            f"the history backend {point.name!r} is registered as {point.value!r}, and importing "
            f"it fails: {type(error).__name__}: {error}"
        ) from error


def own_backends(module: str) -> ModuleType:
    """A module of the reference backends, even where another package is called `backends`.

    Ours is the one beside this package. Where the name leads elsewhere, it is imported from its
    place under a name of its own.
    """
    home = OWN_BACKENDS
    taken = sys.modules.get("backends")
    spec = taken.__spec__ if taken is not None else importlib.util.find_spec("backends")
    found = list(spec.submodule_search_locations or []) if spec is not None else []
    if any(Path(place).resolve() == home.resolve() for place in found):
        return importlib.import_module(f"backends.{module}")
    if OWN_ALIAS not in sys.modules:
        own = importlib.util.spec_from_file_location(
            OWN_ALIAS, home / "__init__.py", submodule_search_locations=[str(home)]
        )
        if own is None or own.loader is None:
            raise DeclarationError(f"the reference backends are not where they belong, in {home}")
        package = importlib.util.module_from_spec(own)
        sys.modules[OWN_ALIAS] = package
        own.loader.exec_module(package)
    return importlib.import_module(f"{OWN_ALIAS}.{module}")


def origin_of(factory: Callable[..., Any]) -> Origin | None:
    """Where `factory` can be imported from again; None where it has no name of its own there."""
    name = getattr(factory, "__qualname__", "")
    if not name or "<" in name:
        return None
    module = _module_of(factory.__module__)
    return None if module is None else Origin(module.module, name, module.file)


def _module_of(name: str) -> Origin | None:
    """Where a module that is loaded can be imported from again."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    importable = module is not None and getattr(module, "__spec__", None) is not None
    is_conftest = name.rpartition(".")[2] in ("conftest", "__main__")
    if is_conftest or not importable:
        return Origin(name, "", file) if file else None
    return Origin(name, "")


def _located(backend: Backend) -> Backend:
    """`backend` with its origin, if its factory has a name in the module that declares it.

    A lambda, a closure or an object has no name of its own; only now, when the declaring module
    is loaded, can be seen what it is called there.
    """
    place = backend.declared_in
    if backend.origin is not None or place is None:
        return backend
    for name, value in vars(place.load()).items():
        if value is backend.factory:
            return replace(backend, origin=replace(place, attribute=name))
    return backend


def _same_place(one: Backend, other: Backend) -> bool:
    """Whether `other` is the same declaration as `one`, its file read again."""
    if one.declared_in is None or one.declared_in != other.declared_in:
        return False
    if one.origin != other.origin:
        return False
    code, again = (getattr(backend.factory, "__code__", None) for backend in (one, other))
    return code is None or again is None or code.co_firstlineno == again.co_firstlineno


def nearest(name: str, known: Iterable[str]) -> str:
    """`(did you mean ...?)` for an error text, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def clip_repr(value: Any, width: int = 60) -> str:
    """A short `repr` for an error text."""
    text = repr(value)
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _entry_points() -> Iterable[EntryPoint]:
    return entry_points(group=ENTRY_POINTS)


def _place(backend: Backend) -> str:
    if backend.origin is None:
        return "a function inside a function"
    return f"{backend.origin.attribute} in {backend.origin.file or backend.origin.module}"


def _need_reason(where: str, argument: str, name: str, reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise DeclarationError(
            f"{where} gives no reason for {name!r} in {argument}=: write one sentence, it is "
            "printed in every report."
        )


def _leads_to(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def _import_failure(spec: str, module: str, error: BaseException) -> str:
    text = f"--history-backend={spec}: {type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name and _leads_to(module, error.name):
        text += ". Is its package installed, or below the directory pytest is run from?"
        head = module.partition(".")[0]
        file = getattr(sys.modules.get(head), "__file__", None) or "/"
        taken = Path(file).parent
        others = [place for path in sys.path if (place := Path(path or ".", head)).is_dir()]
        if head in sys.modules and others and others != [taken]:
            other = next(place for place in others if place != taken)
            text += f" The name `{head}` is taken by {taken}, loaded before {other}."
    elif isinstance(error, AttributeError):
        known = [name for name in vars(sys.modules.get(module, object)) if name[0] != "_"]
        text += nearest(spec.partition(":")[2], known)
    return text
