"""A virtual environment for each side of a comparison: made by uv or by venv and pip, and kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chat_history_conformance.bench.compare.versions import (
    Side,
    SideError,
    export,
    without_passwords,
)

_LAYOUT = 1
"""Of what is kept; environments of another layout are not found any more."""

_SUITE = "chat-history-conformance"
_KNOWN = "environment.json"
_LINES_OF_OUTPUT = 25


@dataclass(frozen=True)
class Environment:
    """A side, installed.

    Attributes:
        side: Which.
        home: The directory that holds all of it.
        package: The name of the distribution that is compared, normalized.
        versions: Version of each distribution that is installed, by normalized name.
        modules: What is imported of the compared distribution, by its names at the top.
        project: Where its source is in `home`, if it was built here.
    """

    side: Side
    home: Path
    package: str
    versions: Mapping[str, str]
    modules: Sequence[str]
    project: str | None

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return _python_in(self.home / "venv")

    def directory(self, otherwise: Path) -> Path | None:
        """Where a conftest.py may declare the backend, and modules lie that are not installed.

        Args:
            otherwise: The directory for a side whose source is not here. It is left out where it
                holds the compared package too: that would be imported, and not what is installed.
        """
        if self.project is not None:
            return self.home / self.project
        hiding = (
            path for name in self.modules for path in (otherwise / name, otherwise / f"{name}.py")
        )
        return None if any(path.exists() for path in hiding) else otherwise

    @property
    def version(self) -> str:
        """The version of the compared distribution."""
        return self.versions[self.package]

    @property
    def pins(self) -> tuple[str, ...]:
        """Every other distribution as a constraint for the other side."""
        return tuple(
            f"{name}=={version}"
            for name, version in sorted(self.versions.items())
            if name != self.package
        )


@dataclass(frozen=True)
class Maker:
    """Makes environments.

    Attributes:
        workplace: A directory of this run, for what is not kept.
        cache: Where commits and fixed requirements are kept; made where it is missing.
        announce: Told what is being done, a line each.
        python: The interpreter that the environments are of.
        backends: What will be measured; an extra that is called like one is installed with it.
        extras: Extras to install; empty for those that `backends` suggest.
        beside: Requirements to install on both sides.
        offline: Download nothing.
    """

    workplace: Path
    cache: Path
    announce: Callable[[str], None]
    python: str = sys.executable
    backends: Sequence[str] = ()
    extras: Sequence[str] = ()
    beside: Sequence[str] = ()
    offline: bool = False

    def both(self, base: Side, head: Side) -> tuple[Environment, Environment]:
        """Both sides, with one version of everything else as far as the two agree on any.

        Raises:
            SideError: One cannot be installed; the text holds what the installer said.
        """
        first = self.make(base, "base", ())
        try:
            return first, self.make(head, "head", first.pins)
        except Conflict:
            self.announce("head does not take the versions that base got; trying it without them")
        second = self.make(head, "head", ())
        try:
            return self.make(base, "base", second.pins), second
        except Conflict:
            self.announce("nor the other way round: the sides will differ in more than themselves")
        return first, second

    def make(self, side: Side, role: str, pins: Sequence[str]) -> Environment:
        """One side, from what is kept or anew.

        Args:
            side: Which.
            role: `base` or `head`, for what is announced.
            pins: Constraints, `name==version` each.

        Raises:
            Conflict: It cannot be installed under the constraints.
            SideError: It cannot be installed at all.
        """
        if not side.is_fixed:
            home = Path(tempfile.mkdtemp(prefix=f"{role}-", dir=self.workplace))
            self.announce(f"installing {role}, {side.label}")
            return self._install(side, home, pins)
        home = self.cache / self._key(side, pins)
        if not (home / _KNOWN).exists():
            self.announce(f"installing {role}, {side.label}, to be kept in {home}")
            with self._staging() as staging:
                self._install(side, staging, pins)
                try:
                    staging.rename(home)
                except OSError:
                    # Another run may have put it there meanwhile; otherwise it could not be.
                    if not (home / _KNOWN).exists():
                        raise
        return _recorded(side, home)

    def _key(self, side: Side, pins: Sequence[str]) -> str:
        made_of = [
            _LAYOUT,
            [side.kind, side.target, str(side.repository or ""), side.within],
            [_identity(self.python), sorted(self.extras), sorted(self.backends)],
            [sorted(self.beside), _needs_of_the_suite(), sorted(pins)],
        ]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:24]

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A directory beside what is kept, so that renaming it is one step; removed if it stays."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".making-", dir=self.cache))
        except OSError as error:
            raise SideError(
                f"nothing can be kept in {self.cache} ({error.strerror}): name another directory "
                "with --cache"
            ) from error
        try:
            yield staging
        finally:
            # What cannot be removed must not hide why it has to be.
            shutil.rmtree(staging, ignore_errors=True)

    def _install(self, side: Side, home: Path, pins: Sequence[str]) -> Environment:
        venv = home / "venv"
        if uv := _uv():
            self._run([uv, "venv", "--quiet", "--python", self.python, str(venv)])
        else:
            self._run([self.python, "-m", "venv", "--without-pip", str(venv)])
        wanted, project = self._wanted(side, home)
        constraints = home / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in pins), "utf-8")
        others = [*_needs_of_the_suite(), *self.beside]
        try:
            self._pip(venv, ["install", "-c", str(constraints), str(wanted), *others])
        except SideError as error:
            raise (Conflict(str(error)) if pins else error) from None
        package = canonicalize_name(wanted.name)
        versions, modules = _installed(_python_in(venv), package)
        known = {
            "package": package,
            "versions": versions,
            "modules": modules,
            "project": project and project.relative_to(home).as_posix(),
        }
        (home / _KNOWN).write_text(json.dumps(known, indent=1), "utf-8")
        return _recorded(side, home)

    def _wanted(self, side: Side, home: Path) -> tuple[Requirement, Path | None]:
        """What is to be installed of the side, with its extras, and its source if there is any."""
        if side.kind == "pip":
            requirement = Requirement(side.target)
            requirement.extras.update(self.extras)
            return requirement, None
        project = None
        if side.target.endswith(".whl"):
            wheel = Path(side.target)
        else:
            project = export(side, home / "source")
            wheel = self._build(project, home)
        name, offered = _metadata(wheel)
        extras = list(self.extras) or [
            extra
            for extra in offered
            if any(f"{backend}-".startswith(f"{extra}-") for backend in self.backends)
        ]
        if unknown := sorted(set(extras) - set(offered)):
            raise SideError(
                f"{side.asked} has no extra {', '.join(unknown)}; it offers "
                f"{', '.join(offered) or 'none'}"
            )
        return Requirement(f"{name}[{','.join(extras)}] @ {wheel.as_uri()}"), project

    def _build(self, project: Path, home: Path) -> Path:
        """The project as a wheel: installed as its users have it, and not to be edited."""
        wheels = home / "wheels"
        if uv := _uv():
            self._run([uv, "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(project)])
        else:
            self._pip(home / "venv", ["wheel", "--no-deps", "-w", str(wheels), str(project)])
        (wheel,) = wheels.glob("*.whl")
        return wheel

    def _pip(self, venv: Path, arguments: Sequence[str]) -> None:
        python = str(_python_in(venv))
        if uv := _uv():
            # As pip does by itself: what the first process compiles, the second would find.
            options = ["--quiet", "--compile-bytecode", "--python", python]
            self._run([uv, "pip", arguments[0], *options, *arguments[1:]])
        elif importlib.util.find_spec("pip") is not None:
            options = ["--quiet", "--no-input", "--disable-pip-version-check", "--python", python]
            self._run([sys.executable, "-m", "pip", *options, *arguments])
        else:
            raise SideError("neither uv nor pip is here to install the sides: pip install uv")

    def _run(self, command: Sequence[str]) -> None:
        offline = {"UV_OFFLINE": "1", "PIP_NO_INDEX": "1"} if self.offline else {}
        try:
            done = run_to_its_end(
                command, {**clean_environment(), **offline}, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise SideError(f"{command[0]} cannot be run: {error.strerror}") from error
        if done.returncode:
            said = "\n".join(done.stdout.strip().splitlines()[-_LINES_OF_OUTPUT:])
            hint = "\n(--offline let nothing be downloaded)" if self.offline else ""
            raise SideError(without_passwords(f"`{' '.join(command)}` failed:\n{said}{hint}"))


class Conflict(SideError):
    """A side cannot be installed under the constraints that it was given."""


def _uv() -> str | None:
    return shutil.which("uv")


def default_cache() -> Path:
    """The directory of this user's platform for what can be made again.

    Raises:
        SideError: The package that knows it is not installed.
    """
    try:
        from platformdirs import user_cache_path
    except ImportError:
        raise SideError(
            "the package platformdirs, which knows where this platform keeps caches, is not "
            f"installed: pip install '{_SUITE}[benchmark]', or name a directory with --cache"
        ) from None
    return user_cache_path(_SUITE, appauthor=False) / "sides"


def run_to_its_end(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float | None = None,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run a command; kill it where this process is interrupted, and be there when it has ended.

    Args:
        command: Program and arguments.
        environment: Its variables.
        seconds: How long it may take; None for any time.
        stderr: What becomes of what it writes there.

    Raises:
        OSError: It cannot be started.
        subprocess.TimeoutExpired: It took longer, and was killed.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
    ) as process:
        try:
            said, complained = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            # `subprocess.run` waits only for a moment where it was interrupted.
            process.wait()
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would lead another Python to our packages."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in misleading}


def _recorded(side: Side, home: Path) -> Environment:
    return Environment(side, home, **json.loads((home / _KNOWN).read_text("utf-8")))


def _python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _needs_of_the_suite() -> list[str]:
    """What the measuring suite itself imports, which a side need not depend on."""
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires(_SUITE) or []]
    except importlib.metadata.PackageNotFoundError:
        raise SideError(f"{_SUITE} has to be installed to compare: pip install {_SUITE}") from None
    return [
        f"{needed.name}{needed.specifier}"
        for needed in requirements
        if needed.marker is None or needed.marker.evaluate({"extra": ""})
    ]


def _metadata(wheel: Path) -> tuple[str, list[str]]:
    """The name of a wheel's distribution and the extras that it offers."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (inside,) = {
                name.partition("/")[0]
                for name in archive.namelist()
                if name.partition("/")[0].endswith(".dist-info")
            }
        found = importlib.metadata.PathDistribution(zipfile.Path(wheel, f"{inside}/"))
        metadata = found.metadata
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise SideError(f"{wheel} cannot be read as a wheel: {error}") from error
    return metadata["Name"], metadata.get_all("Provides-Extra") or []


def _identity(python: str) -> str:
    """Which Python it is, exactly."""
    return _asked(python, "import sys; print(sys.base_prefix, sys.version)")


_LIST = """
import importlib.metadata as metadata, json, sys
files = metadata.distribution(sys.argv[1]).files or []
tops = {file.parts[0] for file in files if file.suffix == ".py" and ".." not in file.parts}
found = [[each.name, each.version] for each in metadata.distributions()]
print(json.dumps([found, sorted(top.removesuffix(".py") for top in tops)]))
"""


def _installed(python: Path, package: str) -> tuple[dict[str, str], list[str]]:
    """Every distribution's version, and the modules of one."""
    found, modules = json.loads(_asked(str(python), _LIST, package))
    return {canonicalize_name(name): version for name, version in found}, modules


def _asked(python: str, program: str, *arguments: str) -> str:
    command = [python, "-I", "-c", program, *arguments]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SideError(f"{python} cannot be run as a Python: {error}") from error
