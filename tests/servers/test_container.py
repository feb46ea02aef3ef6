"""Servers in containers, of images made on this machine: the engine is real, no registry is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import pytest
from langchain_core.messages import AIMessage, HumanMessage

from chat_history_backends.elasticsearch import ElasticsearchChatMessageHistory, PreviousMajorNode
from chat_history_conformance.servers import (
    ServerError,
    container,
    elasticsearch,
    launcher,
    process,
)
from chat_history_conformance.servers.kind import Options
from chat_history_conformance.servers.server import Server
from tests.servers import elasticsearch_image, kafka_image
from tests.servers import test_elasticsearch as test_servers_elasticsearch
from tests.servers.test_kafka import consume, new_topic, produce
from tests.servers.waiting import answers, until


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    try:
        found = container.find_engine("testcontainers")
    except ServerError as error:
        pytest.skip(str(error))
    with closing(found.client):
        yield found.client


@pytest.fixture(scope="module")
def image(engine: docker.DockerClient) -> str:
    return kafka_image.made_here(engine)


@contextmanager
def by_a_name_of_its_own(engine: docker.DockerClient, image: str) -> Iterator[str]:
    """Give the image a unique name, to find the containers of a test."""
    repository, tag = image.split(":")[0], uuid.uuid4().hex
    engine.images.get(image).tag(repository, tag)
    try:
        yield f"{repository}:{tag}"
    finally:
        engine.images.remove(f"{repository}:{tag}")


@pytest.fixture
def own_image(engine: docker.DockerClient, image: str) -> Iterator[str]:
    with by_a_name_of_its_own(engine, image) as name:
        yield name


@pytest.fixture(scope="module")
def broker(image: str) -> Iterator[Server]:
    with launcher.start("kafka", "container", announce=print, images={"kafka": image}) as server:
        yield server


@pytest.fixture(scope="module")
def node(engine: docker.DockerClient) -> Iterator[Server]:
    """Start one Elasticsearch node for all tests, because it starts slowly."""
    made = elasticsearch_image.made_here(engine)
    with by_a_name_of_its_own(engine, made) as own:
        with launcher.start(
            "elasticsearch",
            "container",
            announce=print,
            images={"elasticsearch": own},
            properties={"node.attr.rack": "one"},
        ) as server:
            assert containers(engine, own) == 1
            yield server
        assert containers(engine, own) == 0


@pytest.fixture
def silent_image() -> Iterator[str]:
    """Return an image of a registry that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as registry:
        yield f"127.0.0.1:{registry.getsockname()[1]}/kafka:1"


def containers(engine: docker.DockerClient, image: str) -> int:
    """Return the number of containers of an image, running or not."""
    return sum(item["Image"] == image for item in engine.api.containers(all=True))


def test_a_broker_in_a_container_is_reached_at_a_port_of_loopback(broker: Server) -> None:
    assert broker.address.startswith("127.0.0.1:")
    assert (broker.way, broker.owned, broker.why_no_faults) == ("container", True, "")
    topic = new_topic(broker)
    produce(broker, topic, [b"one", b"two"])
    assert consume(broker, topic, 2) == [b"one", b"two"]


def test_a_paused_container_does_not_answer_until_it_resumes(broker: Server) -> None:
    broker.pause()
    assert not answers(broker, 1)
    broker.resume()
    until(lambda: answers(broker), "it does not answer again")
    broker.resume()  # does nothing


def test_acknowledged_messages_survive_kill_and_restart(broker: Server) -> None:
    topic = new_topic(broker)
    values = [b"%d" % number for number in range(100)]
    produce(broker, topic, values)
    address = broker.address
    broker.pause()
    broker.kill()
    assert "the container ended with status 137" in broker.ended()
    assert not answers(broker)
    broker.restart()
    assert broker.address == address
    assert consume(broker, topic, 100) == values


def test_a_container_reports_that_its_port_was_taken_while_it_was_down(broker: Server) -> None:
    topic = new_topic(broker)
    produce(broker, topic, [b"kept"])
    broker.kill()
    with closing(socket.create_server(("127.0.0.1", int(broker.address.rpartition(":")[2])))):
        with pytest.raises(ServerError, match=rf"Another program took {broker.address}"):
            broker.restart()
    broker.restart()
    assert consume(broker, topic, 1) == [b"kept"]


def test_a_container_is_removed_when_it_is_stopped(
    engine: docker.DockerClient, own_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_ports = process.free_ports
    with closing(socket.create_server(("127.0.0.1", 0))) as thief:
        choices = iter([[thief.getsockname()[1]], free_ports(1)])
        monkeypatch.setattr(container, "free_ports", lambda *_: next(choices))
        server = launcher.start("kafka", "container", announce=print, images={"kafka": own_image})
        assert containers(engine, own_image) == 1  # nothing is left of the one whose port was taken
    server.pause()
    server.stop()
    assert containers(engine, own_image) == 0
    server.stop()
    assert server.log == ""


def test_a_container_that_ends_at_once_reports_why_and_is_removed(
    engine: docker.DockerClient, own_image: str
) -> None:
    with pytest.raises(ServerError) as failed:
        launcher.start(
            "kafka",
            "container",
            announce=print,
            images={"kafka": own_image},
            properties={"num.io.threads": "many"},
        )
    assert "did not start: the container ended with status 1" in str(failed.value)
    assert "Invalid value many for configuration num.io.threads" in str(failed.value)
    assert containers(engine, own_image) == 0


def test_a_container_does_not_outlive_a_parent_that_is_killed(
    engine: docker.DockerClient, own_image: str, tmp_path: Path
) -> None:
    script = (
        "import sys, time\nfrom chat_history_conformance.servers import launcher\n"
        "server = launcher.start('kafka', 'container', announce=lambda _: None, "
        "images={'kafka': sys.argv[1]})\n"
        "print(server.address, flush=True)\ntime.sleep(120)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, own_image],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        assert containers(engine, own_image) == 1
        parent.kill()
    until(lambda: containers(engine, own_image) == 0, "the container is still there")
    until(lambda: list(tmp_path.iterdir()) == [], "the keeper's directory is still there")


def test_auto_uses_the_jvm_soon_if_an_image_cannot_be_pulled(
    engine: docker.DockerClient, silent_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HISTORY_KAFKA", raising=False)
    said: list[str] = []
    with launcher.start(
        "kafka", "auto", announce=said.append, images={"kafka": silent_image}
    ) as server:
        assert server.way == "jvm"
    assert said[0] == f"pulling the image {silent_image}"
    assert said[1] == (
        f"skipping kafka by container: The image {silent_image} cannot be pulled: no data for 10 s"
    )


def test_offline_no_image_is_pulled(engine: docker.DockerClient, silent_image: str) -> None:
    with pytest.raises(ServerError, match=r"Offline mode forbids pulling"):
        launcher.start(
            "kafka", "container", announce=print, images={"kafka": silent_image}, offline=True
        )


def test_a_container_demands_no_credentials(image: str) -> None:
    with pytest.raises(ServerError, match="Use the jvm way"):
        launcher.start(
            "kafka",
            "container",
            announce=print,
            images={"kafka": image},
            credentials={"user": "password"},
        )


def history(node: Server, session: str) -> ElasticsearchChatMessageHistory:
    return ElasticsearchChatMessageHistory(
        "chat", session, es_url=node.address, config={"node_class": PreviousMajorNode}
    )


def test_an_elasticsearch_container_has_its_settings(node: Server) -> None:
    assert node.address.startswith("http://127.0.0.1:")
    assert (node.way, node.owned, node.why_no_faults, node.ended()) == ("container", True, "", "")
    found = launcher.start("elasticsearch", node.address, announce=print)
    assert found.description == "8.19.4 (address)"
    answer = test_servers_elasticsearch.request(
        node, "GET", "/_nodes/settings,jvm?flat_settings=true"
    )
    (of_node,) = answer["nodes"].values()
    expected = {**elasticsearch.NODE, "node.attr.rack": "one", "xpack.security.enabled": "false"}
    assert expected.items() <= of_node["settings"].items()
    assert "-Xmx512m" in of_node["jvm"]["input_arguments"]


def test_a_paused_elasticsearch_container_does_not_answer_until_it_resumes(node: Server) -> None:
    node.pause()
    assert not answers(node, 1)
    node.resume()
    assert answers(node, 30)


def test_messages_in_an_elasticsearch_container_survive_kill_and_restart(
    node: Server,
) -> None:
    session = uuid.uuid4().hex
    messages = [HumanMessage("one"), AIMessage("two")]
    with history(node, session) as before:
        before.add_messages(messages)
        assert before.messages == messages
    address = node.address
    node.pause()
    node.kill()
    assert "the container ended with status 137" in node.ended()
    assert not answers(node)
    node.restart()
    assert node.address == address
    with history(node, session) as after:
        assert after.messages == messages
        after.add_messages(messages)
        assert after.messages == messages * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(credentials={"user": "password"}), "does not support users and passwords"),
        (
            Options(properties={"node.attr.Rack": "one"}),
            r"does not accept the property node\.attr\.R",
        ),
        (Options(properties={"processors": "1"}), "does not accept the property processors"),
    ],
)
def test_options_that_an_elasticsearch_container_ignores_are_refused(
    options: Options, expected: str
) -> None:
    with pytest.raises(ServerError, match=f"{expected}.*Use the jvm way"):
        elasticsearch.KIND.container(9200, options)
