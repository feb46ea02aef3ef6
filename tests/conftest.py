"""Fixtures that run pytest inside pytest, on two contracts instead of the whole catalogue."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import Contract
from chat_history_conformance.declaration import registry
from chat_history_conformance.pytest_plugin import contracts as items

assert items  # loaded before an inner pytest takes a snapshot of sys.modules

# A busy machine exceeds the deadline of one example.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")

pytest_plugins = ["pytester", "tests.servers.kafka_broker", "tests.servers.elasticsearch_node"]

SMALL = ("ordering.within_batch", "ordering.across_calls")

HISTORY = '''
from langchain_core.messages import BaseMessage, HumanMessage

STORE = {}


class Mine:
    """A correct history in the memory of this process."""

    def __init__(self, session_id):
        self.session_id = session_id

    @property
    def messages(self):
        return list(STORE.get(self.session_id, []))

    def add_messages(self, messages):
        STORE.setdefault(self.session_id, []).extend(m.model_copy(deep=True) for m in messages)

    def clear(self):
        STORE.pop(self.session_id, None)

    async def aget_messages(self):
        return self.messages

    async def aadd_messages(self, messages):
        self.add_messages(messages)

    async def aclear(self):
        self.clear()


class Backwards(Mine):
    """Reads the newest message first."""

    @property
    def messages(self):
        return super().messages[::-1]


class Forgetful(Mine):
    """Keeps the first two messages of a batch."""

    def add_messages(self, messages):
        super().add_messages(messages[:2])
'''


def the_command() -> str:
    """Return the `pytest` command, which does not put the working directory on `sys.path`."""
    found = shutil.which("pytest", path=str(Path(sys.executable).parent))
    assert found is not None
    return found


Run = Callable[..., pytest.RunResult]


def start(*command: str) -> pytest.RunResult:
    """Run a command. Unlike `Pytester.run`, leave the working directory out of PYTHONPATH."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    print(ended.stdout)
    print(ended.stderr, file=sys.stderr)
    return pytest.RunResult(
        ended.returncode, ended.stdout.splitlines(), ended.stderr.splitlines(), 0.0
    )


@pytest.fixture
def small_catalogue(monkeypatch: pytest.MonkeyPatch) -> dict[str, Contract]:
    """Reduce the catalogue to two contracts in six modes. The test may change it."""
    small = {name: catalogue.load()[name] for name in SMALL}
    monkeypatch.setattr(catalogue, "load", lambda: small)
    return small


@pytest.fixture
def histories(pytester: pytest.Pytester) -> str:
    """Write a module of histories into the directory of the test; `histories:Mine` is correct."""
    pytester.makepyfile(histories=HISTORY)
    return "histories"


@pytest.fixture
def run(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    small_catalogue: dict[str, Contract],
    histories: str,
) -> Run:
    """Return a function that runs pytest in this process, on the small catalogue."""
    monkeypatch.delenv("CI", raising=False)
    # No history here delivers messages late, so there is nothing to wait for.
    monkeypatch.setattr("chat_history_conformance.execution.handle.STALE_WAIT", 0.0)
    before = dict(registry._declared)

    def run_pytest(*arguments: str, **keywords: object) -> pytest.RunResult:
        monkeypatch.setattr(registry, "_declared", dict(before))
        return pytester.runpytest_inprocess("-p", "no:asyncio", *arguments, **keywords)

    return run_pytest


@pytest.fixture
def run_apart(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, histories: str) -> Run:
    """Return a function that runs pytest in a new process, on the small catalogue.

    With `module=True` it runs `python -m pytest`, which puts the working directory on `sys.path`.
    Of the plugins that take long to load, it loads those in `plugins`.
    """
    monkeypatch.delenv("CI", raising=False)
    plugins = pytester.mkdir("plugins_of_the_test")
    plugins.joinpath("small_catalogue.py").write_text(
        textwrap.dedent(
            f"""
            from chat_history_conformance.contracts import catalogue

            whole = catalogue.load()
            catalogue.load = lambda: {{name: whole[name] for name in {SMALL!r}}}
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(plugins))

    def run_pytest(
        *arguments: str, module: bool = False, plugins: tuple[str, ...] = ()
    ) -> pytest.RunResult:
        command = [sys.executable, "-m", "pytest"] if module else [the_command()]
        slow_to_load = {"langsmith_plugin", "anyio", "asyncio"} - {*plugins}
        left_out = [part for name in sorted(slow_to_load) for part in ("-p", f"no:{name}")]
        return start(*command, *left_out, "-p", "small_catalogue", *arguments)

    return run_pytest
