"""Write the lock of a server: python tools/lock_server.py kafka

For maintainers, after a change of a version below. Resolves the artifacts, downloads them and
writes `KIND.lock` in `chat_history_conformance/servers`; for Kafka also `kafka.checkpoint`, the
feature levels that its storage tool gives a new cluster.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jgo
from jgo.maven import Artifact, MavenContext

from chat_history_conformance.servers import java

SERVERS = Path(__file__).parent.parent / "src" / "conformance" / "servers"


WANTED = {
    "kafka": (
        "Apache Kafka 4.1.1",
        "Apache-2.0",
        (
            "org.apache.kafka:kafka_2.13:4.1.1",
            # Named, because a resolver that takes the nearest version finds 3.9.1, with which no
            # broker 4.1 starts.
            "org.apache.kafka:kafka-clients:4.1.1",
            "org.slf4j:slf4j-simple:1.7.36",  # Kafka is built on 1.7; a provider of 2.x is ignored
            "org.apache.logging.log4j:log4j-core:2.25.2",
        ),
    ),
    "elasticsearch": (
        # The newer 8.19.12 to 8.19.21 do not start on the Java that the extra brings: their module
        # org.elasticsearch.entitlement requires jdk.jdi and jdk.jlink, which it does not use.
        "Elasticsearch 8.19.4",
        "AGPL-3.0 or SSPL-1.0 or Elastic-2.0, in X-Pack Elastic-2.0",
        ("org.elasticsearch.distribution.integ-test-zip:elasticsearch:8.19.4:zip",),
    ),
}


def main(kind: str) -> None:
    title, licence, endpoints = WANTED[kind]
    artifacts = resolved(endpoints)
    paths = [artifact.resolve() for artifact in artifacts]
    lines = [f"# title: {title}", f"# licence: {licence}", "# made by: tools/lock_server.py"]
    for artifact, path in zip(artifacts, paths, strict=True):
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        if artifact.packaging != "jar":
            coordinate += f":{artifact.packaging}"
        data = path.read_bytes()
        lines.append(f"{coordinate} {hashlib.sha256(data).hexdigest()} {len(data)}")
    (SERVERS / f"{kind}.lock").write_text("\n".join(lines) + "\n", encoding="ascii")
    if kind == "kafka":
        (SERVERS / "kafka.checkpoint").write_bytes(checkpoint(paths))
    print(f"{len(paths)} artifacts, {sum(path.stat().st_size for path in paths)} bytes")


def resolved(endpoints: tuple[str, ...]) -> list[Artifact]:
    """Return the coordinate of a zip, or those of jars with their dependencies."""
    group, name, version, *packaging = endpoints[0].split(":")
    if packaging:
        project = MavenContext().project(group, name)
        return [project.at_version(version).artifact(packaging=packaging[0])]
    return sorted(jgo.resolve("+".join(endpoints)), key=lambda item: str(item.key))


def checkpoint(paths: list[Path]) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        properties = Path(directory, "server.properties")
        properties.write_text(
            "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n"
            "controller.quorum.voters=1@127.0.0.1:9093\n"
            "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
            f"log.dirs={Path(directory, 'data').as_posix()}\n"
        )
        cluster = base64.urlsafe_b64encode(os.urandom(16)).decode()[:22]
        subprocess.run(
            [
                *(java.find(17, "kafka"), "-cp", os.pathsep.join(map(str, paths))),
                *("kafka.tools.StorageTool", "format", "-t", cluster, "-c", properties),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return Path(directory, "data", "bootstrap.checkpoint").read_bytes()


if __name__ == "__main__":
    main(sys.argv[1])
