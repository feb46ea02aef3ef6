"""The run of `--history-benchmark`: a pytest item for each operation, timed by pytest-benchmark."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

import chat_history_conformance
from chat_history_conformance.bench.counting import budget
from chat_history_conformance.bench.measure import benchmark_file, operations
from chat_history_conformance.bench.measure.contenders import Contender, NotSupported
from chat_history_conformance.bench.measure.memory import peak_bytes
from chat_history_conformance.bench.measure.operations import OPERATIONS, Operation
from chat_history_conformance.bench.measure.payload import DEFAULT, PAYLOADS
from chat_history_conformance.bench.measure.results import Measured
from chat_history_conformance.bench.measure.run import Contenders, Measurement, count_round_trips
from chat_history_conformance.bench.measure.trials import collector_off
from chat_history_conformance.bench.report import terminal, wording
from chat_history_conformance.declaration.backend import MODES, Backend
from chat_history_conformance.drivers.calls import How
from chat_history_conformance.pytest_plugin.options import (
    chosen,
    invocation_directory,
    is_worker,
    setting,
)
from chat_history_conformance.pytest_plugin.providing import Unavailable
from chat_history_conformance.pytest_plugin.run import BackendCollector, HistoryRun

__all__ = ["BenchmarkItem", "BenchmarkRun"]

_PREFIX = "benchmark."
_SAVED_AS = "history"
_CLIENTS = {"kafka": "confluent-kafka", "elasticsearch": "elasticsearch"}


class BenchmarkRun(HistoryRun):
    """The plugin object of a run that measures.

    Args:
        config: The configuration of pytest.
        specs: The values of `--history-backend`.

    Raises:
        pytest.UsageError: As `HistoryRun`; or pytest-benchmark is not installed, or pytest-xdist is
            used, or the budget of round trips cannot be read.
    """

    noun = "benchmark"

    def __init__(self, config: pytest.Config, specs: Sequence[str]) -> None:
        if not config.pluginmanager.hasplugin("benchmark"):
            raise pytest.UsageError(
                "--history-benchmark needs pytest-benchmark, which is not installed or switched "
                "off. Run: pip install 'chat-history-conformance[benchmark]'"
            )
        if is_worker(config) or config.getoption("numprocesses", None):
            raise pytest.UsageError(
                "--history-benchmark cannot be combined with pytest-xdist's -n, because processes "
                "that measure at the same time disturb each other. Leave out one of the two."
            )
        super().__init__(config, specs)
        self.measured: dict[str, list[Measured]] = {}
        self.counted: dict[str, dict[str, int | None]] = {}
        self.not_removed: list[str] = []
        self.remarks: list[str] = []
        self._contenders: dict[tuple[str, How], Contenders] = {}
        self.payload = PAYLOADS[chosen(config, "payload", DEFAULT.name, list(PAYLOADS))]
        self.budget = self._load_budget()
        arguments = " ".join(map(str, config.invocation_params.args))
        self.operations = [
            one for one in OPERATIONS.values() if not one.is_optional or one.name in arguments
        ]

    def _load_budget(self) -> budget.Budget:
        given = setting(self.config, "max-round-trips")
        if not given:
            return {}
        path = invocation_directory(self.config) / str(given)
        known = [operation.label(mode) for operation in OPERATIONS.values() for mode in MODES]
        try:
            return budget.load(path, self.backends, known)
        except budget.BudgetError as error:
            raise pytest.UsageError(f"--history-max-round-trips: {error}") from error

    def headline(self) -> str:
        """Return the line in pytest's header."""
        number = len(self.operations)
        return (
            f"chat history benchmark: {', '.join(self.backends)}; {number} operations, "
            f"{self.payload.name} messages"
        )

    def items(self, collector: BackendCollector) -> Iterable[pytest.Item]:
        """Yield an item for each operation, in each mode of the backend."""
        for operation in self.operations:
            for mode in collector.backend.modes:
                yield BenchmarkItem.from_parent(collector, run=self, operation=operation, mode=mode)

    def nodeids(self) -> Collection[str]:
        """Return the node id of each operation in each mode, for each backend."""
        return [
            f"{backend.name}::{_item_name(operation, mode)}"
            for backend in self.backends.values()
            for operation in self.operations
            for mode in backend.modes
        ]

    def contenders(self, backend: Backend, mode: How) -> Contenders:
        """Return the contenders of a backend in a mode, which serve the whole run."""
        key = backend.name, mode
        if key not in self._contenders:
            self._contenders[key] = Contenders(self.bound(backend), mode, self.payload)
        return self._contenders[key]

    def release(self) -> None:
        """End everything that uses the values of backends."""
        self._stop_contenders()
        super().release()

    def _stop_contenders(self) -> None:
        while self._contenders:
            self._contenders.popitem()[1].stop()

    def _remove_sessions(self) -> Iterator[str]:
        """Remove the sessions that would outlive the run. Yield error messages."""
        with self.workspace.inside():
            for (name, _), contenders in self._contenders.items():
                backend = self.backends[name]
                if not (backend.disposable or backend.server in self.servers.owned):
                    yield from contenders.remove_sessions()

    def measure(self, backend: Backend, operation: Operation, mode: How, benchmark: Any) -> None:
        """Measure one operation, and check its round trips against the budget."""
        benchmark.group = operation.title
        if len(self.backends) > 1:
            benchmark.name = benchmark.fullname
        try:
            self.bound(backend)
        except Unavailable as unavailable:
            pytest.fail(str(unavailable), pytrace=False)
        with self.workspace.inside():
            contenders = self.contenders(backend, mode)
            with ExitStack() as stack, collector_off():
                try:
                    measurement = Measurement(
                        operation, contenders, stack, **self._extent(benchmark)
                    )
                except NotSupported as reason:
                    pytest.skip(f"not applicable: {reason}")
                _time(measurement, benchmark)
            counted, problem = count_round_trips(operation, contenders.ours)
            info = self._info(measurement, counted, problem)
        benchmark.extra_info.update(info)
        label = operation.label(mode)
        self.counted.setdefault(backend.name, {})[label] = counted
        if measurement.times[1:]:
            found = benchmark_file.measured(info, measurement.times)
            self.measured.setdefault(backend.name, []).append(found)
            if latency := info["latency"]:
                self.remarks.append(
                    f"{backend.name} {label}: half of the adds took at most "
                    f"{wording.duration(latency['median_s'])}, 99 % at most "
                    f"{wording.duration(latency['p99_s'])}"
                )
            if stalls := measurement.stalls():
                self.remarks.append(
                    f"{backend.name} {label}: {len(stalls)} of {len(measurement.times)} rounds "
                    "took more than ten times the median, up to "
                    f"{wording.duration(max(stalls))}: something waits now and then"
                )
        self._check_budget(backend, label, counted, problem)

    def _extent(self, benchmark: Any) -> dict[str, Any]:
        """Return the extent of a measurement, by the options of pytest-benchmark."""
        if benchmark.disabled:
            return {"seconds": None}
        return {
            "seconds": float(self.config.getoption("benchmark_max_time")),
            "min_rounds": int(self.config.getoption("benchmark_min_rounds")),
        }

    def _info(
        self, measurement: Measurement, counted: int | None, problem: str | None
    ) -> dict[str, Any]:
        """Return the `extra_info` of a benchmark."""
        operation, contenders = measurement.operation, measurement.contenders
        floor = measurement.compared_with("floor")
        if floor is not None and contenders.floor is not None:
            floor = {
                **floor,
                "round_trips": count_round_trips(operation, contenders.floor)[0],
                "peak_bytes": _peak(operation, contenders.floor),
            }
        peers: dict[str, Any] = {name: {"missing": why} for name, why in contenders.missing.items()}
        for name, peer in contenders.peers.items():
            comparison = dict(measurement.compared_with(name) or {})
            if "ratio" in comparison:
                with measurement.if_supported(name):
                    comparison["round_trips"] = count_round_trips(operation, peer, times=1)[0]
                    comparison["peak_bytes"] = _peak(operation, peer)
            if comparison:
                peers[name] = {"version": contenders.version_of(name), **comparison}
        return {
            "backend": contenders.backend.name,
            "payload": self.payload.name,
            "server": self.servers.described().get(contenders.backend.server or ""),
            "operation": operation.name,
            "title": operation.title,
            "mode": contenders.ours.mode,
            "size": operation.size,
            "round_trips": counted,
            "round_trips_unknown": problem,
            "floor": floor,
            "peers": peers,
            "growth": measurement.growth(),
            "memory": _memory(operation, contenders.ours) if measurement.times[1:] else None,
            "latency": measurement.latency(),
            "environment": _environment(contenders),
        }

    def _check_budget(
        self, backend: Backend, label: str, counted: int | None, problem: str | None
    ) -> None:
        allowed = self.budget.get(backend.name, {}).get(label)
        if allowed is None:
            return
        given = f"{setting(self.config, 'max-round-trips')} allows {allowed}"
        if counted is None:
            pytest.fail(f"{given} round trips, but they cannot be counted: {problem}", False)
        if counted > allowed:
            number = "1 round trip" if counted == 1 else f"{counted} round trips"
            pytest.fail(
                f"{label} takes {number}, and {given}. Find the new request. If it is necessary, "
                "raise the number in that file.",
                pytrace=False,
            )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Clean up, and let pytest-benchmark save the run if no option says that it should."""
        self.not_removed = list(self._remove_sessions())
        self.provider.tear_down(self.backends.values())
        self.not_removed += [f"{name}: {why}" for name, why in self.provider.troubles.items()]
        if self.provider.troubles and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        benchmarks: Any = self.config.pluginmanager.get_plugin("pytest-benchmark")
        is_saved = benchmarks.save or benchmarks.autosave or benchmarks.json
        if benchmarks.benchmarks and not is_saved:
            benchmarks.save = _SAVED_AS
        return (yield)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print ratios, round trips and growth, which pytest-benchmark's table does not have."""
        for line in self.not_removed:
            terminalreporter.write_line(line, yellow=True)
        if self.measured:
            self._print_results(terminalreporter)
        if setting(self.config, "write-round-trips"):
            terminalreporter.section("round trips, for --history-max-round-trips")
            for backend, counts in self.counted.items():
                known = {name: count for name, count in counts.items() if count is not None}
                for line in budget.format_table(backend, known):
                    terminalreporter.write_line(line)

    def _print_results(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("chat history benchmark")
        for backend, found in self.measured.items():
            for line in terminal.table(backend, found):
                terminalreporter.write_line(line)
            for line in wording.missing(found):
                terminalreporter.write_line(f"not measured: {line}")
            terminalreporter.write_line("")
        terminalreporter.write_line(terminal.LEGEND)
        for line in self.remarks:
            terminalreporter.write_line(line)
        for backend, found in self.measured.items():
            for line in wording.callouts(found):
                terminalreporter.write_line(f"{backend}: {line}", yellow=True)


def _memory(operation: Operation, contender: Contender) -> dict[str, Any] | None:
    """Return the peak memory of a read by the length of the conversation."""
    lengths = operation.memory_over
    if not lengths:
        return None
    peaks = [peak_bytes(operation, contender, length) for length in lengths]
    return {"lengths": list(lengths), "peak_bytes": peaks}


def _peak(operation: Operation, contender: Contender) -> int | None:
    return peak_bytes(operation, contender, operation.size) if operation.is_read else None


def _environment(contenders: Contenders) -> dict[str, Any]:
    """Describe the environment of a result, without identifying the machine."""
    packages = {"langchain-core": version("langchain-core"), "pytest": pytest.__version__}
    packages |= {name: contenders.version_of(name) for name in contenders.peers}
    if client := _CLIENTS.get(contenders.backend.server or ""):
        with suppress(PackageNotFoundError):  # the backend may use another client
            packages[client] = version(client)
    return {
        "suite": chat_history_conformance.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **packages,
    }


def _time(measurement: Measurement, benchmark: Any) -> None:
    """Let pytest-benchmark time the backend. The others are timed between its rounds."""
    trial, result, took = measurement.trial, None, 0.0

    def setup() -> None:
        measurement.time_others()
        trial.make_ready()

    def act() -> None:
        nonlocal result, took
        began = perf_counter()
        result = trial.act()
        took = perf_counter() - began

    def teardown() -> None:
        nonlocal result
        measurement.record(took)
        trial.finish(result)
        result = None

    benchmark.pedantic(act, setup=setup, teardown=teardown, rounds=measurement.rounds)


def _item_name(operation: Operation, mode: How) -> str:
    return f"{_PREFIX}{operation.label(mode)}"


class BenchmarkItem(pytest.Function):
    """One operation in one mode on one backend."""

    def __init__(
        self, *, run: BenchmarkRun, operation: Operation, mode: How, parent: Any, **kwargs: Any
    ) -> None:
        backend: Backend = parent.backend

        def measure(benchmark: Any) -> None:
            run.measure(backend, operation, mode, benchmark)

        name = _item_name(operation, mode)
        super().__init__(parent=parent, name=name, callobj=measure, **kwargs)
        self._headline = f"{backend.name} {name}: {operation.title}"
        self.add_marker(
            pytest.mark.history(backend=backend.name, family="benchmark", level="may", mode=mode)
        )

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the module of the operations, and the headline of a failure."""
        return Path(operations.__file__), 0, self._headline
