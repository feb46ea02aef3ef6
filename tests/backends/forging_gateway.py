"""A small HTTP server in front of an Elasticsearch node, which forges answers for tests."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = ["Forged", "Gateway", "gateway_to"]


@dataclass(frozen=True)
class Forged:
    """An answer. With `forward`, the node has carried out the request before."""

    status: int
    body: str = ""
    kind: str = "application/json"
    product: bool = False
    forward: bool = False
    location: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        headers = {"Content-Type": self.kind} if self.kind else {}
        if self.product:
            headers["X-Elastic-Product"] = "Elasticsearch"
        if self.location:
            headers["Location"] = self.location
        return headers


@dataclass
class Gateway:
    """A gateway that is running.

    Attributes:
        address: Its URL.
        forge: Return the forged answer to a method and a path, or None to let the node answer.
        change: Change the body of an answer of the node, given the path and the body.
        asked: The method and the path of each request.
    """

    address: str = ""
    forge: Callable[[str, str], Forged | None] = lambda method, path: None
    change: Callable[[str, bytes], bytes] = lambda path, body: body
    asked: list[str] = field(default_factory=list)


@contextmanager
def gateway_to(address: str) -> Iterator[Gateway]:
    """Start a gateway in front of a node."""
    node = urlsplit(address).netloc
    gateway = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            gateway.asked.append(f"{self.command} {path}")
            forged = gateway.forge(self.command, path)
            if forged is None or forged.forward:
                status, headers, content = self.ask_node(body)
                content = gateway.change(path, content)
            if forged is not None:
                status, headers, content = forged.status, forged.headers, forged.body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def ask_node(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(node, timeout=30)
            kept = ("content-type", "accept", "authorization")
            headers = {k: v for k, v in self.headers.items() if k.lower() in kept}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            names = ("content-type", "x-elastic-product")
            return (
                answer.status,
                {k: v for k, v in answer.getheaders() if k.lower() in names},
                content,
            )

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        gateway.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield gateway
        server.shutdown()
        thread.join()
