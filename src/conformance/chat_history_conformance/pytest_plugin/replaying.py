"""The recorded findings of `--history-replay`, which run again before the contracts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from chat_history_conformance.execution.replay import replay
from chat_history_conformance.pytest_plugin.options import (
    invocation_directory,
    is_worker,
    only_lists,
    setting,
)
from chat_history_conformance.pytest_plugin.providing import Unavailable
from chat_history_conformance.pytest_plugin.run import HistoryRun
from chat_history_conformance.reports import load_report, terminal
from chat_history_conformance.results.model import BackendReport

__all__ = ["Replaying"]


class Replaying:
    """The plugin that runs the scripts of an earlier run again.

    Args:
        run: The run that goes on after it.

    Raises:
        pytest.UsageError: The report cannot be read, or is about other backends.
    """

    def __init__(self, run: HistoryRun) -> None:
        self._run = run
        self._left = {report.name: report for report in self._recorded()}

    def _recorded(self) -> list[BackendReport]:
        config = self._run.config
        given = setting(config, "replay")
        if not given:
            return []
        try:
            found = load_report(invocation_directory(config) / str(given))
        except ValueError as error:
            raise pytest.UsageError(f"--history-replay: {error}") from error
        ours = [report for report in found.backends if report.name in self._run.backends]
        if not ours:
            names = ", ".join(report.name for report in found.backends) or "none"
            raise pytest.UsageError(
                f"--history-replay: {given} has no backend of this run, only: {names}. "
                "Name one of them with --history-backend."
            )
        if is_worker(config) or only_lists(config):
            return []
        return ours

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Replay the findings before anything else runs."""
        backends = self._run.backends
        self._replay([name for name in self._left if self._run.provider.is_ready(backends[name])])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Replay the findings on backends that need a fixture."""
        self._replay(list(self._left))

    def _replay(self, names: Iterable[str]) -> None:
        for name in names:
            report = self._left.pop(name)
            try:
                self._run.bound(self._run.backends[name])
            except Unavailable:
                continue  # the contracts report it as errors
            with self._run.workspace.inside():
                done = replay(report, [invocation_directory(self._run.config)])
            for line in terminal.replayed(name, done):
                self._run.announce(line)
