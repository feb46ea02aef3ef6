"""The lines about the progress of a run."""

from __future__ import annotations

import queue
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.execution.engine import PROFILES
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.execution.workspace import Workspace
from chat_history_conformance.pytest_plugin import progress
from chat_history_conformance.pytest_plugin.progress import Progress, all_places, minutes, upcoming

NAMES = ("ordering.within_batch", "ordering.clock_stands_still", "clear.nothing_returns")


class Mine:
    """A history that is never opened."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id


class Clock:
    """A clock that only a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that the progress reads."""
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


@pytest.fixture
def lines() -> list[str]:
    """Return the announced lines."""
    return []


@pytest.fixture
def shown(clock: Clock, lines: list[str]) -> Any:
    """Return the progress of a run of three contracts that nothing runs."""
    subject = Subject(Backend("mine", Mine, lacks={"durable": "in memory"}), limit=1.0)
    subject.__dict__["capabilities"] = SimpleNamespace(names=frozenset({"sync", "async"}))
    places = all_places(["mine"], [catalogue.load()[name] for name in NAMES])
    return Progress(PROFILES["quick"], 0, places, lambda name: subject, lines.append)


def report(nodeid: str) -> Any:
    return SimpleNamespace(when="call", nodeid=nodeid)


def begin(shown: Progress) -> list[str]:
    nodeids = [f"mine::{name}[sync]" for name in NAMES]
    shown.pytest_xdist_node_collection_finished(nodeids)
    return nodeids


def test_the_working_directory_stays_while_contracts_run_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace, left = Workspace(tmp_path), [1]
    with workspace.inside(stay=lambda: bool(left)):
        pass
    assert Path.cwd() == workspace.directory
    left.clear()
    with workspace.inside(stay=lambda: bool(left)), workspace.inside():
        pass
    assert Path.cwd() == tmp_path
    with workspace.inside(stay=lambda: True):
        pass
    workspace.remove()
    assert Path.cwd() == tmp_path


def test_a_history_is_opened_for_its_capabilities_before_its_first_contract(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InDirectory(Mine):
        def add_messages(self, messages: object) -> None:
            """Never called."""

        def __init__(self, session_id: str) -> None:
            opened.append(Path.cwd())

    opened: list[Path] = []
    subject = Subject(Backend("mine", InDirectory, lacks={"durable": "in memory"}), limit=5.0)
    places = all_places(["mine"], [catalogue.load()[name] for name in NAMES])
    shown = Progress(PROFILES["quick"], 0, places, lambda name: subject, print)
    nodeids = begin(shown)
    monkeypatch.chdir(tmp_path)
    shown.before(nodeids[0], nodeids)
    monkeypatch.undo()
    clock.seconds = 60.0
    shown.pytest_runtest_logreport(report(nodeids[0]))
    subject.stop()
    assert opened == [tmp_path]


@pytest.mark.parametrize(
    ("cores", "own_tests", "worker", "operations", "begins"),
    [
        (2, [], False, 30, True),
        (2, [], False, 29, False),
        (1, [], False, 30, False),
        (2, ["tests/test_mine.py::test_store"], False, 30, False),
        (2, [], True, 30, False),
    ],
)
def test_contracts_in_separate_processes_begin_early_if_a_core_is_free(
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    own_tests: list[str],
    worker: bool,
    operations: int,
    begins: bool,
) -> None:
    monkeypatch.setattr(progress, "cores", lambda: cores)
    subject = Subject(registry.resolve("memory"), limit=5.0, apart=True)
    for _ in range(operations):
        subject.pace.record(0.0001)
    places = all_places(["memory"], catalogue.load().values())
    shown = Progress(PROFILES["quick"], 0, places, lambda name: subject, print)
    screened: list[str] = []
    monkeypatch.setattr(shown, "_screen", lambda contract, *_: screened.append(contract.id))
    config = SimpleNamespace(**({"workerinput": {}} if worker else {}))
    items = [SimpleNamespace(nodeid=nodeid) for nodeid in [*places, *own_tests]]
    shown.pytest_runtestloop(cast("Any", SimpleNamespace(items=items, config=config)))
    first = next(iter(places))
    for nodeid in list(places)[:3]:
        shown.before(nodeid, places)
    if begins:
        assert subject.ahead is not None
        subject.ahead.take("any.other", "sync", needs_quiet=True)
    subject.stop()
    assert set(screened) == (
        {contract.id for _, contract, _ in places.values() if contract.company == "apart"}
        if begins
        else set()
    )
    assert places[first][1].company == "any"


def test_the_capabilities_of_the_next_backend_are_found_in_the_working_directory_of_the_run(
    clock: Clock, tmp_path: Path
) -> None:
    opened: list[Path] = []

    class InDirectory(Mine):
        def __init__(self, session_id: str) -> None:
            opened.append(Path.cwd())

    subjects = {
        name: Subject(Backend(name, InDirectory, lacks={"durable": "in memory"}), limit=5.0)
        for name in ("mine", "next")
    }
    places = all_places(subjects, [catalogue.load()["errors.undecodable_record"]])
    workspace = Workspace(tmp_path)
    shown = Progress(PROFILES["quick"], 0, places, subjects.__getitem__, print, workspace.inside)
    shown.pytest_xdist_node_collection_finished(list(places))
    shown.pytest_runtest_logreport(report("mine::errors.undecodable_record[sync]"))
    clock.seconds = 60.0
    shown.pytest_runtest_logreport(report("mine::errors.undecodable_record[async]"))
    for subject in subjects.values():
        subject.stop()
    assert set(opened) == {workspace.directory}
    workspace.remove()


def test_a_run_says_after_ten_seconds_how_long_it_will_take(
    shown: Progress, clock: Clock, lines: list[str]
) -> None:
    nodeids = begin(shown)
    clock.seconds = 9.0
    shown.pytest_runtest_logreport(report(nodeids[0]))
    assert lines == []
    clock.seconds = 20.0
    shown.pytest_runtest_logreport(report(nodeids[1]))
    assert lines == ["2 of 3 contracts done, about 10 s left"]


def test_lines_come_every_thirty_seconds_and_not_at_the_end(
    shown: Progress, clock: Clock, lines: list[str]
) -> None:
    nodeids = begin(shown)
    for seconds, nodeid in ((100.0, nodeids[0]), (129.0, nodeids[1])):
        clock.seconds = seconds
        shown.pytest_runtest_logreport(report(nodeid))
    assert len(lines) == 1
    clock.seconds = 131.0
    shown.tick()
    assert len(lines) == 2
    clock.seconds = 200.0
    shown.pytest_runtest_logreport(report(nodeids[2]))
    assert len(lines) == 2


@pytest.fixture
def four(clock: Clock, lines: list[str]) -> Progress:
    """Return the progress of a run of all contracts on four backends that nothing runs."""
    subjects = {
        name: Subject(Backend(name, Mine, lacks={"durable": "in memory"}), limit=1.0)
        for name in ("first", "second", "third", "fourth")
    }
    for one in subjects.values():
        one.__dict__["capabilities"] = SimpleNamespace(names=frozenset({"sync", "async"}))
    places = {
        nodeid: place
        for nodeid, place in all_places(subjects, catalogue.load().values()).items()
        if place[1].family == "ordering"
    }
    return Progress(PROFILES["quick"], 0, places, subjects.__getitem__, lines.append)


def test_the_first_contract_says_nothing_about_the_length_of_a_run(
    four: Progress, clock: Clock, lines: list[str]
) -> None:
    nodeids = list(four.places)
    four.pytest_xdist_node_collection_finished(nodeids)
    clock.seconds = 14.0
    four.pytest_runtest_logreport(report(nodeids[0]))
    assert lines == [f"1 of {len(nodeids)} contracts done"]


def test_what_happens_once_does_not_count_for_each_contract(
    four: Progress, clock: Clock, lines: list[str]
) -> None:
    nodeids = [one for one in four.places if "[process]" not in one]
    four.pytest_xdist_node_collection_finished(nodeids)
    for number, nodeid in enumerate(nodeids[: len(nodeids) // 2]):
        clock.seconds = 600.0 + number
        four.pytest_runtest_logreport(report(nodeid))
    done = int(lines[-1].partition(" ")[0])
    assert 10 < done < len(nodeids)
    assert lines[0] == f"1 of {len(nodeids)} contracts done"
    assert lines[-1].endswith(f" contracts done, {minutes(len(nodeids) - done)} left")


def test_contracts_that_need_quiet_come_last(shown: Progress) -> None:
    items: Any = [SimpleNamespace(nodeid=nodeid) for nodeid in begin(shown)]
    shown.pytest_collection_modifyitems(items)
    assert [item.nodeid.partition("::")[2] for item in items] == [
        "ordering.within_batch[sync]",
        "clear.nothing_returns[sync]",
        "ordering.clock_stands_still[sync]",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "about 10 s"), (44, "about 40 s"), (100, "about 2 min")]
)
def test_times_are_rounded_for_people(seconds: float, text: str) -> None:
    assert minutes(seconds) == text


# -- the items that a worker of pytest-xdist will run ----------------------------------------------


class Marker:
    """The mark at the end of a queue of pytest-xdist."""


def queue_of_python() -> Any:
    """Return a queue as that of pytest-xdist up to version 3.6."""
    made: queue.Queue[Any] = queue.Queue()
    for one in (2, 3, Marker()):
        made.put(one)
    return made


def item_in_a_worker(*plugins: object, worker: bool = True) -> Any:
    items = [SimpleNamespace(nodeid=f"mine::{number}") for number in range(4)]
    config = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugins=lambda: plugins))
    if worker:
        config.workerinput = {}
    for one in items:
        one.session, one.config = SimpleNamespace(items=items), config
    return items[0]


@pytest.mark.parametrize(
    "torun",
    [SimpleNamespace(_items=deque([2, 3, Marker()])), queue_of_python()],
    ids=["xdist 3.7", "xdist 3.6"],
)
def test_a_worker_runs_ahead_what_it_has_received(torun: Any) -> None:
    item = item_in_a_worker(object(), SimpleNamespace(torun=torun, nextitem_index=1))
    assert upcoming(item) == [f"mine::{number}" for number in range(4)]


@pytest.mark.parametrize(
    "plugin",
    [
        SimpleNamespace(torun=None),
        SimpleNamespace(torun=7, nextitem_index=Marker()),
        SimpleNamespace(torun=SimpleNamespace(_items="unknown"), nextitem_index=None),
        SimpleNamespace(torun=SimpleNamespace(_items=deque([9])), nextitem_index=True),
    ],
)
def test_a_queue_of_another_form_lets_nothing_run_ahead(plugin: Any) -> None:
    assert upcoming(item_in_a_worker(plugin)) == ["mine::0"]


def test_a_run_without_workers_knows_all_its_items() -> None:
    assert len(upcoming(item_in_a_worker(worker=False))) == 4


def test_the_installed_version_of_pytest_xdist_has_one_of_the_known_queues(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import pytest
        from chat_history_conformance.pytest_plugin.progress import upcoming

        KNOWN = []

        @pytest.mark.parametrize("number", range(12))
        def test_one(request, number):
            KNOWN.append(len(upcoming(request.node)))
            assert number < 3 or max(KNOWN) > 2
        """
    )
    pytester.runpytest_subprocess("-n1", "-p", "no:cacheprovider").assert_outcomes(passed=12)
