"""The recipes work: the files and commands of each section lead to the contracts' results."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_history_conformance.servers import ServerError, launcher
from tests.docs import shown

ROOT = Path(__file__).parents[2]
PACKAGES = Path(__file__).parent / "recipe_packages"
_PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"(?m)^## ", _PAGE)[1:])

SELECTED = {
    "Session ids that have to be UUIDs": (
        "mine::isolation.distinct_ids mine::isolation.uuid_spellings mine::reads.other_process"
    ),
    "Tables that have to be created first": (
        "mine::durability.new_process mine::concurrency.first_use"
    ),
    "One engine for the process": "mine::ordering.across_calls mine::reads.other_process",
    "asyncpg and event loops": "mine::parity.handle_per_loop mine::parity.tasks_on_each_loop",
    "A pool of asyncpg, and a table that is created once": (
        "mine::parity.handle_per_loop mine::ordering.across_calls mine::reads.other_process"
    ),
    "Secrets in the environment": "mine::ordering.within_batch",
    "A service that a run cannot start": "mine::ordering.across_calls",
    "A class with asynchronous methods only": (
        "mine::parity.async_methods mine::clear.empties mine::clear.every_handle"
    ),
    "A class with further arguments": ("mine::ordering.across_calls mine::durability.new_process"),
    "A repository with several packages": "first::clear.empties second::clear.empties",
    "Django": "mine::concurrency.threads_one_handle mine::parity mine::reads.other_process",
    "pytest -n auto": "mine::ordering.across_calls mine::clear.empties",
    "Coverage of second processes": "mine::durability.new_process",
}
"""The contracts that the declaration of each recipe is about. The pages run all contracts."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server, which runs as an unprivileged user."""
    try:
        server = launcher.start("postgresql", "auto", announce=print)
    except ServerError as error:
        pytest.skip(f"no PostgreSQL server: {error}")
    with server:
        yield server.address


def prepared(section: str, directory: Path) -> list[str]:
    """Write the files of a recipe and the packages of its reader, and return its commands."""
    shutil.copytree(PACKAGES, directory, dirs_exist_ok=True)
    shutil.copy(ROOT / "examples" / "minimal_history.py", directory)
    commands = []
    for language, text in shown.blocks(SECTIONS[section]):
        if language == "console":
            commands += [line.removeprefix("$ ") for line in text.splitlines()]
        else:
            path = directory / text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    assert commands
    return commands


def run_selected(section: str, directory: Path, **environment: str) -> tuple[int, str]:
    """Run the command of a recipe on the contracts that are selected.

    Returns:
        The exit status, and the output.
    """
    [command, *_] = prepared(section, directory)
    ended = shown.run(f"{command} {SELECTED[section]}", directory, **environment)
    print(ended.stdout)
    return ended.returncode, ended.stdout


def is_passed(status: int, output: str) -> bool:
    """Return whether contracts were exercised, and none has failed."""
    verdicts = re.findall(r"(?m)^\w+: INCOMPLETE.*?: ([1-9]\d*) of \d+ contracts exercised", output)
    return status == 0 and bool(verdicts)


def test_every_recipe_is_tested() -> None:
    assert list(SECTIONS) == list(SELECTED)


@pytest.mark.parametrize(
    "section",
    [
        "Session ids that have to be UUIDs",
        "Tables that have to be created first",
        "A class with asynchronous methods only",
        "A class with further arguments",
    ],
)
def test_a_recipe_without_a_server(section: str, tmp_path: Path) -> None:
    assert is_passed(*run_selected(section, tmp_path))


@pytest.mark.parametrize(
    "section",
    [
        "One engine for the process",
        "asyncpg and event loops",
        "A pool of asyncpg, and a table that is created once",
    ],
)
def test_a_recipe_on_postgresql(section: str, tmp_path: Path, postgresql: str) -> None:
    assert is_passed(*run_selected(section, tmp_path, HISTORY_POSTGRESQL=postgresql))


def test_one_asyncpg_engine_for_the_process_fails(tmp_path: Path, postgresql: str) -> None:
    section = "asyncpg and event loops"
    prepared(section, tmp_path)
    conftest = tmp_path / "conftest.py"
    text = conftest.read_text("utf-8").replace(
        "engine = create", "global ENGINE\n    engine = ENGINE = ENGINE or create"
    )
    conftest.write_text(
        "ENGINE = None\n" + text.replace("    await engine.dispose()\n", ""), "utf-8"
    )
    ended = shown.run(
        "pytest --history-backend=mine mine::parity.handle_per_loop",
        tmp_path,
        HISTORY_POSTGRESQL=postgresql,
    )
    assert ended.returncode == 1, ended.stdout
    assert "FAILED mine::parity.handle_per_loop[async]" in ended.stdout
    # asyncpg notices that two loops use a connection, or dies of it.
    assert re.search("attached to a different loop|died of SIGSEGV", ended.stdout)


def test_a_secret_of_the_environment_is_not_printed(tmp_path: Path) -> None:
    section = "Secrets in the environment"
    assert is_passed(*run_selected(section, tmp_path, CHAT_PASSWORD="correct-horse"))
    _, output = run_selected(section, tmp_path)
    assert (
        "ERROR: --history-backend=mine: opening a history raised KeyError: 'CHAT_PASSWORD'"
        in output
    )
    # A history that fails prints a script with the declaration.
    broken = tmp_path / "minimal_history.py"
    broken.write_text(broken.read_text("utf-8").replace("ORDER BY id", "ORDER BY id DESC"), "utf-8")
    ended = shown.run(
        "pytest --history-backend=mine mine::ordering.within_batch",
        tmp_path,
        CHAT_PASSWORD="correct-horse",
    )
    assert ended.returncode == 1
    assert 'password=os.environ["CHAT_PASSWORD"]' in ended.stdout
    assert "correct-horse" not in ended.stdout


def test_a_service_that_is_away_is_not_a_failure(tmp_path: Path, postgresql: str) -> None:
    section = "A service that a run cannot start"
    url = postgresql.replace("postgresql:", "postgresql+psycopg:")
    assert is_passed(*run_selected(section, tmp_path, CHAT_DATABASE=url))
    away = re.sub(r":\d+/", ":1/", url)
    status, output = run_selected(section, tmp_path, CHAT_DATABASE=away)
    assert status == 1
    assert "mine: INCOMPLETE (without async): 0 of" in output


def test_a_repository_with_several_packages(tmp_path: Path) -> None:
    section = "A repository with several packages"
    status, output = run_selected(section, tmp_path)
    assert is_passed(status, output)
    assert "first: INCOMPLETE" in output
    assert "second: INCOMPLETE (without sync)" in output


def test_django(tmp_path: Path) -> None:
    assert is_passed(*run_selected("Django", tmp_path))


def test_xdist(tmp_path: Path, postgresql: str) -> None:
    status, output = run_selected("pytest -n auto", tmp_path, HISTORY_POSTGRESQL=postgresql)
    assert is_passed(status, output)
    assert "workers" in output


def test_coverage_has_the_lines_of_second_processes(tmp_path: Path) -> None:
    section = "Coverage of second processes"
    first, *others = prepared(section, tmp_path)
    only = next(
        number
        for number, line in enumerate(
            (tmp_path / "mypackage/histories.py").read_text().splitlines(), 1
        )
        if "is_elsewhere" in line
    )
    ended = shown.run(f"{first} {SELECTED[section]}", tmp_path)
    assert ended.returncode == 0, ended.stdout
    for command in others:
        report = shown.run(command, tmp_path).stdout
    line = re.search(r"mypackage/histories.py .*", report)
    assert line, report
    assert str(only) not in line[0], report
