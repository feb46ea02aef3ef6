"""The artifacts that make up a server: listed in a lock file, fetched by jgo, verified, cached."""

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

TELL_SECONDS = 2.0


@dataclass(frozen=True)
class Locked:
    """One artifact of a lock.

    Attributes:
        coordinate: `group:name:version`, or `group:name:version:packaging` where that is not `jar`.
        sha256: In hexadecimal.
        size: In bytes.
    """

    coordinate: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Lock:
    """What a server is made of.

    Attributes:
        kind: Of which kind of server.
        title: Its name and version.
        licence: Its terms.
        artifacts: In the order in which they are wanted.
    """

    kind: str
    title: str
    licence: str
    artifacts: Sequence[Locked]

    @staticmethod
    def read(path: Path) -> Lock:
        """Read `# title: ...` and `# licence: ...`, then `coordinate sha256 size` a line."""
        told: dict[str, str] = {}
        artifacts = []
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("#"):
                name, _, value = line.removeprefix("#").partition(":")
                told[name.strip()] = value.strip()
            elif line:
                coordinate, sha256, size = line.split()
                artifacts.append(Locked(coordinate, sha256, int(size)))
        return Lock(path.stem, told["title"], told["licence"], artifacts)

    def summary(self, artifacts: Sequence[Locked]) -> str:
        """Some of its artifacts for a reader: `Apache Kafka 4.1.1, 46 jars, 43 MB, Apache-2.0`."""
        packagings = {_packaging(item) for item in artifacts}
        of_what = packagings.pop() if len(packagings) == 1 else "file"
        number = f"{len(artifacts)} {of_what}{'s' if len(artifacts) != 1 else ''}"
        size = sum(item.size for item in artifacts)
        return f"{self.title}, {number}, {_megabytes(size)}, {self.licence}"


def obtain(lock: Lock, announce: Callable[[str], None], *, offline: bool) -> list[Path]:
    """The files of a lock, fetched where they are not cached, all verified.

    Args:
        lock: What is wanted.
        announce: Told what is going to be downloaded, and how far it is where that takes long.
        offline: Download nothing.

    Raises:
        ServerError: Something cannot be had, or is not what the lock says.
    """
    context = _context(lock.kind)
    wanted = [(item, _artifact(context, item)) for item in lock.artifacts]
    missing = [(item, artifact) for item, artifact in wanted if not _cached(artifact).exists()]
    if missing:
        summary = lock.summary([item for item, _ in missing])
        if offline:
            raise ServerError(
                f"it would have to be downloaded, which offline mode forbids: {summary}, into "
                f"{context.repo_cache}"
            )
        announce(f"downloading {summary}, into {context.repo_cache}")
        _fetch(context, missing, announce)
    for item, artifact in wanted:
        _verify(item, _cached(artifact))
    return [_cached(artifact) for _, artifact in wanted]


def _context(extra: str) -> MavenContext:
    """What jgo is configured to use: its cache, its repository and those that the user adds."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
    except ImportError:
        raise ServerError(
            "the package jgo, which downloads it, is not installed: "
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
    """Download into a directory of our own and move each file into the cache when it is verified.

    So nobody ever sees half a file there, another run that fetches the same at once included.
    """
    import requests
    from jgo.maven import MavenContext, PythonResolver

    context.repo_cache.mkdir(parents=True, exist_ok=True)
    total = sum(item.size for item, _ in missing)
    fetched, done, told = 0, 0, time.monotonic()

    @contextmanager
    def following(name: str, size: int) -> Iterator[Callable[[int], None]]:
        def advance(by: int) -> None:
            nonlocal done, told
            done += by
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
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
                    f"{item.coordinate} cannot be downloaded: {error}. Behind a mirror, name it in "
                    "the configuration of jgo; without a network, fill its cache on another machine"
                ) from error
            _verify(item, arrived)
            place = _cached(artifact)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(arrived, place)
            fetched += 1


def _verify(item: Locked, path: Path) -> None:
    """Raise and remove the file where it is not what the lock says."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != item.sha256:
        size = path.stat().st_size
        path.unlink()
        raise ServerError(
            f"{item.coordinate} is not what it should be: {size} bytes with sha256 {actual} "
            f"instead of {item.size} bytes with {item.sha256}. It was at {path} and has been "
            "removed; the next run downloads it anew"
        )


def _artifact(context: MavenContext, item: Locked) -> Artifact:
    group, name, version, *_ = item.coordinate.split(":")
    return context.project(group, name).at_version(version).artifact(packaging=_packaging(item))


def _packaging(item: Locked) -> str:
    return [*item.coordinate.split(":"), "jar"][3]


def _cached(artifact: Artifact) -> Path:
    path = artifact.cached_path
    assert path is not None  # every context of ours has a cache
    return path.absolute()  # a cache may have a relative one, and servers run elsewhere


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.0f} MB" if size >= 1_000_000 else f"{size / 1000:.0f} kB"
