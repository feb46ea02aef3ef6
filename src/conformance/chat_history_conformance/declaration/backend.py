"""The declaration of one backend as a frozen value, and its validation.

Nothing here opens a history. Importing this module loads neither langchain-core nor Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chat_history_conformance.declaration import capabilities
from chat_history_conformance.declaration.errors import DeclarationError, clip_repr, did_you_mean
from chat_history_conformance.declaration.hooks import (
    HOOKS,
    Fresh,
    Refuse,
    wrong_eventual,
    wrong_hooks,
    wrong_lifespan,
)
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.declaration.parameters import VARIABLE, bound, placeholder, wanted
from chat_history_conformance.servers import kinds

__all__ = ["MODES", "Backend", "Granularity", "Interference"]

Granularity = Literal["message", "session"]
"""The unit that expires: each message, or the whole session."""

Interference = Callable[[str], AbstractContextManager[None]]
"""A function of a session id; the other user interferes inside the context that it returns."""

MODES: tuple[Literal["sync", "async"], ...] = ("sync", "async")
"""The ways to call a history. A backend may lack one of them."""

_FUNCTIONS = {
    "factory": 1,
    "with_ttl": 2,
    "corrupt": 1,
    "remove": 1,
    "floor": 1,
    "round_trips": 0,
    "fresh": 1,
    "refuse": 1,
    "stop": 0,
    "start": 0,
}
"""The functions of a declaration, with the number of arguments that the suite gives."""

_FUNCTIONS_BY_NAME = ("peers", "interference")
"""The dicts of functions of a session id."""


@dataclass(frozen=True)
class Backend:
    """A declared backend.

    Attributes:
        name: The name in `--history-backend` and in node ids.
        factory: Opens a history for a session id.
        origin: The place of the factory. None if it has no name in a module.
        declared_in: The module that declares the backend when it is imported.
        unsendable: Why the values of its functions cannot be sent to another process; empty if
            they can.

    The other attributes are the arguments of `history_backend`, which documents them.
    """

    name: str
    factory: Callable[[str], Any]
    origin: Origin | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    deviations: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    with_ttl: Callable[[str, int | None], Any] | None = None
    ttl_granularity: Granularity = "message"
    corrupt: Callable[[str], None] | None = None
    disposable: bool = False
    remove: Callable[[str], None] | None = None
    server: str | None = None
    server_errors: tuple[type[BaseException], ...] = ()
    floor: Callable[[str], Any] | None = None
    peers: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    round_trips: Callable[[], int] | None = None
    interference: Mapping[str, Interference] = field(default_factory=dict)
    fresh: Fresh | None = None
    refuse: Refuse | None = None
    stop: Callable[[], Any] | None = None
    start: Callable[[], Any] | None = None
    eventual: float | None = None
    lifespan: Callable[[], Any] | None = None
    declared_in: Origin | None = None
    unsendable: str = ""

    def __post_init__(self) -> None:
        if self.eventual is not None and "immediate_reads" not in self.lacks:
            why = f"reads show a write only after {self.eventual} s, as eventual= declares"
            object.__setattr__(self, "lacks", {**self.lacks, "immediate_reads": why})

    @property
    def modes(self) -> tuple[Literal["sync", "async"], ...]:
        """The ways to call this backend's histories, "sync" first."""
        return tuple(mode for mode in MODES if mode not in self.lacks)

    @property
    def importable(self) -> Origin | None:
        """The module or attribute that a second process imports, or None if it cannot."""
        return None if self.unsendable else self.declared_in or self.origin

    @property
    def why_not_importable(self) -> str:
        """The reason why a second process cannot open the same histories."""
        return self.unsendable or (
            f"Backend {self.name!r} is a function inside a function, which a second process "
            "cannot import. Move it to module level."
        )

    @property
    def wanted(self) -> Mapping[str, str]:
        """The further parameters of its functions, each with the function that has it."""
        found = {
            parameter: name if name == "factory" else f"{name}="
            for name, count in reversed(_FUNCTIONS.items())
            if callable(function := getattr(self, name))
            for parameter in wanted(function, count)
        }
        for name in _FUNCTIONS_BY_NAME:
            if isinstance(functions := getattr(self, name), Mapping):
                for key, function in functions.items():
                    if callable(function):
                        found |= dict.fromkeys(wanted(function, 1), f"{name}= {key!r}")
        return found

    def bind(self, values: Mapping[str, Any], unsendable: str = "") -> Backend:
        """Return the backend with a value for each further parameter of its functions.

        Args:
            values: The values by the names of parameters.
            unsendable: Why they cannot be sent to another process; empty if they can.

        Raises:
            DeclarationError: A parameter has no value.
        """
        for name, place in self.wanted.items():
            if name not in values:
                self._refuse(
                    f"nothing gives {name!r}, a parameter of the {_words(place)}, a value here. "
                    f"Runs of pytest take it from lifespan= or from a fixture. Anything else takes "
                    f"""it from {VARIABLE}='{{"{self.name}": {{"{name}": ...}}}}'."""
                )
        if not self.wanted:
            return self
        changes: dict[str, Any] = {
            name: bound(function, count, values)
            for name, count in _FUNCTIONS.items()
            if (function := getattr(self, name)) is not None
        }
        for name in _FUNCTIONS_BY_NAME:
            functions = getattr(self, name)
            changes[name] = {key: bound(one, 1, values) for key, one in functions.items()}
        return replace(self, **changes, unsendable=unsendable)

    def refuse_parameter(self, name: str, keys: Iterable[str], known: Iterable[str]) -> None:
        """Raise the error about a parameter that has no value.

        Args:
            name: The parameter.
            keys: The keys of the object of `lifespan=`.
            known: The names of all fixtures.

        Raises:
            DeclarationError: Always.
        """
        keys = tuple(keys)
        place = self.wanted[name]
        count = _FUNCTIONS.get(place.rstrip("="), 1)
        called = {0: "without arguments", 1: "with one argument"}.get(count, f"with {count}")
        other = ""
        if self.lifespan is not None:
            listed = ", ".join(keys) or "none"
            other = f" and not a key of lifespan=, whose keys are: {listed}"
        wrap = ""
        if self.declared_in is None and self.origin is not None and place == "factory":
            wrap = f", or write def open_history(session_id): return {self.origin.attribute}(...)"
        self._refuse(
            f"the parameter {name!r} of the {_words(place)} is not a pytest fixture{other}."
            f"{did_you_mean(name, (*keys, *known))} The run calls the {_words(place)} {called}, "
            "and gives further parameters by their names. Write a session-scoped fixture with "
            f"this name, yield it in lifespan=, or give the parameter a default{wrap}."
        )

    @property
    def functions(self) -> tuple[str, ...]:
        """The arguments of the declaration that let the suite act on the store or its server."""
        names = ("corrupt", *HOOKS, "interference")
        return tuple(f"{name}=" for name in names if getattr(self, name))

    def check(self, contract_ids: Iterable[str]) -> None:
        """Check that the declaration names only things that exist.

        Args:
            contract_ids: The ids of all contracts.

        Raises:
            DeclarationError: The declaration names an unknown capability, contract, read or kind
                of server, leaves out a reason, or has a function that cannot be called as needed
                or has `...` as a value.
        """
        self._check_values()
        self._check_lacks()
        self._check_interference()
        self._check_hooks()
        self._check_deviations(tuple(contract_ids))
        mappable = ("messages", *capabilities.READS, capabilities.ITERATION)
        for name in self.methods:
            if name not in mappable:
                self._refuse_name("read", name, "methods", mappable)
        if self.server is not None and self.server not in (known := kinds()):
            self._refuse_name("kind of server", str(self.server), "server", known)
        if self.ttl_granularity not in ("message", "session"):
            self._refuse(
                f"ttl_granularity={self.ttl_granularity!r} is not known. Use 'message' if each "
                "message expires by its own age, or 'session' if all messages of a session expire "
                "together, counted from its last write."
            )

    def _check_values(self) -> None:
        for name in ("factory", "with_ttl"):
            if (where := placeholder(getattr(self, name))) is not None:
                place = _words(name if name == "factory" else f"{name}=")
                self._refuse(f"the {place} has `...` as a value in {where}. Replace it.")

    def _check_lacks(self) -> None:
        known = capabilities.assumed()
        for name, reason in self.lacks.items():
            if name not in known and name in capabilities.catalogue():
                self._refuse(
                    f"lacks= must not name {name!r}, because the suite finds out whether a history "
                    "has it. Remove it."
                )
            if name not in known:
                self._refuse_name("capability", name, "lacks", known)
            self._need_reason("lacks", name, reason)
        if "immediate_reads" in self.lacks and self.eventual is None:
            self._refuse(
                "lacks= names immediate_reads without a time. Declare eventual=2.0 instead, with "
                "the seconds after a write from which each read shows it."
            )
        if {"sync", "async"} <= set(self.lacks):
            self._refuse(
                "lacks= names both sync and async, so no method is left to call. Remove one of "
                "them."
            )

    def _check_interference(self) -> None:
        wanted = (
            "Write a dict of names and functions of a session id that return a context manager: "
            '{"an open transaction": open_transaction}.'
        )
        if not isinstance(self.interference, Mapping):
            self._refuse(f"interference={clip_repr(self.interference)} is not a dict. {wanted}")
        for name, function in self.interference.items():
            if not isinstance(name, str) or not name.strip():
                self._refuse(f"interference= has the name {clip_repr(name)}. {wanted}")
            if not callable(function):
                self._refuse(
                    f"interference= has {clip_repr(function)} for {name!r}, which cannot be "
                    f"called. {wanted}"
                )

    def _check_hooks(self) -> None:
        hooks = {name: getattr(self, name) for name in HOOKS}
        mistakes = (*wrong_hooks(hooks), *wrong_eventual(self.eventual))
        for text in (*mistakes, *wrong_lifespan(self.lifespan)):
            self._refuse(text)

    def _check_deviations(self, ids: tuple[str, ...]) -> None:
        for contract, reason in self.deviations.items():
            if contract not in ids:
                nearest = did_you_mean(contract, ids)
                self._refuse(
                    f"unknown contract {contract!r} in deviations=.{nearest} "
                    "Run `history-conformance contracts` to list the ids."
                )
            self._need_reason("deviations", contract, reason)

    def _need_reason(self, argument: str, name: str, reason: object) -> None:
        if not isinstance(reason, str) or not reason.strip():
            self._refuse(
                f"{argument}= has no reason for {name!r}. Write one sentence; every report prints "
                "it."
            )

    def _refuse_name(self, noun: str, name: str, argument: str, known: Iterable[str]) -> None:
        known = tuple(known)
        self._refuse(
            f"unknown {noun} {name!r} in {argument}=.{did_you_mean(name, known)} "
            f"Choose from: {', '.join(known)}."
        )

    def _refuse(self, text: str) -> None:
        raise DeclarationError(f"Backend {self.name!r}: {text}")


def _words(place: str) -> str:
    """Return the words for a function of a declaration, after `the`."""
    return place if place == "factory" else f"function of {place}"
