"""An Elasticsearch image made on this machine, for tests of the container way without a registry.

The distribution behaves like the official image if it is configured to run in
such an image: the node then takes its settings from the environment. So this one is the artifact
of the lock, run as the official image runs it: by a user without rights, listening everywhere.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
import zipfile
from pathlib import Path

import docker

from chat_history_conformance.servers.elasticsearch import KIND
from tests.servers.kafka_image import add_libraries, made

USER, GROUP = 1000, 0
HOME = "/usr/share/elasticsearch"
SETTINGS = "cluster.name: docker-cluster\nnetwork.host: 0.0.0.0\n"
# The Java runtime here has no incubating modules, which those of the distribution ask for.
JVM_OPTIONS = """\
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=${ES_TMPDIR}
"""
COMMAND = [
    *("/java/bin/java", "-Xms4m", "-Xmx64m", "-XX:+UseSerialGC"),
    "-Dcli.name=server",
    f"-Dcli.script={HOME}/bin/elasticsearch",
    "-Dcli.libs=lib/tools/server-cli",
    f"-Des.path.home={HOME}",
    f"-Des.path.conf={HOME}/config",
    "-Des.distribution.type=docker",
    "-Des.java.type=bundled JDK",
    *("-cp", f"{HOME}/lib/*:{HOME}/lib/cli-launcher/*"),
    "org.elasticsearch.launcher.CliToolLauncher",
]


def made_here(engine: docker.DockerClient) -> str:
    """Return the name of the image. Make it if the engine does not have it; it stays there."""
    changes = [f"WORKDIR {HOME}", f"USER {USER}:{GROUP}", f"ENTRYPOINT {json.dumps(COMMAND)}"]
    return made(engine, KIND, Path(__file__), _fill, changes)


def _fill(tar: tarfile.TarFile, artifacts: list[Path]) -> None:
    (distribution,) = artifacts
    with tempfile.TemporaryDirectory() as directory:
        with zipfile.ZipFile(distribution) as packed:
            packed.extractall(directory)
        (unpacked,) = Path(directory).glob("elasticsearch-*")
        (unpacked / "config" / "elasticsearch.yml").write_text(SETTINGS, encoding="ascii")
        (unpacked / "config" / "jvm.options").write_text(JVM_OPTIONS, encoding="ascii")
        add_libraries(tar, unpacked.rglob("*.so"))
        tar.add(unpacked, HOME, filter=_handed_over)


def _handed_over(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid, entry.gid = USER, GROUP
    return entry
