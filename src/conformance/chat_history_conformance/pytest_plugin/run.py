"""A run with backends, whatever it does with them: options, servers, collection, workspace.

What is done with each backend is in `contracts` and `benchmarks`, next to this module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Sequence
from typing import Any, ClassVar

import pytest

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.declaration import backend as declaration
from chat_history_conformance.declaration.backend import Backend, DeclarationError
from chat_history_conformance.diagnosis.compare import is_server_error
from chat_history_conformance.drivers.opening import NotAHistory
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.execution.workspace import Workspace
from chat_history_conformance.plugin import invocation_directory, setting
from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.run import Servers


class HistoryRun:
    """What every run with backends has, from the command line to the last server stopped.

    Args:
        config: pytest's.
        specs: What `--history-backend` named.

    Raises:
        pytest.UsageError: A backend cannot be found, or an option makes no sense.
    """

    judges: ClassVar[str]
    """What its items are called in an error."""

    def __init__(self, config: pytest.Config, specs: Sequence[str]) -> None:
        self.config = config
        self.contracts = catalogue.load()
        self.backends = self._resolve(specs)
        usual = "ci" if os.environ.get("CI") else "quick"
        self.profile = engine.PROFILES[chosen(config, "profile", usual, list(engine.PROFILES))]
        self.selectors = self._take_selectors()
        self.servers = self._servers()
        self._rigs: dict[str, Subject] = {}
        self._workspace: Workspace | None = None
        self.judged: set[str] = set()
        # Not at the end of the session, which is not reached where its start fails.
        config.add_cleanup(self._end)

    def items(self, collector: BackendCollector) -> Iterable[pytest.Item]:
        """What is done with one backend, an item each."""
        raise NotImplementedError

    def headline(self) -> str:
        """What the run is, for its header."""
        raise NotImplementedError

    # -- options -----------------------------------------------------------------------------

    def _resolve(self, specs: Sequence[str]) -> dict[str, Backend]:
        here = str(invocation_directory(self.config))
        if any(":" in spec for spec in specs) and here not in sys.path:
            sys.path.insert(0, here)
        backends: dict[str, Backend] = {}
        for spec in dict.fromkeys(specs):
            try:
                backend = declaration.resolve(spec)
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
        """Put a collector for each backend behind what pytest collects by itself."""
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
        """Keep what was selected by node id, where anything was."""
        if not self.selectors:
            return
        ours = [item for item in items if isinstance(item.parent, BackendCollector)]
        for selector in self.selectors:
            if not any(_selects(selector, item.nodeid) for item in ours):
                known = [item.nodeid for item in ours]
                raise pytest.UsageError(
                    f"no {self.judges} is {selector!r}{declaration.nearest(selector, known)}; "
                    "--co lists them"
                )
        dropped = [
            item
            for item in ours
            if not any(_selects(selector, item.nodeid) for selector in self.selectors)
        ]
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)

    # -- running -----------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """Where everything runs, made when it is first needed."""
        if self._workspace is None:
            self._workspace = Workspace()
        return self._workspace

    def subject(self, backend: Backend) -> Subject:
        """The backend, ready to be used; one for the whole run."""
        if backend.name not in self._rigs:
            self._rigs[backend.name] = Subject(
                backend,
                limit=self.profile.limit,
                destructive=bool(setting(self.config, "allow-destructive")),
                server=self.servers.running.get(backend.server or ""),
                owned=backend.server in self.servers.owned,
                faults=bool(setting(self.config, "faults")),
            )
        return self._rigs[backend.name]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Start the servers, and open each backend once: what cannot work is told at once.

        Before pytest prints its header, which names the servers, and before xdist starts its
        workers, which inherit their addresses.
        """
        if is_worker(self.config) or self.config.option.collectonly:
            return
        if setting(self.config, "faults") and self.config.pluginmanager.hasplugin("dsession"):
            raise pytest.UsageError(
                "--history-faults cannot be combined with pytest-xdist's -n: pausing or killing "
                "the server would break what the other workers do meanwhile. Leave out one of them."
            )
        needed = [backend.server for backend in self.backends.values() if backend.server]
        try:
            self.servers.start(needed, self._announce)
        except ServerError as error:
            raise pytest.UsageError(str(error)) from error
        with self.workspace.inside():
            for backend in self.backends.values():
                self._try_to_open(backend)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker, on whatever machine, what was started."""
        node.workerinput["history_servers"] = self.servers.handed_on

    def _announce(self, line: str) -> None:
        terminalreporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminalreporter is not None:
            terminalreporter.write_line(line)
            terminalreporter.flush()

    def _try_to_open(self, backend: Backend) -> None:
        subject = self.subject(backend)
        named = f"--history-backend={backend.name}"
        try:
            subject.local.open("first", subject.nonce(), subject.how, None)
        except NotAHistory as error:
            raise pytest.UsageError(f"{named} leads to no chat history: {error}.") from error
        except Exception as error:
            if is_server_error(error, backend):
                return  # the contracts report it as errors, and the verdict stays open
            if isinstance(backend.factory, type):
                return  # a constructor that raises is a finding about the class
            raise pytest.UsageError(
                f"{named}: opening a history raises {type(error).__name__}: {error}"
            ) from error
        kinds = type(subject.local.history("first")).__mro__
        self.judged |= {kind.__module__.partition(".")[0] for kind in kinds}
        try:
            subject.local.release("first", subject.how)
        except Exception as error:
            subject.notes.append(f"closing a fresh history raised {type(error).__name__}: {error}")

    def pytest_report_header(self) -> list[str]:
        """Say what is done, and with what."""
        return [self.headline(), *self.servers.header()]

    def _end(self) -> None:
        """End what was started, whatever became of the run."""
        try:
            for subject in self._rigs.values():
                subject.stop()
            if self._workspace is not None:
                self._workspace.remove()
        finally:
            self.servers.stop()


class BackendCollector(pytest.Collector):
    """Everything that is done with one backend."""

    def __init__(self, *, run: HistoryRun, backend: Backend, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run
        self.backend = backend

    def collect(self) -> Iterable[pytest.Item]:
        """Its items."""
        return self.run.items(self)


def _selects(selector: str, nodeid: str) -> bool:
    return nodeid == selector or nodeid.startswith((f"{selector}.", f"{selector}["))


def is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def chosen(config: pytest.Config, name: str, default: str, among: Sequence[str]) -> Any:
    """The value of an option that is one of a few words."""
    value = str(setting(config, name) or default)
    if value not in among:
        *first, last = among
        raise pytest.UsageError(f"history_{name} = {value}: it is {', '.join(first)} or {last}")
    return value
