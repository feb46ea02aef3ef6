"""Virtual environments for the two versions of a comparison, made by uv.

uv makes an environment from its cache in a few seconds, so none is kept after the run.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chat_history_conformance.bench.compare.versions import (
    Version,
    VersionError,
    copy_source,
    strip_logins,
)

__all__ = [
    "Conflict",
    "Environment",
    "Installer",
    "environment_without_python_paths",
    "pip_settings_for_uv",
    "run_command",
]

_SUITE = "chat-history-conformance"
_OUTPUT_LINES = 25


class Conflict(VersionError):
    """A version that cannot be installed with the packages that the other one got."""


@dataclass(frozen=True)
class Environment:
    """An installed version.

    Attributes:
        version: The version.
        home: The directory that holds the environment and the source.
        package: The normalized name of the compared distribution.
        versions: The version of each installed distribution, by normalized name.
        modules: The top-level modules of the compared distribution.
        project: The directory of the source, if it was built here.
    """

    version: Version
    home: Path
    package: str
    versions: Mapping[str, str]
    modules: Sequence[str]
    project: Path | None

    @property
    def python(self) -> Path:
        """The interpreter of the environment."""
        return _python_in(self.home / "venv")

    def directory(self, default: Path) -> Path | None:
        """Return the directory of the conftest.py and of modules that are not installed.

        Args:
            default: The directory for a version whose source is not here.

        Returns:
            The project's directory, or `default`. None if `default` has modules of the compared
            package, because Python would import those instead of the installed ones.
        """
        if self.project is not None:
            return self.project
        hiding = (
            path for name in self.modules for path in (default / name, default / f"{name}.py")
        )
        return None if any(path.exists() for path in hiding) else default

    @property
    def package_version(self) -> str:
        """The version number of the compared distribution."""
        return self.versions[self.package]

    @property
    def pins(self) -> tuple[str, ...]:
        """All other distributions, as constraints for the other version."""
        return tuple(
            f"{name}=={version}"
            for name, version in sorted(self.versions.items())
            if name != self.package
        )


@dataclass(frozen=True)
class Installer:
    """Installs versions into environments.

    Attributes:
        directory: A directory that the run removes at its end.
        announce: Prints a line of progress.
        python: The interpreter of the environments.
        backends: The backends to measure. An extra with the name of one is installed.
        extras: The extras to install. Empty for those that `backends` suggest.
        requirements: Requirements to install next to each version.
        cache: uv's cache. None for uv's default.
        offline: Whether to download nothing.
    """

    directory: Path
    announce: Callable[[str], None]
    python: str = sys.executable
    backends: Sequence[str] = ()
    extras: Sequence[str] = ()
    requirements: Sequence[str] = ()
    cache: Path | None = None
    offline: bool = False

    def install_both(self, base: Version, head: Version) -> tuple[Environment, Environment]:
        """Install both versions, with the same versions of all other packages if possible.

        Raises:
            VersionError: One cannot be installed. The text holds uv's output.
        """
        first = self.install(base, "base")
        try:
            return first, self.install(head, "head", first.pins)
        except Conflict:
            self.announce("head does not accept the package versions of base; trying without them")
        second = self.install(head, "head")
        try:
            return self.install(base, "base", second.pins), second
        except Conflict:
            self.announce("base does not accept those of head: other packages will differ too")
        return first, second

    def install(self, version: Version, role: str, pins: Sequence[str] = ()) -> Environment:
        """Install one version.

        Args:
            version: The version.
            role: `base` or `head`, for the announcement.
            pins: Constraints such as `name==version`.

        Raises:
            Conflict: It cannot be installed with these constraints.
            VersionError: It cannot be installed at all.
        """
        settings = pip_settings_for_uv()
        # uv does not read pip's configuration, so the user sees that we pass it on.
        note = f"; uv uses {', '.join(settings)} from pip's configuration" if settings else ""
        self.announce(f"installing {role}, {version.label}{note}")
        home = Path(tempfile.mkdtemp(prefix=f"{role}-", dir=self.directory))
        venv = home / "venv"
        self._uv("venv", "--python", self.python, str(venv))
        requirement, project = self._requirement(version, home)
        constraints = home / "constraints.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in pins), "utf-8")
        python = _python_in(venv)
        # Compiled now, or the first process of a comparison would do it and the second would not.
        options = ["--compile-bytecode", "--python", str(python), "-c", str(constraints)]
        wanted = [str(requirement), *_suite_requirements(), *self.requirements]
        try:
            self._uv("pip", "install", *options, *wanted)
        except VersionError as error:
            raise (Conflict(str(error)) if pins else error) from None
        package = canonicalize_name(requirement.name)
        versions, modules = _installed(python, package)
        return Environment(version, home, package, versions, modules, project)

    def _requirement(self, version: Version, home: Path) -> tuple[Requirement, Path | None]:
        """Return the requirement to install, with its extras, and the source if there is any."""
        if version.kind == "pip":
            requirement = Requirement(version.target)
            requirement.extras.update(self.extras)
            return requirement, None
        project = None
        if version.target.endswith(".whl"):
            wheel = Path(version.target)
        else:
            project = copy_source(version, home / "source")
            wheel = self._build(project, home / "wheels")
        name, offered = _read_wheel(wheel)
        extras = list(self.extras) or [
            extra
            for extra in offered
            if any(f"{backend}-".startswith(f"{extra}-") for backend in self.backends)
        ]
        if unknown := sorted(set(extras) - set(offered)):
            raise VersionError(
                f"{version.asked} has no extra {', '.join(unknown)}. It offers "
                f"{', '.join(offered) or 'no extras'}."
            )
        return Requirement(f"{name}[{','.join(extras)}] @ {wheel.as_uri()}"), project

    def _build(self, project: Path, wheels: Path) -> Path:
        """Build the project's wheel, since that is what its users install."""
        self._uv("build", "--wheel", "--out-dir", str(wheels), str(project))
        (wheel,) = wheels.glob("*.whl")
        return wheel

    def _uv(self, *arguments: str) -> None:
        command = [_uv_program(), "--quiet", *arguments]
        variables = {**pip_settings_for_uv(), **environment_without_python_paths()}
        if self.offline:
            variables["UV_OFFLINE"] = "1"
        if self.cache is not None:
            variables["UV_CACHE_DIR"] = str(self.cache)
        try:
            done = run_command(command, variables, stderr=subprocess.STDOUT)
        except OSError as error:
            raise VersionError(f"{command[0]} cannot be run: {error.strerror}") from error
        if done.returncode:
            output = "\n".join(done.stdout.strip().splitlines()[-_OUTPUT_LINES:])
            hint = "\n(--offline forbids downloads)" if self.offline else ""
            raise VersionError(strip_logins(f"`{' '.join(command)}` failed:\n{output}{hint}"))


def _uv_program() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError):
        raise VersionError(
            f"uv, which installs the two versions, is not installed. Run: "
            f"pip install '{_SUITE}[benchmark]'"
        ) from None


_UV_VARIABLES = {
    "index-url": ("UV_DEFAULT_INDEX", " ", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", " ", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS", ",", ""),
    "trusted-host": ("UV_INSECURE_HOST", " ", ""),
    "cert": ("SSL_CERT_FILE", " ", ""),
}
"""For each setting of pip: uv's variable, the separator of its values, and its older name."""


@cache
def pip_settings_for_uv() -> Mapping[str, str]:
    """Return pip's settings of the package registry, as environment variables of uv.

    uv reads neither pip.conf nor PIP_INDEX_URL. A registry that is configured for pip would
    otherwise not be used. Variables that are already set for uv win over these.
    """
    settings: dict[str, str] = {}
    # As in pip: the section of the command wins over the global one, and the environment over both.
    found = _pip_configuration()
    for section in ("global", "install", ":env:"):
        for name, (variable, separator, older) in _UV_VARIABLES.items():
            values = found.get(f"{section}.{name}", "").split()
            if values and not os.environ.keys() & {variable, older}:
                settings[variable] = separator.join(values)
    if "UV_INDEX" in settings:
        # pip takes the best version of all indexes; by default uv stops at the first index.
        settings["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return settings


def _pip_configuration() -> dict[str, str]:
    """Return the lines of `pip config list`; empty if pip is not installed."""
    python = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["pip"]
    try:
        done = run_command([*python, "config", "list"], os.environ)
    except OSError:
        return {}
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {name: str(ast.literal_eval(value)) for name, _, value in pairs if value}


def run_command(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    seconds: float | None = None,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run a command. If this process is interrupted, kill it and wait for its end.

    Args:
        command: The program and its arguments.
        environment: Its environment variables.
        seconds: The time limit. None for no limit.
        stderr: The destination of its standard error, as in `subprocess.Popen`.

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
            output, errors = process.communicate(timeout=seconds)
        except BaseException:
            process.kill()
            # After an interrupt, `subprocess.run` would wait for a moment only.
            process.wait()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def environment_without_python_paths() -> dict[str, str]:
    """Return the environment variables but those that lead another Python to our packages."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {name: value for name, value in os.environ.items() if name not in misleading}


def _python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _suite_requirements() -> list[str]:
    """Return the requirements of the suite, which measures inside the environments."""
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires(_SUITE) or []]
    except importlib.metadata.PackageNotFoundError:
        raise VersionError(f"{_SUITE} is not installed. Run: pip install {_SUITE}") from None
    return [
        f"{needed.name}{needed.specifier}"
        for needed in requirements
        if needed.marker is None or needed.marker.evaluate({"extra": ""})
    ]


def _read_wheel(wheel: Path) -> tuple[str, list[str]]:
    """Return the name of a wheel's distribution, and the extras that it offers."""
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
        raise VersionError(f"{wheel} cannot be read as a wheel: {error}") from error
    return metadata["Name"], metadata.get_all("Provides-Extra") or []


_LIST_INSTALLED = """
import importlib.metadata as metadata, json, sys
files = metadata.distribution(sys.argv[1]).files or []
tops = {file.parts[0] for file in files if file.suffix == ".py" and ".." not in file.parts}
found = [[each.name, each.version] for each in metadata.distributions()]
print(json.dumps([found, sorted(top.removesuffix(".py") for top in tops)]))
"""


def _installed(python: Path, package: str) -> tuple[dict[str, str], list[str]]:
    """Return the version of each distribution, and the modules of one."""
    command = [str(python), "-I", "-c", _LIST_INSTALLED, package]
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise VersionError(f"{python} cannot be run as a Python: {error}") from error
    found, modules = json.loads(done.stdout)
    return {canonicalize_name(name): version for name, version in found}, modules
