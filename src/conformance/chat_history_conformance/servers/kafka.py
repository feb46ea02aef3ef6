"""Kafka: one broker that is also the controller, as a process, a container or a mock."""

from __future__ import annotations

import base64
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chat_history_conformance.servers import ServerError, kafka_requests
from chat_history_conformance.servers.jvm import Control, JvmKind, Seat
from chat_history_conformance.servers.kind import Launch, NotReady, Options, Refused
from chat_history_conformance.servers.program import Program
from chat_history_conformance.servers.server import Server

__all__ = [
    "BROKER",
    "KIND",
    "MEMBER",
    "Kafka",
    "Mock",
]

_HOST_AND_PORT = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s,/:@=\[\]]+):\d{1,5}"
_BROKERS = re.compile(rf"{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*")

_HEAP = "-Xmx1g"
"""The largest heap of a broker. A run makes thousands of topics, and with a third of this heap a
broker of a cluster spends most of its time on garbage collection."""

BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A commit waits this long for other commits to join it.
    "group.coordinator.append.linger.ms": "0",
    "auto.create.topics.enable": "false",
    # A run makes thousands of topics: keep each small and check them rarely.
    "log.index.size.max.bytes": "16384",
    "log.retention.check.interval.ms": "30000",
    "log.segment.delete.delay.ms": "100",
    # A killed broker can join again only after its old session has ended.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
}
"""Settings of a single broker for tests, which answers fast and does not create topics itself."""


MEMBER = {
    "offsets.topic.num.partitions": "3",
    "unclean.leader.election.enable": "false",
    # A follower that no longer fetches leaves the replicas in sync after this time.
    "replica.lag.time.max.ms": "4000",
    # A broker asks the controller for producer ids, and waits this long if that one is frozen.
    "controller.socket.timeout.ms": "3000",
}
"""Further settings of a member of a cluster, in which faults show after seconds."""


class Kafka(JvmKind):
    """Apache Kafka in KRaft mode."""

    name = "kafka"
    title = "Apache Kafka"
    form = "HOST:PORT"
    ways = ("container", "jvm", "mock")
    requirement = "chat-history-conformance[kafka]"
    client = "confluent_kafka"
    version = "4.1.1"
    image = "apache/kafka-native:4.1.1"
    image_licence = "Apache-2.0"
    java = 17
    ports = 4
    member_ports = 3

    def fits(self, address: str) -> bool:
        if not _BROKERS.fullmatch(address):
            return False
        ports = [int(one.rpartition(":")[2]) for one in address.split(",")]
        return all(0 < port < 65_536 for port in ports)

    def process(
        self, program: Program, directory: Path, ports: Sequence[int], options: Options
    ) -> Launch:
        port, controller, behind, front = ports
        cluster = self.new_cluster()
        protocol = "SASL_PLAINTEXT" if options.credentials else "PLAINTEXT"
        properties = {
            **BROKER,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": (
                f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},"
                f"COUNTED://127.0.0.1:{behind}"
            ),
            # Clients of the second listener are sent to the counter of requests.
            "advertised.listeners": f"CLIENT://127.0.0.1:{port},COUNTED://127.0.0.1:{front}",
            # It has few clients, and three threads by default.
            "listener.name.counted.num.network.threads": "1",
            "inter.broker.listener.name": "CLIENT",
            "listener.security.protocol.map": (
                f"CONTROLLER:PLAINTEXT,CLIENT:{protocol},COUNTED:{protocol}"
            ),
            **_authentication(options.credentials),
            **options.properties,
        }
        return Launch(
            command=[
                str(program.path),
                _HEAP,
                *_arguments(program.files),
                str(_prepare(directory, cluster, properties)),
            ],
            address=f"127.0.0.1:{port}",
            identity=cluster,
            config=_client_settings(options.credentials),
            counted=(f"127.0.0.1:{front}", f"127.0.0.1:{behind}"),
        )

    def new_cluster(self) -> str:
        return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii")[:22]

    def member(self, program: Program, directory: Path, seat: Seat, options: Options) -> Launch:
        port, controller, inside = seat.ports[seat.number - 1]
        replicas = min(len(seat.hosts), 3)
        protocol = "SASL_PLAINTEXT" if options.credentials else "PLAINTEXT"
        controllers, brokers = (seat.fronts_at(seat.hosts, which) for which in (1, 2))
        voters = enumerate(controllers, 1)
        properties = {
            **BROKER,
            **MEMBER,
            "node.id": str(seat.number),
            "controller.quorum.voters": ",".join(f"{number}@{place}" for number, place in voters),
            "listeners": (
                f"CLIENT://{seat.host}:{port},CONTROLLER://{seat.host}:{controller},"
                f"INSIDE://{seat.host}:{inside}"
            ),
            "advertised.listeners": (
                f"CLIENT://{seat.host}:{port},CONTROLLER://{controllers[seat.number - 1]},"
                f"INSIDE://{brokers[seat.number - 1]}"
            ),
            "inter.broker.listener.name": "INSIDE",
            "listener.security.protocol.map": (
                f"CONTROLLER:PLAINTEXT,CLIENT:{protocol},INSIDE:PLAINTEXT"
            ),
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(replicas // 2 + 1),
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(replicas // 2 + 1),
            **_authentication(options.credentials),
            **options.properties,
        }
        return Launch(
            command=[
                str(program.path),
                _HEAP,
                *_arguments(program.files),
                str(_prepare(directory, seat.cluster, properties)),
            ],
            address=f"{seat.host}:{port}",
            identity=seat.cluster,
            config=_client_settings(options.credentials),
        )

    def control(
        self, seat: Seat, launches: Sequence[Launch], directories: Sequence[Path]
    ) -> Control:
        from chat_history_conformance.servers.kafka_cluster import KafkaControl

        return KafkaControl(launches, seat.places(2), directories)

    def container(self, port: int, options: Options) -> Launch:
        if options.credentials:
            raise ServerError(
                "A Kafka container does not support users and passwords here. Use the jvm way."
            )
        cluster = self.new_cluster()
        properties = {
            **BROKER,
            "controller.quorum.voters": "1@localhost:9093",
            "listeners": "CLIENT://:9092,CONTROLLER://:9093,INSIDE://localhost:9094",
            "advertised.listeners": f"CLIENT://127.0.0.1:{port},INSIDE://localhost:9094",
            "inter.broker.listener.name": "INSIDE",
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,CLIENT:PLAINTEXT,INSIDE:PLAINTEXT"
            ),
            **options.properties,
        }
        return Launch(
            command=(),
            address=f"127.0.0.1:{port}",
            identity=cluster,
            environment={
                "CLUSTER_ID": cluster,
                **{_variable(name): value for name, value in properties.items()},
            },
            port_inside=9092,
        )

    def mock(self, options: Options) -> Server:
        if options != Options():
            raise ServerError(
                "The Kafka mock does not support a port, properties or credentials. Use jvm."
            )
        return Mock()

    def ask(self, address: str, config: Mapping[str, Any], identity: str, seconds: float) -> None:
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import AdminClient

        kafka_requests.check_port(address, seconds)
        failures: list[KafkaError] = []
        own: dict[str, Any] = {
            "bootstrap.servers": address,
            "error_cb": failures.append,
            "log_level": 0,  # it would write to stderr while the server is starting
        }
        try:
            client = AdminClient({**config, **own})
        except KafkaException as error:
            # The client's message would show the value, which may be a secret.
            name = next((key for key in config if f'"{key}"' in str(error)), "")
            raise Refused(
                "the Kafka client refuses its settings"
                + (f": the value of {name} is not valid" if name else "")
            ) from None
        try:
            metadata = client.list_topics(timeout=seconds)
        except KafkaException as error:
            client.poll(0)
            codes = [failure.code() for failure in [*failures, error.args[0]]]
            for code, reason in _FATAL.items():
                if getattr(KafkaError, code) in codes:
                    raise Refused(reason) from None
            raise NotReady(
                f"something listens there, but does not answer a Kafka client within "
                f"{seconds:.0f} s. If the server demands SASL or TLS, set it in the client settings"
            ) from None
        if identity and metadata.cluster_id != identity:
            raise NotReady("another Kafka cluster answers there")
        if not metadata.brokers:
            raise NotReady("it has no broker in service yet")
        for topic in metadata.topics.values():
            if any(partition.leader < 0 for partition in topic.partitions.values()):
                raise NotReady(f"the topic {topic.topic} has no leader yet")


class Mock(Server):
    """The mock cluster of librdkafka, in this process. It lives as long as its producer."""

    kind = "kafka"
    way = "mock"

    def __init__(self) -> None:
        from confluent_kafka import Producer, libversion

        self.version = f"librdkafka {libversion()[0]}"
        self._producer: Producer | None = Producer(
            {
                "test.mock.num.brokers": 1,
                "bootstrap.servers": "replaced by the mock's own",
                "log_level": 3,  # it would print that to stderr
            }
        )
        brokers = self._producer.list_topics(timeout=10).brokers.values()
        self.address = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def stop(self) -> None:
        self._producer = None


KIND = Kafka()

_FATAL = {
    "_AUTHENTICATION": "it refuses the credentials of the client settings",
    "SASL_AUTHENTICATION_FAILED": "it refuses the credentials of the client settings",
    "_SSL": "TLS cannot be agreed on: check the certificates of the client settings",
    "TOPIC_AUTHORIZATION_FAILED": "it does not let this user list topics",
    "CLUSTER_AUTHORIZATION_FAILED": "it does not let this user list topics",
}
"""Messages for errors that waiting does not change, by the client's error code. The message of the
client may contain a user name."""


def _prepare(directory: Path, cluster: str, properties: Mapping[str, str]) -> Path:
    """Write what the storage tool would write, without the second that starting it takes.

    This is the name of the node, and the feature levels of a new cluster, which are the same for
    all of them.

    Returns:
        The file of properties.
    """
    data = directory / "data"
    data.mkdir()
    (data / "meta.properties").write_text(
        f"version=1\nnode.id={properties['node.id']}\ncluster.id={cluster}\n", encoding="ascii"
    )
    shutil.copyfile(Path(__file__).with_name("kafka.checkpoint"), data / "bootstrap.checkpoint")
    settings = directory / "server.properties"
    known = {"log.dirs": data.as_posix(), **properties}
    settings.write_text(
        "".join(f"{name}={_escaped(value)}\n" for name, value in known.items()), encoding="ascii"
    )
    return settings


def _arguments(files: Sequence[Path]) -> list[str]:
    """Return the arguments of Java, up to the file of properties."""
    return [
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        "-cp",
        os.pathsep.join(map(str, files)),
        "kafka.Kafka",
    ]


def _authentication(credentials: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of a broker that demands these credentials."""
    if not credentials:
        return {}
    quoted = {
        user: password.replace("\\", "\\\\").replace('"', '\\"')
        for user, password in credentials.items()
    }
    own_user, own_password = next(iter(quoted.items()))
    users = " ".join(f'user_{user}="{password}"' for user, password in quoted.items())
    login = (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="{own_user}" password="{own_password}" {users};'
    )
    return {
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": login,
        "listener.name.counted.plain.sasl.jaas.config": login,
    }


def _client_settings(credentials: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a client with these credentials."""
    if not credentials:
        return {}
    user, password = next(iter(credentials.items()))
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
    }


def _escaped(value: str) -> str:
    """Escape a value for a Java properties file."""
    return "".join(
        "\\\\"
        if character == "\\"
        else character
        if " " <= character <= "~"
        else "".join(f"\\u{unit:04x}" for unit in _utf16(character))
        for character in value
    )


def _utf16(character: str) -> list[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]


def _variable(name: str) -> str:
    """Return the variable of a property in the images: `node.id` is `KAFKA_NODE_ID`."""
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()
