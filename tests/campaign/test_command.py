"""The command `history-conformance campaign`: its refusals, which come before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_history_conformance.campaign import run
from chat_history_conformance.campaign.server import serving
from chat_history_conformance.campaign.server.faults import FAULTS
from chat_history_conformance.cli.main import main
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.origin import Origin


@pytest.fixture(autouse=True)
def _start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HISTORY_KAFKA", raising=False)
    monkeypatch.delenv("HISTORY_ELASTICSEARCH", raising=False)

    def started(*_: object, **__: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr("chat_history_conformance.servers.launcher.start", started)


def _refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["campaign", *arguments]) == 2
    return capsys.readouterr().err


def test_help_lists_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["campaign", "--help"])
    shown = "".join(capsys.readouterr().out.split())
    assert all(name in shown for name in FAULTS)


def test_unknown_fault_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["campaign", "--backend", "kafka", "--faults", "kill,short-puase"])
    assert ended.value.code == 2
    assert "Did you mean 'short-pause'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--events", "0"],
        ["--nodes", "-1"],
        ["--limit", "0"],
        ["--duration", "nan"],
        ["--events", "3", "--duration", "5"],
    ],
)
def test_number_out_of_range_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["campaign", "--backend", "kafka", *arguments])
    assert ended.value.code == 2


def test_unknown_backend_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'kafka'?" in _refusal(["--backend", "kafak"], capsys)


def test_backend_without_a_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = _refusal(["--backend", "sqlite"], capsys)
    assert "declares no server" in text
    assert "server='elasticsearch' or 'kafka' or " in text


def test_backend_inside_a_function_is_refused() -> None:
    options = run.Options(Backend("inner", lambda session_id: None, server="kafka"))
    with pytest.raises(serving.Refused, match="Move it to module level"):
        run.run(options, print)


def test_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = _refusal(["--backend", "kafka", "--server", "kafka=broker:9092"], capsys)
    assert "did not start the server at broker:9092" in text
    assert "--server kafka=jvm" in text


def test_address_in_the_environment_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HISTORY_KAFKA", "broker:9092")
    assert "Unset HISTORY_KAFKA" in _refusal(["--backend", "kafka"], capsys)


def test_mock_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = _refusal(["--backend", "kafka", "--server", "mock"], capsys)
    assert "mock server cannot be killed" in text


def test_contradicting_numbers_of_nodes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = _refusal(["--backend", "kafka", "--server", "jvm:5", "--nodes", "3"], capsys)
    assert "contradict each other" in text


def test_number_of_nodes_that_no_cluster_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "odd number" in _refusal(["--backend", "kafka", "--nodes", "2"], capsys)


@pytest.mark.parametrize("capability", ["durable", "shared"])
def test_history_that_processes_cannot_share_is_refused(capability: str) -> None:
    backend = Backend("alone", print, Origin("builtins", "print"), lacks={capability: "by design"})
    with pytest.raises(serving.Refused, match=f"lacks '{capability}'"):
        run.run(run.Options(backend), print)


def test_cluster_in_a_container_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = _refusal(["--backend", "kafka", "--server", "container", "--nodes", "3"], capsys)
    assert "has one node" in text


@pytest.mark.parametrize("option", ["--json", "--html", "--md", "--keep"])
def test_file_that_cannot_be_written_is_refused(
    option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / f"report.{option[2:]}"
    text = _refusal(["--backend", "kafka", option, str(place)], capsys)
    assert f"{tmp_path / 'file'} is not a directory" in text


def test_file_of_another_format_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = _refusal(["--backend", "kafka", "--json", str(tmp_path / "a.html")], capsys)
    assert "must end in .json" in text


def test_directory_that_is_a_file_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    text = _refusal(["--backend", "kafka", "--output", str(tmp_path / "file")], capsys)
    assert "is not a directory" in text


def test_directory_without_rights_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    text = _refusal(["--backend", "kafka", "--json", str(tmp_path / "a.json")], capsys)
    assert "no right to write" in text


def test_server_of_an_undeclared_callable_is_named_by_the_option() -> None:
    backend = Backend("plain", print, Origin("builtins", "print"))
    assert serving.kind_of(backend, ["elasticsearch=jvm"]) == "elasticsearch"


@pytest.mark.parametrize(
    ("ways", "nodes", "way"),
    [
        ([], 1, "kafka=auto"),
        (["jvm"], 1, "kafka=jvm"),
        (["kafka=container"], 1, "kafka=container"),
        ([], 0, "kafka=auto"),
        ([], 3, "kafka=jvm:3"),
        (["jvm:3"], 0, "kafka=jvm:3"),
        (["kafka=jvm:3"], 3, "kafka=jvm:3"),
        (["kafka=jvm"], 3, "kafka=jvm:3"),
        (["elasticsearch=container"], 3, "kafka=jvm:3"),
    ],
)
def test_nodes_choose_the_way_of_the_server(ways: list[str], nodes: int, way: str) -> None:
    assert serving.way_of("kafka", ways, nodes) == way
