"""Real Elasticsearch nodes for the tests that need one, started when the first of them asks.

What is installed for tests only is imported where it is used: pytest loads this file also where
somebody judges a history in this directory and has nothing but the package.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chat_history_conformance.servers import launcher
from chat_history_conformance.servers.server import Server

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

ROLES = """\
documents:
  indices:
    - names: ["chat-*"]
      privileges: ["read", "index", "delete"]
making:
  indices:
    - names: ["chat-*"]
      privileges: ["create_index", "read", "write"]
"""
"""Documents only, or making indices too; neither may refresh, nor see a mapping or settings."""


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[Server]:
    """Start one node for the run, or for each worker of it; each test uses its own indices.

    A test that pauses or kills its node starts one for itself.
    """
    # A request of the usual 100 MB takes so much of its small heap that it refuses others after it.
    limit = {"http.max_content_length": "30mb"}
    with launcher.start("elasticsearch", "jvm", announce=print, properties=limit) as server:
        yield server


@pytest.fixture
def client(elasticsearch: Server) -> Iterator[Elasticsearch]:
    """Return a client of the node that does not use the tested code."""
    from elasticsearch import Elasticsearch

    from chat_history_backends.elasticsearch import PreviousMajorNode

    with Elasticsearch(
        elasticsearch.address, node_class=PreviousMajorNode, request_timeout=30
    ) as client:
        yield client


@pytest.fixture
def index(client: Elasticsearch) -> Iterator[str]:
    """Return the name of an index that does not exist; remove the index afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    client.options(ignore_status=404).indices.delete(index=name)


@dataclass(frozen=True)
class Secured:
    """A node that speaks TLS and demands credentials.

    Attributes:
        server: The node.
        ca_certs: A file with the authority that has signed its certificate.
        superuser: Name and password of one who may do everything.
        restricted: Name and password of one who may read, write and delete documents in indices
            named `chat-*` that are there, and nothing else.
        maker: Name and password of one who may make such indices too, and neither look at their
            mapping nor refresh them.
    """

    server: Server
    ca_certs: str
    superuser: tuple[str, str]
    restricted: tuple[str, str]
    maker: tuple[str, str]


@pytest.fixture(scope="session")
def secured_elasticsearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Start another node, with TLS and credentials."""
    import trustme

    authority = trustme.CA()
    ca_certs: Path = tmp_path_factory.mktemp("authority") / "authority.pem"
    authority.cert_pem.write_to_path(ca_certs)
    certificate = authority.issue_cert("127.0.0.1")
    superuser, restricted = ("superuser", "may do everything"), ("restricted", "may do little")
    maker = ("maker", "may make some")
    tls = "xpack.security.http.ssl."
    with launcher.start(
        "elasticsearch",
        "jvm",
        announce=print,
        credentials=dict([superuser, restricted, maker]),
        properties={
            tls + "enabled": "true",
            tls + "key": "node.key",
            tls + "certificate": "node.pem",
            tls + "certificate_authorities": "authority.pem",
        },
        configuration={
            "node.key": certificate.private_key_pem.bytes().decode(),
            "node.pem": "".join(pem.bytes().decode() for pem in certificate.cert_chain_pems),
            "authority.pem": authority.cert_pem.bytes().decode(),
            "roles.yml": ROLES,
            "users_roles": "superuser:superuser\ndocuments:restricted\nmaking:maker\n",
        },
    ) as server:
        yield Secured(server, str(ca_certs), superuser, restricted, maker)
