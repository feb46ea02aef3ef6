"""The names that the wheel installs, and projects that use similar names themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import uv

ROOT = Path(__file__).parents[2]
OURS = {"chat_history_backends", "chat_history_conformance"}
BUILD_SECONDS = 180.0
LAUNCHER = "import sys\nfrom pytest import console_main\nsys.exit(console_main())\n"
"""The text that pip writes into the `pytest` command, after its first line."""

FAST = ("-p", "no:langsmith_plugin", "-p", "no:anyio", "-p", "no:cacheprovider")
ONE = "memory::ordering.within_batch[sync]"

MINE = """
STORE = {}


class Mine:
    def __init__(self, session_id):
        self.stored = STORE.setdefault(session_id, [])

    @property
    def messages(self):
        return list(self.stored)

    def add_messages(self, messages):
        self.stored.extend(messages)

    def clear(self):
        self.stored.clear()
"""


class Installation(NamedTuple):
    """An environment in which the wheel of this project is installed."""

    wheel: Path
    python: Path
    pytest: Path


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Build the wheel and install it, once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    place = base / "installation"
    bin_directory = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    try:
        place.mkdir()
    except FileExistsError:  # another worker builds
        wait_for(place / "ready")
    else:
        install(place, bin_directory)
        (place / "ready").touch()
    (wheel,) = place.glob("*.whl")
    return Installation(wheel, bin_directory / "python", bin_directory / "pytest")


def wait_for(file: Path) -> None:
    until = time.monotonic() + BUILD_SECONDS
    while not file.exists():
        assert time.monotonic() < until, "the other worker did not install the wheel"
        time.sleep(0.1)


def install(place: Path, bin_directory: Path) -> None:
    """Install the wheel without its dependencies, which come from this environment."""
    program = uv.find_uv_bin()

    def run_uv(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True, timeout=BUILD_SECONDS)

    run_uv("build", "--quiet", "--wheel", "--out-dir", str(place), str(ROOT))
    run_uv("venv", "--quiet", "--python", sys.executable, str(place / "venv"))
    python = bin_directory / "python"
    (wheel,) = place.glob("*.whl")
    run_uv("pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel))
    command = [str(python), "-c", "import site; print(site.getsitepackages()[0])"]
    packages = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    # A .pth file adds directories, but does not read the .pth file of an editable install in them.
    ours = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    Path(packages, "dependencies.pth").write_text("\n".join(ours))
    launcher = bin_directory / "pytest"
    launcher.write_text(f"#!{python}\n{LAUNCHER}")
    launcher.chmod(0o755)


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(installation: Installation, tmp_path: Path) -> Command:
    """Return a function that runs a program of the installation in an empty repository."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "PYTHON", "HISTORY_", "COV_", "VIRTUAL_ENV"))
    }

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            list(map(str, arguments)),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        print(ended.stdout)
        print(ended.stderr, file=sys.stderr)
        return ended

    return run


def write(root: Path, files: dict[str, str]) -> None:
    """Write a repository of the given files."""
    for name, text in files.items():
        root.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        root.joinpath(name).write_text(text, encoding="utf-8")


def passes(ended: subprocess.CompletedProcess[str], count: int) -> None:
    """Check that `count` tests passed and that the command succeeded."""
    assert f"{count} passed" in ended.stdout
    assert ended.returncode == 0


# -- similar names in the user's repository --------------------------------------------------------


def test_a_root_package_called_conformance_is_importable(
    command: Command, installation: Installation, tmp_path: Path
) -> None:
    write(
        tmp_path,
        {
            "conformance/__init__.py": "",
            "conformance/rules.py": "OWNER = 'the user'\n",
            "test_rules.py": (
                "from conformance.rules import OWNER\n\n"
                "def test_owner():\n    assert OWNER == 'the user'\n"
            ),
        },
    )
    as_module = (installation.python, "-m", "pytest", *FAST)
    passes(command(*as_module), 1)
    passes(command(*as_module, "--history-backend=memory", "test_rules.py", ONE), 2)


def test_test_packages_called_conformance_and_backends_are_collected(
    command: Command, installation: Installation, tmp_path: Path
) -> None:
    write(
        tmp_path,
        {
            "tests/conformance/__init__.py": "",
            "tests/conformance/test_rules.py": "def test_rules(): pass\n",
            "tests/backends/__init__.py": "",
            "tests/backends/test_stores.py": "def test_stores(): pass\n",
        },
    )
    passes(command(installation.pytest, *FAST), 2)
    passes(command(installation.pytest, *FAST, "--history-backend=memory", "tests", ONE), 3)


def test_an_own_package_called_backends_can_be_used_next_to_ours(
    command: Command, installation: Installation, tmp_path: Path
) -> None:
    write(
        tmp_path,
        {
            "backends/__init__.py": "",
            "backends/mine.py": MINE,
            "test_both.py": (
                "from backends.mine import Mine\n"
                "from chat_history_backends.sqlite import SQLiteChatMessageHistory\n\n"
                "def test_both(tmp_path):\n"
                "    Mine('s').add_messages([])\n"
                "    with SQLiteChatMessageHistory('s', str(tmp_path / 'h.sqlite3')) as history:\n"
                "        assert history.messages == []\n"
            ),
        },
    )
    passes(command(installation.pytest, *FAST), 1)
    passes(command(installation.python, "-m", "pytest", *FAST), 1)


@pytest.mark.parametrize("as_module", [False, True], ids=["pytest", "python -m pytest"])
def test_an_own_package_called_backends_can_be_tested(
    command: Command, installation: Installation, tmp_path: Path, as_module: bool
) -> None:
    write(
        tmp_path,
        {
            "services/api/app.py": "",
            "backends/__init__.py": "",
            "backends/mine.py": MINE,
            "backends/sqlite.py": "raise ImportError('this is not the reference backend')\n",
        },
    )
    pytest_command = (installation.python, "-m", "pytest") if as_module else (installation.pytest,)
    arguments = ["--history-backend=backends.mine:Mine", "--history-backend=sqlite"]
    arguments += ["backends.mine:Mine::ordering.within_batch[sync]"]
    arguments += ["sqlite::ordering.within_batch[sync]"]
    passes(command(*pytest_command, *FAST, *arguments), 2)


# -- the wheel -------------------------------------------------------------------------------------


def test_the_wheel_contains_two_packages_and_its_metadata(installation: Installation) -> None:
    with zipfile.ZipFile(installation.wheel) as wheel:
        names = wheel.namelist()
    top_level = {name.partition("/")[0] for name in names}
    assert {name for name in top_level if not name.endswith(".dist-info")} == OURS
    assert len(top_level) == 3
    assert "chat_history_conformance/plugin.py" in names


def test_importing_installs_no_import_hook(command: Command, installation: Installation) -> None:
    script = """
import sys
import chat_history_conformance.plugin
import chat_history_backends.registered

hooks = [*sys.meta_path, *sys.path_hooks]
owners = {getattr(hook, "__module__", type(hook).__module__) for hook in hooks}
print(sorted(owner for owner in owners if owner.startswith("chat_history_")))
"""
    assert command(installation.python, "-c", script).stdout == "[]\n"


def test_the_package_runs_as_a_program(command: Command, installation: Installation) -> None:
    ended = command(installation.python, "-m", "chat_history_conformance", "--version")
    assert ended.returncode == 0
    version = installation.wheel.name.split("-")[1]
    assert version in ended.stdout


def test_a_reference_backend_does_not_import_the_suite(
    command: Command, installation: Installation
) -> None:
    script = (
        "import sys, chat_history_backends.{}; print('chat_history_conformance' in sys.modules)"
    )
    for name in ("memory", "sqlite"):
        assert command(installation.python, "-c", script.format(name)).stdout == "False\n"


def test_pytest_imports_one_module_of_ours_without_a_backend(
    command: Command, installation: Installation, tmp_path: Path
) -> None:
    write(
        tmp_path,
        {
            "test_modules.py": (
                "import sys\n\n"
                "def test_modules():\n"
                "    ours = [name for name in sys.modules if name.startswith('chat_history_')]\n"
                "    first, second = sorted(ours)\n"
                "    assert first == 'chat_history_conformance'\n"
                "    assert second == 'chat_history_conformance.plugin'\n"
            )
        },
    )
    passes(command(installation.pytest, *FAST), 1)
