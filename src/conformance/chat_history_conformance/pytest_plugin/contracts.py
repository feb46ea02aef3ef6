"""The contracts as pytest items, and the run that collects them and reports their results."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import ExceptionInfo, ReprFileLocation

import chat_history_conformance
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.diagnosis.compare import ConformanceFailure
from chat_history_conformance.execution import engine
from chat_history_conformance.execution.probes import surprises, untried
from chat_history_conformance.execution.subject import Subject
from chat_history_conformance.judging.proof import prove
from chat_history_conformance.pytest_plugin import screen
from chat_history_conformance.pytest_plugin.options import (
    chosen,
    is_worker,
    only_lists,
    report_paths,
    seed_of,
    setting,
    since_of,
)
from chat_history_conformance.pytest_plugin.progress import Progress, all_places, upcoming
from chat_history_conformance.pytest_plugin.provenance import environment, origin_text
from chat_history_conformance.pytest_plugin.providing import Unavailable
from chat_history_conformance.pytest_plugin.replaying import Replaying
from chat_history_conformance.pytest_plugin.run import BackendCollector, HistoryRun
from chat_history_conformance.pytest_plugin.screen import FailureText, location_of
from chat_history_conformance.reports import terminal, wording, write_report
from chat_history_conformance.results.model import (
    LEVELS,
    BackendReport,
    ContractResult,
    Mode,
    RunReport,
)
from chat_history_conformance.results.verdict import count, judge

__all__ = ["ATTRIBUTE", "ContractItem", "ContractRun", "FailureText", "NotJudged", "UnexpectedPass"]

ATTRIBUTE = "chat_history_result"
"""The attribute of a test report that holds the result as JSON, also from a worker of xdist."""


_WORKER_ENDED = "???"
"""The phase in the report that pytest-xdist makes about a worker that has ended."""

_WORKER_ENDED_HERE = (
    "the worker of pytest-xdist ended during this contract: run it without -n to see how"
)


class UnexpectedPass(Exception):
    """A contract passed although the declaration lists it as a deviation."""


class NotJudged(Exception):
    """A contract could not be judged, because the server could not be reached."""


class ContractRun(HistoryRun):
    """A run of the contracts, from the options to the verdicts and reports.

    Args:
        config: The configuration of pytest.
        specs: The values of `--history-backend`.

    Raises:
        pytest.UsageError: A backend cannot be found, or the value of an option is wrong.
    """

    noun = "contract"

    def __init__(self, config: pytest.Config, specs: Sequence[str]) -> None:
        super().__init__(config, specs)
        self.level = chosen(config, "level", "should", LEVELS)
        self.since = since_of(config)
        self.seed = seed_of(config)
        self.reports = report_paths(config)
        config.pluginmanager.register(Replaying(self), "history-replay")
        self._failed: dict[tuple[str, str], pytest.TestReport] = {}
        self.results: dict[str, dict[str, ContractResult]] = {name: {} for name in self.backends}
        self._notes_of_workers: dict[str, list[str]] = {name: [] for name in self.backends}
        self.backend_reports: list[BackendReport] = []
        self.verdict_required = False
        self.unwritten: dict[Path, str] = {}
        self.progress = Progress(
            self.profile,
            self.seed,
            all_places(self.backends, self.contracts.values()),
            self._ready_subject,
            self.announce,
            lambda: self.workspace.inside(stay=self.progress.runs_ahead),
            lambda nodeid, begins: self.lifetime.send(ahead=nodeid, begins=begins),
        )
        config.pluginmanager.register(self.progress, "history-progress")

    # -- running -----------------------------------------------------------------------------

    def items(self, collector: BackendCollector) -> Iterable[pytest.Item]:
        """Yield an item for each contract in each of its modes."""
        for contract, mode in engine.each(self.contracts.values()):
            label = f"{contract.id}[{mode}]"
            yield ContractItem.from_parent(
                collector,
                name=label,
                nodeid=f"{collector.backend.name}::{label}",
                run=self,
                contract=contract,
                mode=mode,
            )

    def nodeids(self) -> Collection[str]:
        """Return the node id of each contract in each of its modes, for each backend."""
        return self.progress.places

    def _ready_subject(self, name: str) -> Subject | None:
        """Return the subject of a backend, or None if its values are not known yet."""
        backend = self.backends[name]
        return self.subject(backend) if self.provider.is_ready(backend) else None

    def run_item(self, item: ContractItem) -> ContractResult:
        """Run one contract in the workspace, and compare its outcome with the declaration."""
        try:
            self.bound(item.backend)
        except Unavailable as unavailable:
            return item.blank("error", str(unavailable))
        # Contracts that run ahead use the working directory too, also between two items.
        with self.workspace.inside(stay=self.progress.runs_ahead):
            self.progress.before(item.nodeid, upcoming(item))
            subject = self.subject(item.backend)
            noted = len(subject.notes)
            result = engine.run_declared(
                item.contract,
                subject,
                item.mode,
                self.profile,
                self.seed,
                level=self.level,
                since=self.since,
            )
            item.notes = subject.notes[noted:]
            return result

    # -- reporting ---------------------------------------------------------------------------

    def headline(self) -> str:
        """Return the line about the backends, the contracts and the profile."""
        contracts = len(self.contracts)
        items = sum(len(contract.modes) for contract in self.contracts.values())
        return (
            f"chat history: {', '.join(self.backends)}; {contracts} contracts "
            f"({items} with each mode counted), profile {self.profile.name}, seed {self.seed}"
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the contract's result to the test report."""
        report = yield
        if isinstance(item, ContractItem) and call.when == "call":
            result = item.result
            if result is None and call.excinfo is not None:
                reason = f"the suite failed: {call.excinfo.typename}: {call.excinfo.value}"
                result = item.blank("error", reason)
            if result is not None:
                # ASCII, because xdist sends reports as UTF-8 and messages may hold lone surrogates.
                notes = item.notes if is_worker(self.config) else []
                data = {"backend": item.backend.name, "noted": notes, **result.to_json()}
                setattr(report, ATTRIBUTE, json.dumps(data))
        return report

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Let the supervisor know which contract begins."""
        self.lifetime.send(begin=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the results of this process and of the workers."""
        carried = getattr(report, ATTRIBUTE, None)
        if carried is None and report.when == _WORKER_ENDED:
            carried = self._ended_by(report)
        if carried is not None:
            data = json.loads(carried)
            self._notes_of_workers[data["backend"]] += data.pop("noted", [])
            self.lifetime.send(result=data, end=report.nodeid)
            name = data.pop("backend")
            result = ContractResult.from_json(data)
            self.results[name][result.label] = result
            self._failed[name, result.label] = report

    def _ended_by(self, report: pytest.TestReport) -> str | None:
        """Return the result of a contract that ended the worker of pytest-xdist in which it ran."""
        for name, blanks in self._blanks().items():
            for blank in blanks:
                if report.nodeid == f"{name}::{blank.label}":
                    result = replace(blank, outcome="error", reason=_WORKER_ENDED_HERE)
                    return json.dumps({"backend": name, **result.to_json()})
        return None

    def _blanks(self) -> Mapping[str, Sequence[ContractResult]]:
        """Return the results of all contracts as they are before a contract has run."""
        blanks = [
            contract.blank(mode, "not_run")
            for contract, mode in engine.each(self.contracts.values())
        ]
        return dict.fromkeys(self.backends, blanks)

    def began(self) -> None:
        """Send what a report needs to the supervisor."""
        report = self.run_report() if self.reports else RunReport({}, {})  # only reports show it
        backends = {
            name: {
                "lacks": dict(self.backends[name].lacks),
                "notes": self.notes_of(name),
                "origin": origin_text(self.backends[name], self.config.rootpath),
                "contracts": [
                    {**blank.to_json(), "informs": engine.informs(blank, self.level, self.since)}
                    for blank in blanks
                ],
            }
            for name, blanks in self._blanks().items()
        }
        header = {
            "suite": dict(report.suite),
            "environment": dict(report.environment),
            "reports": [str(path) for path in self.reports],
            "backends": backends,
        }
        self.lifetime.send(header=header)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Compute the verdicts and write the reports; print the verdicts after everything else."""
        if not is_worker(self.config) and not only_lists(self.config):
            self._finish(session)
        result = yield
        terminalreporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminalreporter is not None:
            screen.print_verdicts(self.backend_reports, terminalreporter)
            if self.verdict_required:
                terminalreporter.write_line(screen.VERDICT_REQUIRED, red=True)
        return result

    def _finish(self, session: pytest.Session) -> None:
        found = {name: self._proven(one, session) for name, one in self.backends.items()}
        self.provider.tear_down(self.backends.values())
        for name, (results, notes) in found.items():
            self.backend_reports.append(self._report_on(self.backends[name], results, notes))
        if self.provider.troubles and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for path in self.reports:
            try:
                write_report(self.run_report(), path, catalogue.rule_texts())
            except OSError as error:
                self.unwritten[path] = str(error)
        if self.unwritten and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        unsettled = any(report.verdict == "incomplete" for report in self.backend_reports)
        ended_well = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if setting(self.config, "require-verdict") and unsettled and ended_well:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.verdict_required = True

    def _proven(
        self, backend: Backend, session: pytest.Session
    ) -> tuple[list[ContractResult], list[str]]:
        """Return the results of a backend after the proof of its findings, and notes about it."""
        results = self.results[backend.name]
        all_results = [results.get(blank.label) or blank for blank in self._blanks()[backend.name]]
        interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        interrupted = interrupted or self.lifetime.signal is not None
        failed = any(result.outcome == "failed" for result in all_results)
        tried = results and (failed or backend.lacks) and not interrupted
        notes = self._notes_of_workers[backend.name]
        if not (tried or self.provider.is_ready(backend)):  # its fixtures are in the workers
            return all_results, [*notes, *untried(all_results)]
        try:
            subject = self.subject(backend)
        except Unavailable:
            return all_results, [*notes, *untried(all_results)]
        if not interrupted:
            with self.workspace.inside():
                all_results = prove(all_results, self.contracts, subject, self.profile, self.seed)
        notes = [*subject.notes, *notes, *untried(all_results)]
        if results:
            with self.workspace.inside():
                notes += surprises(subject)
        return all_results, notes

    def _report_on(
        self, backend: Backend, all_results: list[ContractResult], notes: list[str]
    ) -> BackendReport:
        unsettled = self.servers.why_no_verdict(backend.server)
        unsettled = self.provider.troubles.get(backend.name) or unsettled
        return BackendReport(
            name=backend.name,
            verdict=judge(all_results, unsettled=unsettled),
            lacks=dict(backend.lacks),
            counts=count(all_results),
            contracts=tuple(all_results),
            notes=tuple(notes),
            unsettled=unsettled,
            origin=origin_text(backend, self.config.rootpath),
        )

    def run_report(self) -> RunReport:
        """Return the results of the whole run."""
        used = self.servers.described()
        return RunReport(
            suite={
                "version": chat_history_conformance.__version__,
                "profile": self.profile.name,
                "seed": self.seed,
            },
            environment={
                **environment(self.config.rootpath, self.history_packages),
                **({"server": dict(used)} if used else {}),
            },
            backends=tuple(self.backend_reports),
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Show each cause once among the failures, and rank the causes below pytest's own lists."""
        width = terminalreporter._tw.fullwidth
        style = self.config.option.tbstyle
        for report in self.backend_reports:
            screen.show_each_cause_once(report, self._failed, self.contracts, style, width)
        yield
        if self.backend_reports:
            terminalreporter.section("chat history conformance")
            for line in screen.summary(self.backend_reports, self.config, width):
                terminalreporter.write_line(line)
            for path in self.reports:
                terminalreporter.write_line(screen.written(path, self.unwritten.get(path)))


class ContractItem(pytest.Item):
    """One contract in one mode on one backend."""

    def __init__(
        self,
        *,
        run: ContractRun,
        contract: Contract,
        mode: Mode,
        parent: BackendCollector,
        **kwargs: Any,
    ) -> None:
        super().__init__(parent=parent, **kwargs)
        self.run = run
        self.contract = contract
        self.mode: Mode = mode
        self.backend = parent.backend
        self.result: ContractResult | None = None
        self.notes: list[str] = []
        self.add_marker(
            pytest.mark.history(
                backend=self.backend.name, family=contract.family, level=contract.level, mode=mode
            )
        )
        if self.config.pluginmanager.hasplugin("timeout"):
            # pytest-timeout's limit is meant for tests. The suite has a limit for each call.
            self.add_marker(pytest.mark.timeout(0))

    def blank(self, outcome: Any, reason: str) -> ContractResult:
        """Return a result without examples."""
        return replace(self.contract.blank(self.mode, outcome), reason=reason)

    def runtest(self) -> None:
        """Run the contract, and pass, skip, xfail or raise by its outcome."""
        self.result = None
        try:
            result = self.result = self.run.run_item(self)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:  # such as pytest's own outcomes, which say nothing here
            raise NotJudged(f"the suite failed: {type(error).__name__}: {error}") from error
        reason = wording.visible(result.reason or "", keep="\n")
        match result.outcome:
            case "not_applicable":
                pytest.skip(f"not applicable: {reason}")
            case "deviation":
                pytest.xfail(f"deviation: {reason}")
            case "error":
                raise NotJudged(reason)
            case "unexpected_pass" if not result.informs:
                raise UnexpectedPass(reason)
            case "failed" if result.informs:
                pytest.xfail(f"not counted: {reason}")
            case "failed" if result.finding is not None:
                raise ConformanceFailure(result.finding)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the source line of the contract, and the headline of a failure."""
        code = self.contract.body.__code__
        # pytest -v prints a headline twice if the node id ends with it.
        headline = f"{self.backend.name} {self.name}: {self.contract.title}"
        return Path(code.co_filename), code.co_firstlineno - 1, headline

    def repr_failure(self, excinfo: ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the text of a finding, or pytest's own text for any other exception."""
        error = excinfo.value
        if isinstance(error, UnexpectedPass | NotJudged):
            return FailureText(str(error), self._location(str(error)))
        if not isinstance(error, ConformanceFailure):
            return super().repr_failure(excinfo, style)
        result = self.result
        assert result is not None
        text = terminal.failure(self.contract, result)
        return FailureText(text, self._location(error.finding.summary))

    def _location(self, message: str) -> ReprFileLocation:
        return location_of(self.contract, wording.visible(message))
