"""A run with backends: its options, servers, collection and workspace.

The modules `contracts` and `benchmarks` define the items of the two kinds of runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Generator, Iterable, Sequence
from typing import Any, ClassVar

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.baseline import load_baseline, with_baseline
from chat_history_conformance.declaration.errors import DeclarationError, did_you_mean
from chat_history_conformance.declaration.parameters import unbound
from chat_history_conformance.drivers.errors import (
    EscapedError,
    RemoteError,
    is_server_error,
    text_of,
)
from chat_history_conformance.drivers.opening import NotAHistory
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.execution.workspace import Workspace
from chat_history_conformance.pytest_plugin.lifetime import Lifetime
from chat_history_conformance.pytest_plugin.options import (
    chosen,
    invocation_directory,
    is_worker,
    only_lists,
    setting,
)
from chat_history_conformance.pytest_plugin.providing import Provider, Unavailable
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.run import Servers

__all__ = ["BackendCollector", "HistoryRun"]


_NO_TEST = (
    ". A factory is not a test and has no outcome: provide what it needs, or leave this option out."
)


class HistoryRun:
    """The common part of all runs with backends, from the options to the end of the servers.

    Args:
        config: The configuration of pytest.
        specs: The values of `--history-backend`.

    Raises:
        pytest.UsageError: A backend cannot be found, or the value of an option is wrong.
    """

    noun: ClassVar[str]
    """The word for one item of the run in an error."""

    def __init__(self, config: pytest.Config, specs: Sequence[str]) -> None:
        self.config = config
        self.lifetime = Lifetime(config)
        config.pluginmanager.register(self.lifetime, "history-lifetime")
        self.contracts = catalogue.load()
        self.backends = self._resolve(specs)
        usual = "ci" if os.environ.get("CI") else "quick"
        self.profile = engine.PROFILES[chosen(config, "profile", usual, list(engine.PROFILES))]
        self.selectors = self._take_selectors()
        self.servers = self._servers()
        self.provider = Provider(self.release)
        if is_worker(config):
            self.provider.lifespans.take_over(vars(config)["workerinput"]["history_lifespans"])
        self._subjects: dict[str, Subject] = {}
        self._workspace: Workspace | None = None
        # Not in pytest_sessionfinish, which pytest does not call if the start of a session fails.
        config.add_cleanup(self._end)
        # The top-level packages of the histories' classes, whose versions a report lists.
        self.history_packages: set[str] = set()

    def items(self, collector: BackendCollector) -> Iterable[pytest.Item]:
        """Return the items of one backend."""
        raise NotImplementedError

    def nodeids(self) -> Collection[str]:
        """Return the node ids of all items, without making the items."""
        raise NotImplementedError

    def headline(self) -> str:
        """Return the line about this run in the header."""
        raise NotImplementedError

    # -- options -----------------------------------------------------------------------------

    def _resolve(self, specs: Sequence[str]) -> dict[str, Backend]:
        here = str(invocation_directory(self.config))
        if any(":" in spec for spec in specs) and here not in sys.path:
            sys.path.insert(0, here)
        backends: dict[str, Backend] = {}
        known = setting(self.config, "deviations")
        for spec in dict.fromkeys(specs):
            try:
                backend = registry.resolve(spec)
                if known:
                    path = invocation_directory(self.config) / str(known)
                    backend = with_baseline(backend, load_baseline(path))
                backend.check(self.contracts)
            except DeclarationError as error:
                raise pytest.UsageError(str(error)) from error
            backends[backend.name] = backend
        return backends

    def _servers(self) -> Servers:
        given = setting(self.config, "server-config")
        try:
            found = Servers(
                setting(self.config, "server"),
                invocation_directory(self.config) / str(given) if given else None,
                offline=bool(setting(self.config, "offline")),
            )
        except ServerError as error:
            raise pytest.UsageError(str(error)) from error
        if is_worker(self.config):
            found.take_over(vars(self.config)["workerinput"]["history_servers"])
        return found

    def _take_selectors(self) -> list[str]:
        """Take `backend::contract` out of pytest's arguments; without paths, collect no tests."""
        config = self.config
        from_command_line = config.args_source is pytest.Config.ArgsSource.ARGS
        selectors = [
            argument
            for argument in (config.args if from_command_line else [])
            if argument.partition("::")[0] in self.backends and "::" in argument
        ]
        paths = [argument for argument in config.args if argument not in selectors]
        named_on_command_line = self.config.getoption("--history-backend") is not None
        if not from_command_line and named_on_command_line:
            paths = []
        config.args = paths
        return selectors

    # -- collecting --------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Add a collector for each backend to the collectors of the session."""
        report = yield
        if isinstance(collector, pytest.Session) and report.result is not None:
            report.result = [
                *report.result,
                *(
                    BackendCollector.from_parent(
                        collector, name=backend.name, nodeid=backend.name, run=self, backend=backend
                    )
                    for backend in self.backends.values()
                ),
            ]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Deselect the items that no node id on the command line selects."""
        if not self.selectors:
            return
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            is_ours = isinstance(item.parent, BackendCollector)
            chosen = any(_selects(selector, item.nodeid) for selector in self.selectors)
            (kept if chosen or not is_ours else dropped).append(item)
        items[:] = kept
        config.hook.pytest_deselected(items=dropped)

    def _check_selectors(self) -> None:
        """Check the node ids on the command line, before a server or a worker starts.

        Raises:
            pytest.UsageError: A node id selects no item.
        """
        known = self.nodeids() if self.selectors else ()
        for selector in self.selectors:
            if not any(_selects(selector, nodeid) for nodeid in known):
                raise pytest.UsageError(
                    f"No {self.noun} has the node id {selector!r}.{_nearest(selector, known)} Run "
                    "with --co to list the node ids."
                )

    # -- running -----------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """The working directory of all contracts, made at its first use."""
        if self._workspace is None:
            try:
                self._workspace = Workspace(self.lifetime.root)
            except OSError as error:
                raise pytest.UsageError(
                    f"No temporary directory can be made: {error}. Set TMPDIR to a directory with "
                    "free space."
                ) from error
        return self._workspace

    def bound(self, backend: Backend) -> Backend:
        """Return a backend whose functions have values for all their parameters.

        Raises:
            Unavailable: A value cannot be had.
        """
        try:
            return self.provider.bound(backend)
        except DeclarationError as error:  # found at the start, except in a worker
            raise Unavailable(str(error)) from error

    def subject(self, backend: Backend) -> Subject:
        """Return the subject of a backend. All its contracts share it.

        Raises:
            Unavailable: The functions of the backend need a value that cannot be had.
        """
        if backend.name not in self._subjects:
            self._subjects[backend.name] = Subject(
                self.bound(backend),
                limit=self.profile.limit,
                destructive=bool(setting(self.config, "allow-destructive")),
                server=self.servers.running.get(backend.server or ""),
                owned=backend.server in self.servers.owned,
                faults=bool(setting(self.config, "faults")),
                apart=True,
            )
            self._subjects[backend.name].notes += self.provider.notes.get(backend.name, [])
        return self._subjects[backend.name]

    def notes_of(self, name: str) -> list[str]:
        """Return the notes about a backend. Before its servers run, it has no subject and none."""
        subject = self._subjects.get(name)
        return [] if subject is None else list(subject.notes)

    def release(self) -> None:
        """End everything that uses the values of backends."""
        while self._subjects:
            self._subjects.popitem()[1].stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Start the servers and the lifespans, and open each backend once to find mistakes early.

        This comes before the header, which names the servers, and before pytest-xdist starts its
        workers, which inherit the addresses. Backends that need a fixture are opened later.

        Raises:
            pytest.UsageError: A node id selects nothing, a server cannot be started, or a backend
                cannot be opened.
        """
        self.provider.begin(session)
        if not is_worker(self.config):  # an error in a worker is an internal one of pytest-xdist
            self._check_selectors()
        if only_lists(self.config):
            return
        self.lifetime.begin()
        if is_worker(self.config):
            return
        if setting(self.config, "faults") and self.config.pluginmanager.hasplugin("dsession"):
            raise pytest.UsageError(
                "--history-faults cannot be combined with pytest-xdist's -n, because pausing or "
                "killing the server disturbs the other workers. Remove one of the two."
            )
        needed = [backend.server for backend in self.backends.values() if backend.server]
        self.began()
        try:
            self.servers.start(needed, self.announce)
        except ServerError as error:
            raise pytest.UsageError(str(error)) from error
        self.lifetime.send(phase="a lifespan was started")
        self.provider.lifespans.start(self.backends.values(), self.announce)
        for backend in self.backends.values():
            if self.provider.is_ready(backend):
                self._try_to_open(backend)
        self.began()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Make the fixtures of backends, and keep them until the verdicts are known.

        This comes after the collection, in which pytest reads the fixtures of a conftest.py.

        Raises:
            pytest.UsageError: A fixture is missing or cannot be used, or a backend cannot be
                opened.
        """
        failed = session.testsfailed and not self.config.option.continue_on_collection_errors
        waiting = [one for one in self.backends.values() if self.provider.fixtures_of(one)]
        if only_lists(self.config) or is_worker(self.config) or failed or not waiting:
            return (yield)
        parents = [item.parent for item in session.items]
        chosen = {one.backend.name for one in parents if isinstance(one, BackendCollector)}
        for backend in waiting:
            try:
                self.provider.check(backend)
                if backend.name in chosen:
                    self.lifetime.send(phase=f"the fixtures of {backend.name} were made")
                    self.provider.bound(backend)
                    self._try_to_open(backend)
            except DeclarationError as error:
                raise pytest.UsageError(str(error)) from error
            except Unavailable:
                pass  # the contracts report it as errors, and the verdict stays INCOMPLETE
        # pytest tears fixtures down after the last item, and findings are proven after that.
        session.items.append(_Last.from_parent(session, name="the end of the contracts"))
        try:
            return (yield)
        finally:
            session.items.pop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Run nothing for the item that keeps fixtures."""
        return True if isinstance(item, _Last) else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send the addresses of the servers and the directory to a worker of pytest-xdist."""
        root = self.lifetime.root
        node.workerinput["history_root"] = None if root is None else str(root)
        node.workerinput["history_servers"] = self.servers.handed_on
        node.workerinput["history_lifespans"] = self.provider.lifespans.handed_on

    def began(self) -> None:
        """Send what a report needs to the supervisor; the run of the contracts has a report."""

    def announce(self, line: str) -> None:
        """Write a line on the terminal."""
        terminalreporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminalreporter is None:
            return
        capturing = self.config.pluginmanager.get_plugin("capturemanager")
        with contextlib.ExitStack() as stack:
            if capturing is not None:  # a contract may be running
                stack.enter_context(capturing.global_and_fixture_disabled())
            terminalreporter.ensure_newline()
            terminalreporter.write_line(line)
            terminalreporter.flush()

    def _try_to_open(self, backend: Backend) -> None:
        self.lifetime.send(phase=f"the first history of {backend.name} was opened")
        with self.workspace.inside():
            self._open_first(backend)

    def _open_first(self, backend: Backend) -> None:
        subject = self.subject(backend)
        named = f"--history-backend={backend.name}"
        try:
            subject.local.open("first", subject.nonce(), subject.how, None)
        except NotAHistory as error:
            raise pytest.UsageError(
                f"{named} does not open a chat history: {error}. Name a callable that opens one."
            ) from error
        except Exception as error:
            if is_server_error(error, backend):
                return  # the contracts report it as errors, and the verdict stays INCOMPLETE
            if isinstance(unbound(backend.factory), type):
                return  # a constructor that raises is a finding about the class
            name = error.type_name if isinstance(error, RemoteError) else type(error).__name__
            outcome = isinstance(error, EscapedError) and name in ("Skipped", "Failed")
            raise pytest.UsageError(
                f"{named}: opening a history raised {name}: {text_of(error)}"
                f"{_NO_TEST if outcome else ''}"
            ) from error
        kinds = type(subject.local.history("first")).__mro__
        self.history_packages |= {kind.__module__.partition(".")[0] for kind in kinds}
        try:
            subject.local.release("first", subject.how)
        except Exception as error:
            subject.notes.append(f"closing a fresh history raised {type(error).__name__}: {error}")

    def pytest_report_header(self) -> list[str]:
        """Return the lines about the run, its servers and the functions of its declarations."""
        declared = [
            f"{backend.name}: declares {', '.join(backend.functions)}"
            for backend in self.backends.values()
            if backend.functions
        ]
        given = [
            f"{name}: lifespan= gives {', '.join(values)}"
            for name, values in self.provider.lifespans.objects.items()
            if values
        ]
        return [self.headline(), *self.servers.header(), *declared, *given]

    def _end(self) -> None:
        """Stop everything that the run started, even if its start failed."""
        try:
            self.release()
            self.provider.end()
            if self._workspace is not None:
                self._workspace.remove()
        finally:
            self.servers.stop()
            self.lifetime.end()


class BackendCollector(pytest.Collector):
    """The collector of one backend's items."""

    def __init__(self, *, run: HistoryRun, backend: Backend, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run
        self.backend = backend

    def collect(self) -> Iterable[pytest.Item]:
        """Return the items of the backend."""
        return self.run.items(self)


class _Last(pytest.Item):
    """An item behind all others that is never run, so that no other item is the last one."""

    def runtest(self) -> None:
        """Do nothing."""


def _nearest(selector: str, nodeids: Iterable[str]) -> str:
    """Suggest the nearest node id, contract or family of the same backend."""
    name, _, _ = selector.partition("::")
    known = [nodeid for nodeid in nodeids if nodeid.startswith(f"{name}::")]
    known += [nodeid.partition("[")[0] for nodeid in known]
    known += [nodeid.partition(".")[0] for nodeid in known if "." in nodeid]
    return did_you_mean(selector, dict.fromkeys(known[::-1]))


def _selects(selector: str, nodeid: str) -> bool:
    return nodeid == selector or nodeid.startswith((f"{selector}.", f"{selector}["))
