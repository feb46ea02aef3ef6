"""The declaration of one backend as a frozen value, and its validation.

Nothing here opens a history. Importing this module loads neither langchain-core nor Hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from chat_history_conformance.declaration import capabilities
from chat_history_conformance.declaration.errors import DeclarationError, clip_repr, did_you_mean
from chat_history_conformance.declaration.hooks import (
    HOOKS,
    Fresh,
    Refuse,
    wrong_eventual,
    wrong_hooks,
)
from chat_history_conformance.declaration.origin import Origin
from chat_history_conformance.servers import kinds

__all__ = ["MODES", "Backend", "Granularity", "Interference"]

Granularity = Literal["message", "session"]
"""The unit that expires: each message, or the whole session."""

Interference = Callable[[str], AbstractContextManager[None]]
"""A function of a session id; the other user interferes inside the context that it returns."""

MODES: tuple[Literal["sync", "async"], ...] = ("sync", "async")
"""The ways to call a history. A backend may lack one of them."""


@dataclass(frozen=True)
class Backend:
    """A declared backend.

    Attributes:
        name: The name in `--history-backend` and in node ids.
        factory: Opens a history for a session id.
        origin: The place of the factory. None if it has no name in a module.
        declared_in: The module that declares the backend when it is imported.

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
    declared_in: Origin | None = None

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
        return self.declared_in or self.origin

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
                of server, leaves out a reason, or has a function that cannot be called as needed.
        """
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
        for text in (*wrong_hooks(hooks), *wrong_eventual(self.eventual)):
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
