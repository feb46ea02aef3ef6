"""Runs that need a server, which is chosen, started once, shared with workers, and stopped."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance import servers
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.faulty import served
from chat_history_conformance.servers import ServerError, launcher
from chat_history_conformance.servers.choice import Choice
from chat_history_conformance.servers.server import Server
from tests.plugin.test_options import usage_error

Run = Callable[..., pytest.RunResult]

MINE = "--history-backend=mine"
VARIABLE = servers.variable("kafka")

DECLARED = """
from chat_history_conformance import history_backend
from chat_history_conformance.faulty.served import ServedChatMessageHistory
from chat_history_conformance.servers import address

@history_backend("mine", server="kafka")
def mine(session_id):
    return ServedChatMessageHistory(session_id, address("kafka"))
"""


class ForeignServer(Server):
    """A server that the run did not start, or a mock. Nothing stops it."""

    kind = "kafka"

    def __init__(self, way: str, address: str) -> None:
        self.way = way
        self.address = address
        self.version = "1"

    def stop(self) -> None:
        pass


@dataclass
class RecordingLauncher:
    """A replacement of the launcher that starts the served control and records the requests."""

    asked: list[tuple[str, Choice, bool, dict[str, Any]]] = field(default_factory=list)
    started: list[Server] = field(default_factory=list)
    instead: Callable[[Server], Server] = lambda server: server
    trouble: ServerError | None = None

    def start(
        self,
        kind: str,
        way: Choice,
        *,
        offline: bool,
        announce: Callable[[str], None],
        config: Any,
    ) -> Server:
        self.asked.append((kind, way, offline, dict(config)))
        if self.trouble is not None:
            raise self.trouble
        announce(f"{kind} is started here")
        self.started.append(served.start())
        return self.instead(self.started[-1])

    @property
    def running(self) -> list[str]:
        return [server.address for server in self.started if listens(server.address)]


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 2.0):
            return True
    except ConnectionError:
        return False


@pytest.fixture
def recorder(
    monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> Iterator[RecordingLauncher]:
    """Replace the launcher, and declare `mine`, which uses the server that it starts."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(servers.CONFIG_VARIABLE, raising=False)
    pytester.makeconftest(DECLARED)
    replacement = RecordingLauncher()
    monkeypatch.setattr(launcher, "start", replacement.start)
    yield replacement
    for server in replacement.started:
        server.stop()


def only(small_catalogue: dict[str, Contract], *names: str) -> None:
    """Make these contracts the whole catalogue."""
    small_catalogue.clear()
    small_catalogue.update({name: WHOLE[name] for name in names})


WHOLE = dict(catalogue.load())


# -- one server per run ----------------------------------------------------------------------------


def test_one_server_is_started_and_named_in_the_header_and_the_reports(
    run: Run, recorder: RecordingLauncher, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        f"{DECLARED}\nhistory_backend('other', server='kafka')(lambda i: mine(i))"
    )
    result = run(
        *(MINE, "--history-backend=other"),
        *(f"--history-report=report.{ending}" for ending in ("json", "md", "html")),
    )
    result.assert_outcomes(passed=12)
    assert len(recorder.started) == 1
    address = recorder.started[0].address
    lines = result.outlines
    assert lines.index("kafka is started here") < lines.index(f"kafka: 1 (process) at {address}")
    report = json.loads(Path("report.json").read_text("utf-8"))
    assert report["environment"]["server"] == {"kafka": "1 (process)"}
    for ending in ("md", "html"):
        text = Path(f"report.{ending}").read_text("utf-8")
        assert "server kafka" in text
        assert "1 (process)" in text
        assert address not in text


def test_the_run_stops_the_server_and_restores_the_environment(
    run: Run, recorder: RecordingLauncher
) -> None:
    assert run(MINE).ret == pytest.ExitCode.OK
    assert recorder.started
    assert recorder.running == []
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["no_such_directory"], pytest.ExitCode.USAGE_ERROR),
        (["test_broken.py"], pytest.ExitCode.INTERRUPTED),
        (["test_interrupting.py"], pytest.ExitCode.INTERRUPTED),
        (["test_failing.py", "-x"], pytest.ExitCode.TESTS_FAILED),
        (["-p", "exploding"], pytest.ExitCode.INTERNAL_ERROR),
        (["--history-backend=raising"], pytest.ExitCode.USAGE_ERROR),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_server_is_stopped_after_every_kind_of_failure(
    arguments: list[str],
    status: int,
    run: Run,
    recorder: RecordingLauncher,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "as-before:1")
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makeconftest(
        f"""{DECLARED}
@history_backend("raising", server="kafka")
def raising(session_id):
    raise RuntimeError("cannot be opened")
"""
    )
    pytester.makepyfile(
        test_broken="this is not Python",
        test_interrupting="def test_it(): raise KeyboardInterrupt",
        test_failing="def test_it(): assert False",
        exploding="def pytest_collection(session): raise RuntimeError('a plugin of the test')",
    )
    result = run(MINE, *arguments, no_reraise_ctrlc=True)
    assert result.ret == status
    assert len(recorder.started) == 1
    assert recorder.running == []
    assert os.environ[VARIABLE] == "as-before:1"


def test_collect_only_starts_no_server(run: Run, recorder: RecordingLauncher) -> None:
    result = run(MINE, "--co", "-q")
    assert result.ret == pytest.ExitCode.OK
    assert recorder.asked == []


def test_an_unknown_node_id_starts_no_server(run: Run, recorder: RecordingLauncher) -> None:
    assert "has the node id 'mine::no.such'" in usage_error(run(MINE, "mine::no.such"))
    assert recorder.asked == []


def test_a_backend_without_a_server_starts_no_server(run: Run, recorder: RecordingLauncher) -> None:
    run("--history-backend=memory").assert_outcomes(passed=6)
    assert recorder.asked == []


def test_a_server_that_cannot_be_started_is_a_usage_error(
    run: Run, recorder: RecordingLauncher
) -> None:
    recorder.trouble = ServerError("no kafka server can be had here:\n  do this or that")
    result = run(MINE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: no kafka server can be had here:", "  do this or that"])
    assert VARIABLE not in os.environ


def test_the_options_reach_the_ladder(
    run: Run, recorder: RecordingLauncher, pytester: pytest.Pytester
) -> None:
    Path("secrets.toml").write_text('[kafka]\n"sasl.password" = "hush"\n', encoding="utf-8")
    pytester.makeini("[pytest]\nhistory_server = jvm\n")
    result = run(MINE, "--history-offline", "--history-server-config=secrets.toml")
    assert result.ret == pytest.ExitCode.OK
    assert recorder.asked == [("kafka", Choice("", "jvm"), True, {"sasl.password": "hush"})]
    assert "hush" not in result.stdout.str() + result.stderr.str()
    run(MINE, "--history-server=container", "--history-server=kafka=mock")
    assert recorder.asked[1:] == [("kafka", Choice("kafka", "mock"), False, {})]


def test_factories_get_client_settings_during_the_run_only(
    run: Run, recorder: RecordingLauncher, pytester: pytest.Pytester
) -> None:
    Path("client.toml").write_text("[kafka]\nacks = 'all'\n", encoding="utf-8")
    pytester.makeconftest(
        DECLARED.replace(
            "    return",
            "    from chat_history_conformance.servers import settings\n"
            "    assert settings('kafka') == {'acks': 'all'}\n"
            "    return",
        )
    )
    run(MINE, "--history-server-config=client.toml").assert_outcomes(passed=6)
    assert servers.CONFIG_VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "The client settings in * cannot be read: *No such file*"),
        ("kafka = ", "The client settings in * cannot be read: Invalid value*"),
        ("kafka = 1", "*client.toml: [[]kafka[]] must be a table of client settings"),
    ],
)
def test_client_settings_that_cannot_be_read_are_a_usage_error(
    text: str | None, error: str, run: Run, recorder: RecordingLauncher
) -> None:
    if text is not None:
        Path("client.toml").write_text(text, encoding="utf-8")
    for backend in (MINE, "--history-backend=memory"):
        result = run(backend, "--history-server-config=client.toml")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {error}"])
    assert recorder.asked == []
    assert servers.CONFIG_VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("--history-server=kafak=jvm", "*'kafak'. Did you mean 'kafka'? The kinds are elastic*"),
        ("--history-server=somewhere", "*server 'somewhere' is not understood*"),
    ],
)
def test_an_unknown_kind_or_way_is_a_usage_error(
    argument: str, error: str, run: Run, recorder: RecordingLauncher
) -> None:
    result = run(MINE, argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {error}"])


@pytest.mark.parametrize(
    "argument",
    [
        "--history-server=jvm",
        "--history-server-config=client.toml",
        "--history-offline",
        "--history-faults",
    ],
)
def test_a_server_option_without_a_backend_is_a_usage_error(argument: str, run: Run) -> None:
    result = run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = argument.partition("=")[0]
    result.stderr.fnmatch_lines([f"ERROR: {name} does nothing without --history-backend=NAME*"])


def test_a_declared_unknown_kind_of_server_names_the_nearest_one(
    run: Run, recorder: RecordingLauncher, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(DECLARED.replace('server="kafka"', 'server="kafak"'))
    result = run(MINE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*unknown kind of server 'kafak' in server=.*Did you mean 'kafka'?*: elasticsearch, *"]
    )


def test_an_address_is_shown_without_its_user_and_password(
    run: Run, recorder: RecordingLauncher
) -> None:
    recorder.instead = lambda server: ForeignServer("address", f"x://me:hush@{server.address}")
    result = run(MINE, "-k", "nothing")
    address = recorder.started[0].address
    result.stdout.fnmatch_lines([f"kafka: 1 (address) at x://{address}"])
    assert "hush" not in result.stdout.str() + result.stderr.str()


# -- servers of the run and other servers ----------------------------------------------------------


def test_data_on_a_server_of_the_run_is_disposable(
    run: Run, recorder: RecordingLauncher, small_catalogue: dict[str, Contract]
) -> None:
    only(small_catalogue, "isolation.empty_id")
    run(MINE).assert_outcomes(passed=2)
    recorder.instead = lambda server: ForeignServer("address", server.address)
    result = run(MINE)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*not applicable: 2 contracts: such ids could belong to*"])


def test_a_mock_server_makes_the_verdict_incomplete_with_the_reason(
    run: Run, recorder: RecordingLauncher
) -> None:
    recorder.instead = lambda server: ForeignServer("mock", server.address)
    result = run(MINE, "--history-report=report.json", "--history-report=report.md")
    assert result.ret == pytest.ExitCode.OK
    line = "INCOMPLETE (a mock server gives no verdict): 6 of 6 contracts exercised"
    result.stdout.fnmatch_lines([f"mine: {line}"])
    (backend,) = json.loads(Path("report.json").read_text("utf-8"))["backends"]
    assert (backend["verdict"], backend["unsettled"]) == (
        "incomplete",
        "a mock server gives no verdict",
    )
    assert "a mock server gives no verdict" in Path("report.md").read_text("utf-8")
    assert run(MINE, "--history-require-verdict").ret == pytest.ExitCode.TESTS_FAILED


# -- faults ----------------------------------------------------------------------------------------


def not_applicable(result: pytest.RunResult) -> str:
    (line,) = [
        line for line in result.outlines if "not applicable: " in line and "SKIP" not in line
    ]
    return line.partition("contracts: ")[2]


@pytest.mark.parametrize(
    ("way", "arguments", "reason"),
    [
        (
            "process",
            [],
            "fault contracts pause, kill and restart the server: give --history-faults",
        ),
        (
            "address",
            ["--history-faults"],
            "the run did not start this server (way: address), so it does not stop it",
        ),
        (
            "mock",
            ["--history-faults"],
            "the run did not start this server (way: mock), so it does not stop it",
        ),
    ],
)
def test_fault_contracts_without_faults_are_not_applicable_with_the_reason(
    way: str,
    arguments: list[str],
    reason: str,
    run: Run,
    recorder: RecordingLauncher,
    small_catalogue: dict[str, Contract],
) -> None:
    only(small_catalogue, "faults.killed_server_keeps_acknowledged")
    if way != "process":
        recorder.instead = lambda server: ForeignServer(way, server.address)
    result = run(MINE, *arguments)
    result.assert_outcomes(skipped=2)
    assert not_applicable(result) == reason


def test_fault_contracts_are_not_applicable_without_a_server(
    run: Run, small_catalogue: dict[str, Contract]
) -> None:
    only(small_catalogue, "faults.paused_server", "faults.unreachable_raises")
    result = run("--history-backend=sqlite", "--history-faults")
    result.assert_outcomes(skipped=4)
    assert not_applicable(result) == "the history has no server"


def test_a_run_without_an_applicable_contract_ends_as_other_incomplete_runs(
    run: Run, small_catalogue: dict[str, Contract]
) -> None:
    only(small_catalogue, "faults.paused_server", "faults.unreachable_raises")
    chosen = ["--history-backend=sqlite", "--history-faults"]
    result = run(*chosen)
    assert result.ret == pytest.ExitCode.OK
    assert any(line.startswith("sqlite: INCOMPLETE: 0 of 4 ") for line in result.outlines)
    assert run(*chosen, "--history-require-verdict").ret == pytest.ExitCode.TESTS_FAILED
    assert run(*chosen, "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_faults_kill_and_restart_the_server(
    run: Run, recorder: RecordingLauncher, small_catalogue: dict[str, Contract]
) -> None:
    only(small_catalogue, "faults.killed_server_keeps_acknowledged", "ordering.within_batch")
    run(MINE, "--history-faults").assert_outcomes(passed=5)
    assert len(recorder.started) == 1


def test_a_history_that_loses_acknowledged_messages_is_found(
    run: Run,
    recorder: RecordingLauncher,
    small_catalogue: dict[str, Contract],
    pytester: pytest.Pytester,
) -> None:
    only(small_catalogue, "faults.killed_server_keeps_acknowledged")
    pytester.makeconftest(
        """
        import uuid
        from chat_history_conformance import history_backend
        from chat_history_conformance.faulty.served import ServedChatMessageHistory
        from chat_history_conformance.servers import address

        class Mine(ServedChatMessageHistory):
            def _append(self, texts):
                identifier = uuid.uuid4().hex
                request = {"do": "append", "texts": texts, "identifier": identifier, "lazily": True}
                self._ask(request, 2.0)

        @history_backend("mine", server="kafka")
        def mine(session_id):
            return Mine(session_id, address("kafka"))
        """
    )
    result = run(MINE, "--history-faults", "-k", "sync and not async")
    result.assert_outcomes(failed=1, deselected=1)
    output = result.stdout.str()
    for line in (
        "lost 4 of 4 messages",
        "the server is killed",
        "please('kill the server', 'HISTORY_KAFKA')",
    ):
        assert line in output
    assert "os.environ[variable]" in output


@pytest.mark.parametrize("value", ["address('kafka')", "{'at': [f'x@{address(\"kafka\")}/0']}"])
def test_a_fixture_with_the_address_of_the_server_is_refused(
    run: Run, recorder: RecordingLauncher, pytester: pytest.Pytester, value: str
) -> None:
    pytester.makeconftest(
        f"""
        import pytest
        from chat_history_conformance import history_backend
        from chat_history_conformance.servers import address
        from histories import Mine

        @pytest.fixture(scope="session")
        def where():
            return {value}

        @history_backend("mine", server="kafka")
        def mine(session_id, where):
            return Mine(session_id)
        """
    )
    text = usage_error(run(MINE))
    assert "the value of 'where' contains the address of the server, and contracts" in text
    assert "Call address('kafka') in the function" in text


def test_a_server_that_disappears_makes_the_verdict_incomplete(
    run: Run, recorder: RecordingLauncher, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(
        DECLARED.replace(
            "    return",
            "    if opened:\n        opened.pop().kill()\n    return",
        ).replace("@history", "opened = []\n\n@history")
        + "\ndef pytest_collection_finish(session):\n"
        "    run = session.config.pluginmanager.get_plugin('history-contracts')\n"
        "    opened.append(run.servers.running['kafka'])\n"
    )
    result = run(MINE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["mine: INCOMPLETE: 0 of 6 contracts exercised, 6 errors"])


# -- several processes -----------------------------------------------------------------------------


STARTING = """
from pathlib import Path
from chat_history_conformance.faulty import served
from chat_history_conformance.servers import launcher

def start(kind, way, **others):
    server = served.start()
    with Path("started.txt").open("a") as file:
        print(server.address, file=file)
    return server

launcher.start = start
"""


def test_the_xdist_controller_starts_the_server_for_its_workers(
    run_apart: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    pytester.makeconftest(STARTING + DECLARED)
    result = run_apart("-n2", MINE)
    result.assert_outcomes(passed=6)
    (address,) = Path("started.txt").read_text("utf-8").split()
    result.stdout.fnmatch_lines([f"kafka: 1 (process) at {address}", "mine: CONFORMANT: 6 of 6 *"])
    assert not listens(address)


def test_xdist_workers_know_that_the_run_started_the_server(
    run_apart: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    pytester.makeconftest(
        f"{STARTING}{DECLARED}"
        "\ndef pytest_collection_finish(session):\n"
        "    if hasattr(session.config, 'workerinput'):\n"
        "        run = session.config.pluginmanager.get_plugin('history-contracts')\n"
        "        subject = run.subject(run.backends['mine'])\n"
        "        assert subject.disposable and not subject.server\n"
        "        Path(f'seen-{session.config.workerinput[\"workerid\"]}').touch()\n"
    )
    run_apart("-n2", MINE, "-k", "within_batch").assert_outcomes(passed=3)
    assert len(list(pytester.path.glob("seen-gw*"))) == 2


def test_faults_with_xdist_workers_are_a_usage_error(
    run_apart: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(STARTING + DECLARED)
    result = run_apart("-n2", MINE, "--history-faults")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --history-faults cannot be combined with pytest-xdist's *"]
    )
    assert not Path("started.txt").exists()


# -- a real server ---------------------------------------------------------------------------------


def test_a_real_broker_serves_all_workers_and_is_stopped(
    run_apart: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    result = run_apart("-n2", "--history-backend=kafka", "--history-server=kafka=jvm")
    result.assert_outcomes(passed=6)
    (line,) = [line for line in result.outlines if line.startswith("kafka: ") and " at " in line]
    assert "(jvm)" in line
    assert not listens(line.rpartition(" at ")[2])
    verdict = "kafka: CONFORMANT (without fresh_reads, ttl_per_handle): 6 of 6 contracts exercised"
    assert verdict in result.outlines
