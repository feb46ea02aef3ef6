"""The progress of a run on the terminal, and the contracts that run ahead of their turn."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from chat_history_conformance.execution import engine
from chat_history_conformance.execution.ahead import (
    FEW,
    LANES,
    PROCESSES,
    RunningAhead,
    can_run_ahead,
    has_company,
)
from chat_history_conformance.execution.contract import Contract
from chat_history_conformance.execution.profiles import Profile
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.pytest_plugin.options import is_worker
from chat_history_conformance.results.model import Mode

__all__ = ["Progress", "all_places", "cores", "minutes", "upcoming"]

_SLOW_SECONDS = 0.02
"""The mean time of an operation from which on contracts run at the same time."""

_FIRST_OPERATIONS = 30
"""The operations after which the speed of a history is known."""

_FIRST_SECONDS = 10.0
_EVERY_SECONDS = 30.0
_COST_OF_AN_EXAMPLE = 8.0

_ENOUGH = 10
"""The contracts after which the time that is left can be estimated, or a tenth if these are few."""

Place = tuple[str, Contract, Mode]
"""A contract in a mode, after the name of its backend."""


class Progress:
    """The progress of a run, which is a plugin of pytest.

    Args:
        profile: The effort of the run.
        seed: The seed of the examples.
        places: All contracts of the run by node id.
        subject_of: Returns the subject of a backend by its name, or None if it has none yet.
        announce: Writes a line on the terminal.
        inside: Makes the working directory that of the run, inside a `with` block.
        on_ahead: Called when a contract begins or ends ahead of its turn, with its node id, and
            True if it begins. Several threads call it.
    """

    def __init__(
        self,
        profile: Profile,
        seed: int,
        places: Mapping[str, Place],
        subject_of: Callable[[str], Subject | None],
        announce: Callable[[str], None],
        inside: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
        on_ahead: Callable[[str, bool], None] = lambda nodeid, begins: None,
    ) -> None:
        self.profile = profile
        self.seed = seed
        self.places = places
        self._subject_of = subject_of
        self._announce = announce
        self._inside = inside
        self._on_ahead = on_ahead
        self._chosen: list[str] = []
        self._done: set[str] = set()
        self._ahead: dict[str, RunningAhead] = {}
        self._slow: set[str] = set()
        self._probed: set[str] = set()
        self._has_spare_core = False
        # The time of a contract is measured from the end of the first one on, which includes what
        # happens once: imports, connections and the creation of tables.
        self._since: float | None = None
        self._before: frozenset[str] = frozenset()
        self._next_line = time.monotonic() + _FIRST_SECONDS

    # -- the items of the run ----------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put contracts that need quiet behind the others."""

        def needs_quiet(item: pytest.Item) -> bool:
            place = self.places.get(item.nodeid)
            return place is not None and place[1].needs_quiet

        items.sort(key=needs_quiet)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin to count."""
        nodeids = [item.nodeid for item in session.items]
        # A user's own tests may look at the store, and no contract may run meanwhile.
        own_tests = any(nodeid not in self.places for nodeid in nodeids)
        self._has_spare_core = not own_tests and not is_worker(session.config) and cores() > 1
        self._begin(nodeids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Begin to count in the process that controls the workers of pytest-xdist."""
        self._begin(ids)

    def _begin(self, nodeids: Iterable[str]) -> None:
        self._chosen = [nodeid for nodeid in nodeids if nodeid in self.places]
        self._since = None
        self._next_line = time.monotonic() + _FIRST_SECONDS

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a contract that has ended, and write a line from time to time."""
        if report.when == "call" and report.nodeid in self.places:
            self._done.add(report.nodeid)
            if self._since is None:
                self._measure_from_here()
            self.tick()

    # -- running ahead -----------------------------------------------------------------------

    def before(self, nodeid: str, upcoming: Iterable[str]) -> None:
        """Let contracts run ahead if the history is slow, or if they mostly wait.

        Those that run in a separate process anyway begin early if a core is free, one at a time.
        They wait until the history is in use, because processes that use a store for the first
        time at the same time may disturb each other. A contract judges that.

        Args:
            nodeid: The item that runs now.
            upcoming: The items that this process runs, from this one on.
        """
        name = self.places[nodeid][0]
        subject = self._subject_of(name)
        assert subject is not None
        if name not in self._probed:  # the lines of progress are written in another directory
            self._probed.add(name)
            with contextlib.suppress(Exception):  # contracts judge opening
                assert subject.capabilities
        places = (self.places[one] for one in upcoming if one in self.places)
        pairs = ((contract, mode) for one, contract, mode in places if one == name)
        contract = self.places[nodeid][1]
        if self._is_slow(name, subject):
            self._ahead_of(name, subject).offer(pairs, LANES)
        elif contract.mostly_waits and can_run_ahead(subject):
            waiting = itertools.takewhile(lambda pair: pair[0].mostly_waits, pairs)
            processes = PROCESSES if contract.company == "apart" else 1
            self._ahead_of(name, subject).offer(waiting, FEW, processes)
        elif name not in self._ahead and self._may_begin_early(subject):
            apart = (pair for pair in pairs if pair[0].company == "apart")
            self._ahead_of(name, subject).offer(apart, 1, 1)

    def _may_begin_early(self, subject: Subject) -> bool:
        return self._has_spare_core and _is_known(subject) and can_run_ahead(subject)

    def _is_slow(self, name: str, subject: Subject) -> bool:
        """Return whether all contracts of a backend may run ahead, and announce that once."""
        pace = subject.pace
        if name in self._slow:
            return True
        if (
            not _is_known(subject)
            or pace.mean_seconds < _SLOW_SECONDS
            or not can_run_ahead(subject)
        ):
            return False
        self._slow.add(name)
        self._announce(
            f"{name}: an operation takes about {pace.mean_seconds * 1000:.0f} ms, so up to "
            f"{LANES} contracts run at the same time; {self._forecast(subject, name)}"
        )
        self._next_line = time.monotonic() + _EVERY_SECONDS
        self._measure_from_here()  # the contracts before took longer than those from now on
        return True

    def _ahead_of(self, name: str, subject: Subject) -> RunningAhead:
        """Return the contracts of a backend that run ahead; none do when it is made."""
        if name not in self._ahead:

            def tell(identifier: str, mode: Mode, begins: bool) -> None:
                self._on_ahead(f"{name}::{identifier}[{mode}]", begins)

            ahead = RunningAhead(subject, self._screen, self.tick, tell)
            subject.ahead = self._ahead[name] = ahead
        return self._ahead[name]

    def runs_ahead(self) -> bool:
        """Return whether contracts are running before their turn."""
        return any(ahead.left for ahead in self._ahead.values())

    def _screen(self, contract: Contract, subject: Subject, mode: Mode) -> Any:
        return engine.screen(contract, subject, mode, self.profile, self.seed)

    # -- time --------------------------------------------------------------------------------

    def _measure_from_here(self) -> None:
        self._since = time.monotonic()
        self._before = frozenset(self._all_done())

    def tick(self) -> None:
        """Write a line about the progress, if it is time for one."""
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + _EVERY_SECONDS
        done = self._all_done()
        line = f"{len(done)} of {len(self._chosen)} contracts done"
        measured = done - self._before
        if self._since is None or len(measured) < min(_ENOUGH, len(self._chosen) / 10):
            self._announce(line)
            return
        with self._inside():  # the capabilities of the next backend are found on a history
            finished = sum(self._weight(nodeid) for nodeid in measured)
            left = sum(self._weight(nodeid) for nodeid in self._chosen if nodeid not in done)
        if left and finished:
            self._announce(f"{line}, {minutes((now - self._since) * left / finished)} left")

    def _all_done(self) -> set[str]:
        ended = {
            (name, identifier, mode)
            for name, ahead in self._ahead.items()
            for identifier, mode in ahead.ended()
        }
        return self._done | {
            nodeid
            for nodeid in self._chosen
            if (place := self.places[nodeid]) and (place[0], place[1].id, place[2]) in ended
        }

    def _weight(self, nodeid: str) -> float:
        """Return the time of a contract in comparison with others: its operations, in lanes."""
        name, contract, mode = self.places[nodeid]
        subject = self._subject_of(name)
        if subject is None or engine.why_not_applicable(contract, subject, mode) is not None:
            return 0.1
        examples = contract.planned(self.profile.examples)
        cost = min(float(self.profile.operations), examples * _COST_OF_AN_EXAMPLE)
        return cost / LANES if name in self._slow and has_company(contract, subject) else cost

    def _forecast(self, subject: Subject, name: str) -> str:
        chosen = [nodeid for nodeid in self._chosen if nodeid not in self._done]
        cost = sum(self._weight(nodeid) for nodeid in chosen if self.places[nodeid][0] == name)
        return f"this run takes {minutes(cost * subject.pace.mean_seconds)}"


def _is_known(subject: Subject) -> bool:
    """Return whether the speed of a history is known."""
    return subject.pace.number >= _FIRST_OPERATIONS


def all_places(backends: Iterable[str], contracts: Iterable[Contract]) -> dict[str, Place]:
    """Return all contracts in all modes by node id.

    Args:
        backends: The names of the backends.
        contracts: The contracts.
    """
    pairs = list(engine.each(contracts))
    return {
        f"{name}::{contract.id}[{mode}]": (name, contract, mode)
        for name in backends
        for contract, mode in pairs
    }


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def upcoming(item: pytest.Item) -> list[str]:
    """Return the node ids of the items that this process runs from one on, as far as known."""
    items = item.session.items
    if not is_worker(item.config):
        return [one.nodeid for one in items[items.index(item) :]]
    later = [
        items[place].nodeid
        for plugin in item.config.pluginmanager.get_plugins()
        for place in _queued(plugin)
        if place < len(items)
    ]
    return [item.nodeid, *later]


def _queued(plugin: object) -> list[int]:
    """Return the places of the items that a worker of pytest-xdist has received.

    pytest-xdist has no function for this, so this looks into its queue: that of Python up to
    version 3.6, and its own from 3.7 on. If the queue looks different, no contract runs ahead.
    """
    queue = getattr(plugin, "torun", None)
    waiting = getattr(queue, "_items", None) or getattr(queue, "queue", None)
    later = list(waiting) if isinstance(waiting, deque) else []
    places = [getattr(plugin, "nextitem_index", None), *later]
    return [place for place in places if type(place) is int]


def minutes(seconds: float) -> str:
    """Return a time for people: `about 40 s`, `about 3 min`."""
    if seconds < 90:
        return f"about {max(1, round(seconds / 10)) * 10} s"
    return f"about {round(seconds / 60)} min"
