"""The artifacts of a server: downloaded from a local repository, verified, cached."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chat_history_conformance.servers import ServerError, artifacts
from chat_history_conformance.servers.artifacts import Lock, Locked
from chat_history_conformance.servers.kafka import KIND

FILES = {
    "example:one:1.0": b"one" * 700_000,
    "example.group:two:2.0": b"two" * 1000,
    "example:three:3.0:zip": b"three",
}
PATHS = {
    "example:one:1.0": "example/one/1.0/one-1.0.jar",
    "example.group:two:2.0": "example/group/two/2.0/two-2.0.jar",
    "example:three:3.0:zip": "example/three/3.0/three-3.0.zip",
}
LOCK = Lock(
    "kafka",
    "Example 1.0",
    "Apache-2.0",
    [
        Locked(coordinate, hashlib.sha256(data).hexdigest(), len(data))
        for coordinate, data in FILES.items()
    ],
)


@dataclass
class Repository:
    """A repository on loopback, and the cache that jgo fills from it."""

    cache: Path
    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)
    barrier: threading.Barrier | None = None


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    serving = Repository(
        tmp_path / "cache", {f"/{PATHS[name]}": data for name, data in FILES.items()}
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = serving.files.get(self.path)
            serving.asked.append(self.path)
            if data is not None and serving.barrier is not None:
                serving.barrier.wait(20)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        settings = tmp_path / "jgo.conf"
        settings.write_text(f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        monkeypatch.setenv("M2_REPO", str(serving.cache))
        yield serving
        server.shutdown()
        thread.join()


def obtain(announce: list[str], *, offline: bool = False) -> list[Path]:
    return artifacts.obtain(LOCK, announce.append, offline=offline)


def test_missing_files_are_announced_downloaded_and_cached(repository: Repository) -> None:
    said: list[str] = []
    paths = obtain(said)
    assert [path.read_bytes() for path in paths] == list(FILES.values())
    assert said == [f"downloading Example 1.0, 3 files, 2 MB, Apache-2.0, into {repository.cache}"]
    asked = len(repository.asked)
    assert obtain(said) == paths
    assert len(said) == 1
    assert len(repository.asked) == asked


def test_a_cache_with_a_relative_path_works_from_any_directory(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.cache.parent)
    monkeypatch.setenv("M2_REPO", repository.cache.name)
    paths = obtain([])
    monkeypatch.chdir("/")
    assert [path.read_bytes() for path in paths] == list(FILES.values())


def test_only_missing_files_are_downloaded(repository: Repository) -> None:
    paths = obtain([])
    paths[1].unlink()
    repository.asked.clear()
    said: list[str] = []
    assert obtain(said) == paths
    assert "1 jar, 3 kB" in said[0]
    assert {path.removesuffix(".sha1") for path in repository.asked} == {
        f"/{PATHS['example.group:two:2.0']}"
    }


def test_a_manipulated_download_is_refused_and_removed(
    repository: Repository,
) -> None:
    repository.files[f"/{PATHS['example:one:1.0']}"] = b"evil"
    with pytest.raises(ServerError, match=r"example:one:1\.0 differs from the lock: 4 bytes"):
        obtain([])
    assert [path for path in repository.cache.rglob("*") if path.is_file()] == []


def test_a_damaged_file_in_the_cache_is_removed_and_downloaded_by_the_next_run(
    repository: Repository,
) -> None:
    paths = obtain([])
    data = bytearray(paths[0].read_bytes())
    data[-1] ^= 1  # of the same size
    paths[0].write_bytes(data)
    with pytest.raises(ServerError, match=r"has been removed\. The next run downloads it again"):
        obtain([])
    assert not paths[0].exists()
    assert obtain([])[0].read_bytes() == FILES["example:one:1.0"]


def test_offline_names_the_missing_files(repository: Repository) -> None:
    with pytest.raises(ServerError) as refused:
        obtain([], offline=True)
    assert "Offline mode forbids this download: Example 1.0, 3 files, 2 MB, Apache-2.0" in str(
        refused.value
    )
    assert repository.asked == []
    paths = obtain([])
    assert obtain([], offline=True) == paths


def test_a_file_missing_in_the_repository_is_named(repository: Repository) -> None:
    del repository.files[f"/{PATHS['example.group:two:2.0']}"]
    with pytest.raises(ServerError, match=r"example\.group:two:2\.0 cannot be downloaded"):
        obtain([])


def test_two_runs_can_download_at_the_same_time(repository: Repository) -> None:
    repository.barrier = threading.Barrier(2)  # both are in the middle of each file together
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: obtain([]), range(2))
    assert first == second
    assert [path.read_bytes() for path in first] == list(FILES.values())
    assert sorted(path for path in repository.cache.rglob("*") if path.is_file()) == sorted(first)


def test_a_long_download_shows_progress(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "PROGRESS_SECONDS", 0.0)
    said: list[str] = []
    obtain(said)
    assert said[1] == "downloaded 0 of 3 files, 8 kB of 2 MB"
    assert "downloaded 0 of 3 files, 1 MB of 2 MB" in said  # in the middle of the first one
    assert said[-1] == "downloaded 2 of 3 files, 2 MB of 2 MB"


def test_all_kafka_jars_in_the_lock_have_the_same_version() -> None:
    lock = Lock.read(KIND.lock)
    assert lock.summary(lock.artifacts) == "Apache Kafka 4.1.1, 46 jars, 44 MB, Apache-2.0"
    versions = {
        item.coordinate.rpartition(":")[2]
        for item in lock.artifacts
        if item.coordinate.startswith("org.apache.kafka:")
    }
    assert versions == {KIND.version}
