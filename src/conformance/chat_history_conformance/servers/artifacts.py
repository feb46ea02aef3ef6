"""The artifacts of a server: listed in a lock file, downloaded by jgo, verified, cached."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chat_history_conformance.servers import ServerError

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

__all__ = [
    "PROGRESS_SECONDS",
    "Lock",
    "Locked",
    "obtain",
]

PROGRESS_SECONDS = 2.0


@dataclass(frozen=True)
class Locked:
    """One artifact of a lock.

    Attributes:
        coordinate: `group:name:version`, or `group:name:version:packaging` if that is not `jar`.
        sha256: The checksum in hexadecimal.
        size: The size in bytes.
    """

    coordinate: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Lock:
    """The artifacts of a server.

    Attributes:
        kind: The kind of server.
        title: Its name and version.
        licence: Its licence.
        artifacts: The artifacts, in the order of the class path.
    """

    kind: str
    title: str
    licence: str
    artifacts: Sequence[Locked]

    @staticmethod
    def read(path: Path) -> Lock:
        """Read `# title: ...` and `# licence: ...`, then `coordinate sha256 size` a line."""
        header: dict[str, str] = {}
        artifacts = []
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("#"):
                name, _, value = line.removeprefix("#").partition(":")
                header[name.strip()] = value.strip()
            elif line:
                coordinate, sha256, size = line.split()
                artifacts.append(Locked(coordinate, sha256, int(size)))
        return Lock(path.stem, header["title"], header["licence"], artifacts)

    def summary(self, artifacts: Sequence[Locked]) -> str:
        """Describe some of its artifacts: `Apache Kafka 4.1.1, 46 jars, 43 MB, Apache-2.0`."""
        packagings = {_packaging(item) for item in artifacts}
        of_what = packagings.pop() if len(packagings) == 1 else "file"
        number = f"{len(artifacts)} {of_what}{'s' if len(artifacts) != 1 else ''}"
        size = sum(item.size for item in artifacts)
        return f"{self.title}, {number}, {_megabytes(size)}, {self.licence}"


def obtain(lock: Lock, announce: Callable[[str], None], *, offline: bool) -> list[Path]:
    """Return the files of a lock. Download missing ones and verify all of them.

    Args:
        lock: The lock.
        announce: Called with a line of text before a download and with its progress.
        offline: Download nothing.

    Raises:
        ServerError: A file is not available, or differs from the lock.
    """
    context = _context(lock.kind)
    wanted = [(item, _artifact(context, item)) for item in lock.artifacts]
    missing = [(item, artifact) for item, artifact in wanted if not _cached(artifact).exists()]
    if missing:
        summary = lock.summary([item for item, _ in missing])
        if offline:
            raise ServerError(
                f"Offline mode forbids this download: {summary}, into {context.repo_cache}"
            )
        announce(f"downloading {summary}, into {context.repo_cache}")
        _fetch(context, missing, announce)
    for item, artifact in wanted:
        _verify(item, _cached(artifact))
    return [_cached(artifact) for _, artifact in wanted]


def _context(extra: str) -> MavenContext:
    """Return the configuration of jgo: its cache, its repository and those of the user."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError:
        raise ServerError(
            "The package jgo, which downloads the server, is not installed: "
            f"pip install 'chat-history-conformance[{extra}]'"
        ) from None
    settings = GlobalSettings.load()
    context = MavenContext(repo_cache=settings.repo_cache)
    context.remote_repos.update(settings.repositories)
    return context


def _fetch(
    context: MavenContext,
    missing: Sequence[tuple[Locked, Artifact]],
    announce: Callable[[str], None],
) -> None:
    """Download into a temporary directory and move each verified file into the cache.

    No process ever sees half a file there, even if another run downloads it at the same time.
    """
    import requests
    from jgo.maven import MavenContext, PythonResolver

    context.repo_cache.mkdir(parents=True, exist_ok=True)
    total = sum(item.size for item, _ in missing)
    fetched, done, announced = 0, 0, time.monotonic()

    @contextmanager
    def following(name: str, size: int) -> Iterator[Callable[[int], None]]:
        def advance(by: int) -> None:
            nonlocal done, announced
            done += by
            if time.monotonic() - announced > PROGRESS_SECONDS:
                announced = time.monotonic()
                announce(
                    f"downloaded {fetched} of {len(missing)} files, "
                    f"{_megabytes(done)} of {_megabytes(total)}"
                )

        yield advance

    with tempfile.TemporaryDirectory(prefix=".history-", dir=context.repo_cache) as staging:
        staged = MavenContext(
            repo_cache=Path(staging),
            remote_repos=context.remote_repos,
            resolver=PythonResolver(progress_callback=following),
        )
        for item, artifact in missing:
            try:
                arrived = _artifact(staged, item).resolve()
            except (requests.RequestException, RuntimeError, OSError) as error:
                raise ServerError(
                    f"{item.coordinate} cannot be downloaded: {error}. If you use a mirror, "
                    "name it in the configuration of jgo. Without a network, fill its cache on "
                    "another machine."
                ) from error
            _verify(item, arrived)
            place = _cached(artifact)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(arrived, place)
            fetched += 1


def _verify(item: Locked, path: Path) -> None:
    """Raise an error and remove the file if it differs from the lock."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != item.sha256:
        size = path.stat().st_size
        path.unlink()
        raise ServerError(
            f"{item.coordinate} differs from the lock: {size} bytes with sha256 {actual} "
            f"instead of {item.size} bytes with {item.sha256}. It was at {path} and has been "
            "removed. The next run downloads it again."
        )


def _artifact(context: MavenContext, item: Locked) -> Artifact:
    group, name, version, *_ = item.coordinate.split(":")
    return context.project(group, name).at_version(version).artifact(packaging=_packaging(item))


def _packaging(item: Locked) -> str:
    return [*item.coordinate.split(":"), "jar"][3]


def _cached(artifact: Artifact) -> Path:
    path = artifact.cached_path
    assert path is not None  # every context that we make has a cache
    return path.absolute()  # a cache may have a relative path, and servers run in another directory


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB" if size >= 1_000_000 else f"{size / 1000:.0f} kB"
