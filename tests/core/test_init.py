"""The command `init`: what it writes runs, and what exists stays."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from chat_history_conformance import history_backend
from chat_history_conformance.cli import init
from chat_history_conformance.cli.main import main
from tests.conftest import HISTORY, Run

WRITTEN = sorted((init.CONFTEST, init.WORKFLOW))


CLASSES = '''
class Chat(Mine):
    """Takes a session id alone."""


class Tail(Mine):
    def __init__(self, session_id, url="redis://localhost"):
        super().__init__(session_id)

    def last_messages(self, max_message_count):
        return self.messages[-max_message_count:]

    @classmethod
    def with_ttl(cls, session_id, ttl_ms):
        return cls(session_id)


class Table(Mine):
    def __init__(self, table: str, session_id: str, /, *, client: "Client", retries: int = 3):
        super().__init__(session_id)


class ByName(Mine):
    def __init__(self, url: str = "x", *, session_id: str):
        super().__init__(session_id)


class Later(Mine):
    def __init__(self, url: str = "x", session_id: str = ""):
        super().__init__(session_id)


class OnlyAsync:
    def __init__(self, session_id): ...
    async def aget_messages(self): ...
    async def aadd_messages(self, messages): ...
    async def aclear(self): ...


class OnlySync:
    messages = []
    def __init__(self, session_id): ...
    def add_messages(self, messages): ...
    def clear(self): ...


class Outer:
    Inner = Chat


def connect(client, conversation_id):
    return Chat(conversation_id)


def nothing(): ...


class Abstract(__import__("langchain_core.chat_history").chat_history.BaseChatMessageHistory):
    pass


class Plain: ...


THREE = 3
'''


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty project with a package and enter it."""
    package = tmp_path / "project" / "my_chat"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", "utf-8")
    (package / "store.py").write_text(HISTORY + CLASSES, "utf-8")
    (package / "broken.py").write_text("import no_such_module\n", "utf-8")
    (package / "exits.py").write_text("raise SystemExit(3)\n", "utf-8")
    monkeypatch.chdir(package.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_chat"]:
        monkeypatch.delitem(sys.modules, name)
    return package.parent


def files(project: Path) -> list[str]:
    """Return the files of a project, except those of its package."""
    paths = (path.relative_to(project) for path in project.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] != "my_chat")


def opening(project: Path) -> str:
    """Return the call in the written declaration."""
    tree = ast.parse((project / init.CONFTEST).read_text("utf-8"))
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    returned = function.body[0]
    assert isinstance(returned, ast.Return)
    assert returned.value is not None
    return ast.unparse(returned.value)


@pytest.mark.parametrize(
    ("attribute", "status", "verdict"),
    [("Tail", 0, "CONFORMANT: 6 of 6"), ("Backwards", 1, "NOT CONFORMANT: 6 of 6")],
)
def test_what_init_writes_gets_a_verdict(
    attribute: str, status: int, verdict: str, run_apart: Run, pytester: pytest.Pytester
) -> None:
    package = pytester.mkpydir("my_chat")
    (package / "store.py").write_text(HISTORY + CLASSES, "utf-8")
    command = ["-m", "chat_history_conformance", "init", f"my_chat.store:{attribute}"]
    printed = subprocess.check_output([sys.executable, *command], text=True, cwd=pytester.path)
    [check, badge] = re.findall(r"^    pytest (.*)$", printed, re.MULTILINE)
    assert badge.startswith(f"{check} ")
    run = run_apart(*badge.split(), "--history-require-verdict")
    assert run.ret == status
    assert run.outlines[-1].startswith(f"my-chat: {verdict}")
    [line] = re.findall(r"^    (\[!.*)$", printed, re.MULTILINE)
    assert f"({init.BADGE})" in line
    assert verdict.partition(":")[0].lower() in (pytester.path / init.BADGE).read_text("utf-8")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("from redis import Redis", "redis"),
        ("import asyncpg", "postgresql"),
        ("import json", "kafka"),
    ],
)
def test_the_declaration_names_the_server_whose_client_the_module_imports(
    project: Path, monkeypatch: pytest.MonkeyPatch, line: str, kind: str
) -> None:
    for name in ("redis", "asyncpg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (project / f"{name}.py").write_text("class Redis: ...\n", "utf-8")
    (project / "my_chat" / "served.py").write_text(f"{line}\n{HISTORY}", "utf-8")
    assert main(["init", "my_chat.served:Mine"]) == 0
    for name in ("redis", "asyncpg"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    text = (project / init.CONFTEST).read_text("utf-8")
    assert f'server="{kind}",' in text
    assert f'address("{kind}")' in text
    assert "or starts: elasticsearch, kafka, mongodb, postgresql, redis." in text


def test_the_written_job_runs_the_declared_history(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "pyproject.toml").write_text("", "utf-8")
    assert main(["init", "my_chat.store:Chat"]) == 0
    assert files(project) == sorted([*WRITTEN, "pyproject.toml"])
    job = yaml.safe_load((project / init.WORKFLOW).read_text("utf-8"))
    steps = [step["run"] for step in job["jobs"]["conformance"]["steps"] if "run" in step]
    assert re.fullmatch(r'pip install -e \. "chat-history-conformance~=\d+\.\d+\.0"', steps[0])
    assert "pytest --history-backend=my-chat --history-require-verdict" in steps[1]
    schema = "vendor.github-workflows"
    checked = ["check_jsonschema", "--builtin-schema", schema, str(project / init.WORKFLOW)]
    subprocess.run([sys.executable, "-m", *checked], check=True)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("Chat", "Chat(session_id)"),
        ("Tail", "Tail(session_id)"),
        ("Table", "Table(..., session_id, client=...)"),
        ("ByName", "ByName(session_id=session_id)"),
        ("Later", "Later(session_id=session_id)"),
        ("Outer.Inner", "Outer.Inner(session_id)"),
        ("connect", "connect(client=..., conversation_id=session_id)"),
    ],
)
def test_the_declaration_opens_the_history_with_its_arguments(
    attribute: str, expected: str, project: Path
) -> None:
    assert main(["init", f"my_chat.store:{attribute}"]) == 0
    assert opening(project) == expected


def test_arguments_without_a_default_are_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "my_chat.store:Table"]) == 0
    printed = capsys.readouterr().out
    assert "First give Table in conftest.py what it needs:\n    table: str\n    client: " in printed


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("OnlyAsync", 'lacks={"sync": "it has only asynchronous methods"},'),
        ("OnlySync", 'lacks={"async": "it has only synchronous methods"},'),
        ("Tail", "with_ttl=Tail.with_ttl,"),
        ("Chat", '# lacks={"durable": "kept in the memory of the process"},'),
    ],
)
def test_the_declaration_has_what_the_class_shows(
    attribute: str, expected: str, project: Path
) -> None:
    assert main(["init", f"my_chat.store:{attribute}"]) == 0
    text = (project / init.CONFTEST).read_text("utf-8")
    assert f"\n    {expected}\n" in text


def test_the_comments_name_arguments_that_exist(project: Path) -> None:
    assert main(["init", "my_chat.store:Chat"]) == 0
    text = (project / init.CONFTEST).read_text("utf-8")
    named = re.findall(r"^    # (\w+)=", text, re.MULTILINE)
    assert {"lacks", "server", "remove", "with_ttl"} <= set(named)
    known = inspect.signature(history_backend).parameters
    assert set(named) <= set(known)
    assert ("lifespan" in named) == ("lifespan" in known)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("my_chat.store.Chat", "Write it as my_chat.store:Chat."),
        ("my_chat/store.py:Chat", "Write it as PACKAGE.MODULE:CLASS."),
        ("no_such.store:Chat", "Install no_such, or run this command in the directory"),
        ("my_chat.stor:Chat", "No module named 'my_chat.stor'. Check the name of the module."),
        ("my_chat.broken:Chat", "No module named 'no_such_module'. Install what it needs."),
        ("my_chat.exits:Chat", "SystemExit: 3. Correct the module first."),
        ("my_chat.store:Chatt", "my_chat.store has no 'Chatt'. Did you mean 'Chat'?"),
        ("my_chat.store:Outer.Iner", "has no 'Outer.Iner'. Did you mean 'Inner'?"),
        ("my_chat.store:THREE", "is int 3, which cannot be called. Name a class"),
        ("my_chat.store:nothing", "nothing takes no argument"),
        ("my_chat.store:Plain", "no `add_messages` or no `clear`. Name a class that has them"),
        ("my_chat.store:Abstract", "Abstract has abstract methods and cannot be opened: clear."),
    ],
)
def test_a_wrong_history_is_refused_and_nothing_is_written(
    spec: str, expected: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = list(sys.path)
    assert main(["init", spec]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.endswith(" Nothing was written.\n")
    assert files(project) == []
    assert sys.path == path


@pytest.mark.parametrize("existing", WRITTEN)
def test_a_file_that_exists_is_named_and_nothing_is_written(
    existing: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / existing).parent.mkdir(parents=True, exist_ok=True)
    (project / existing).write_text("mine", "utf-8")
    assert main(["init", "my_chat.store:Chat"]) == 2
    assert f"{existing} exists. Nothing was written. Move" in capsys.readouterr().err
    assert files(project) == [existing]
    assert (project / existing).read_text("utf-8") == "mine"
    assert main(["init", "my_chat.store:Chat", "--output", "there"]) == 0
    assert files(project / "there") == WRITTEN


def test_the_name_can_be_given(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "my_chat.store:Chat", "--name", "a b"]) == 2
    assert "'a b' cannot be the name of a backend." in capsys.readouterr().err
    assert main(["init", "my_chat.store:Chat", "--name", "redis-chat"]) == 0
    assert '\n    "redis-chat",\n' in (project / init.CONFTEST).read_text("utf-8")
    assert "pytest --history-backend=redis-chat\n" in capsys.readouterr().out


def test_a_name_that_a_package_has_registered_is_not_taken(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "my_chat").rename(project / "memory")
    assert main(["init", "memory.store:Chat"]) == 0
    assert "pytest --history-backend=memory-history\n" in capsys.readouterr().out
