"""A real cluster of three Elasticsearch nodes: its members, their roles, and faults of one."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.servers import ServerError, launcher
from chat_history_conformance.servers.cluster import Cluster
from chat_history_conformance.servers.network import Namespaces
from chat_history_conformance.servers.server import Member, Server
from tests.servers.waiting import until

HEALTHY_SECONDS = 180.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Server]:
    """Start a cluster that the tests of this module disturb, and check that nothing stays."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        os.chmod(directory, 0o755)  # the account of the nodes may enter it
        patch.setattr(tempfile, "tempdir", directory)
        with launcher.start("elasticsearch", "jvm:3", announce=print) as server:
            patch.undo()
            yield server
        assert list(Path(directory).iterdir()) == []
        assert isinstance(server, Cluster)
        if isinstance(server._network, Namespaces):
            device = server._network.device
            assert device not in {name for _, name in socket.if_nameindex()}


@pytest.fixture
def session(cluster: Server) -> str:
    """Return a session with its own index, of a healthy cluster."""
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    name = f"session-{uuid.uuid4().hex}"
    request(cluster.members[0], "PUT", f"/{name}", {"settings": {"number_of_shards": 1}})
    until(lambda: stored(cluster.members[0], name), "it stores nothing")
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    return name


def request(member: Member, method: str, path: str, body: object = None) -> Any:
    asked = urllib.request.Request(
        member.address + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


def stored(member: Member, session: str) -> bool:
    """Return whether a member stores a document of a session."""
    path = f"/{session}/_doc?timeout=1s&routing={session}"
    try:
        return bool(request(member, "POST", path, {"text": "text"})["result"] == "created")
    except OSError:  # an HTTP status that is an error, or no answer in time
        return False


def holder(cluster: Server, role: str, session: str) -> str:
    """Return the name of the holder of a role; empty if none is up."""
    try:
        return cluster.holder(role, session).name
    except ServerError:
        return ""


def other(cluster: Server, member: Member) -> Member:
    return next(one for one in cluster.members if one is not member)


def test_all_members_are_named_and_are_the_address(cluster: Server) -> None:
    assert [member.name for member in cluster.members] == ["1", "2", "3"]
    assert cluster.address == ",".join(member.address for member in cluster.members)
    assert cluster.description.startswith("8.19.4 (jvm:3, ")
    found = launcher.start("elasticsearch", cluster.address, announce=print)
    assert (found.description, found.members) == ("8.19.4 (address)", ())


def test_a_session_has_a_primary_and_a_replica(cluster: Server, session: str) -> None:
    names = [cluster.holder(role, session).name for role in ("primary", "replica")]
    rows = request(cluster.members[0], "GET", f"/_cat/shards/{session}?format=json&h=prirep,node")
    assert {row["prirep"]: row["node"] for row in rows} == dict(zip("pr", names, strict=True))
    (master,) = request(cluster.members[0], "GET", "/_cat/master?format=json")
    assert cluster.holder("master", session).name == master["node"]


def test_the_replica_becomes_primary_if_the_primary_is_killed(
    cluster: Server, session: str
) -> None:
    primary, replica = (cluster.holder(role, session) for role in ("primary", "replica"))
    primary.kill()
    assert f"member {primary.name}: its process ended" in cluster.ended()
    until(lambda: holder(cluster, "primary", session) == replica.name, "it is not the primary")
    until(lambda: stored(replica, session), "it stores nothing")
    address = primary.address
    primary.restart()
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    assert (primary.address, primary.state) == (address, "up")


def test_a_primary_that_is_cut_off_acknowledges_nothing(cluster: Server, session: str) -> None:
    if cluster.why_no_partition:
        pytest.skip(cluster.why_no_partition)
    primary = cluster.holder("primary", session)
    cluster.cut_off(primary)
    assert not stored(primary, session)
    assert primary.state == "up"
    until(lambda: holder(cluster, "primary", session) not in ("", primary.name), "no new primary")
    until(lambda: stored(other(cluster, primary), session), "the majority stores nothing")
    assert not stored(primary, session)
    with pytest.raises(ServerError, match=f"not healthy: member {primary.name} is cut off"):
        cluster.wait_until_healthy(0.5)
    cluster.reconnect(primary)
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    assert stored(primary, session)


def test_reassigned_data_has_another_primary(cluster: Server, session: str) -> None:
    primary = cluster.holder("primary", session)
    cluster.reassign(session)
    cluster.wait_until_healthy(HEALTHY_SECONDS)
    assert cluster.holder("primary", session).name != primary.name


def test_a_cluster_that_was_shut_down_starts_again_with_its_data(
    cluster: Server, session: str
) -> None:
    address = cluster.address
    cluster.shut_down()
    assert {member.state for member in cluster.members} == {"down"}
    cluster.restart()
    assert cluster.address == address
    request(cluster.members[0], "POST", f"/{session}/_refresh")
    assert request(cluster.members[0], "GET", f"/{session}/_count")["count"] == 1


def test_users_and_passwords_are_refused() -> None:
    with pytest.raises(ServerError, match="cluster does not support users and passwords"):
        launcher.start("elasticsearch", "jvm:3", announce=print, credentials={"user": "word"})
