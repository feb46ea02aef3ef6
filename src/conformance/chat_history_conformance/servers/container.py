"""Servers of any kind in containers. testcontainers finds the engine."""

from __future__ import annotations

import os
import re
import socket
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chat_history_conformance.servers import ServerError
from chat_history_conformance.servers.keeper_client import KeeperClient
from chat_history_conformance.servers.kind import Kind, Launch, NotReady, Options, Refused
from chat_history_conformance.servers.process import (
    READY_SECONDS,
    SHUT_DOWN_SECONDS,
    PortTaken,
    StartedServer,
    free_ports,
    not_in_time,
    until_free,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testcontainers.core.docker_client import DockerClient

__all__ = [
    "ContainerServer",
    "find_engine",
    "start",
]

_ENGINE_SECONDS = 10
_LOOK_SECONDS = 0.1
_PROMPT_READY_SECONDS = 60.0
_PROMPT_PULL_SECONDS = (10.0, 120.0)
_PULL_SECONDS = (60.0, 1800.0)
"""Seconds without progress, and in total."""
_LAST_LINES = 20
_TAKEN = ("port is already allocated", "address already in use")


class ContainerServer(StartedServer):
    """A container that is removed when this process ends.

    Its keeper removes it. The reaper of testcontainers would be one more image that may be missing.

    Args:
        kind: The kind of server.
        engine: The Docker engine.
        image: The image.
        launch: How to run it.
        ready_seconds: Time limit until it is ready.
    """

    way = "container"

    def __init__(
        self, kind: Kind, engine: DockerClient, image: str, launch: Launch, ready_seconds: float
    ) -> None:
        super().__init__(kind, launch)
        tag = image.rpartition("/")[2].partition(":")[2]
        self.version = tag if re.fullmatch(r"\d+(\.\d+)+", tag) else ""
        self._engine = engine
        self._image = image
        self._ready_seconds = ready_seconds
        self._container: Any = None
        self._name = f"history-{self.kind}-{uuid.uuid4().hex[:12]}"
        program = (sys.executable, "-P", str(Path(__file__).with_name("removal.py")))
        self._keeper = KeeperClient(self.kind, [*program, self._name])

    @property
    def why_no_faults(self) -> str:
        return ""

    @property
    def log(self) -> str:
        from docker.errors import NotFound

        if self._container is None:
            return ""
        try:
            with _engine_errors(but=NotFound):
                text: bytes = self._container.logs(tail=_LAST_LINES)
        except NotFound:
            return ""
        return text.decode("utf-8", "replace").rstrip()

    def start(self) -> None:
        with _engine_errors():
            if self._container is None:
                port = int(self.address.rpartition(":")[2])
                self._container = self._engine.run(
                    self._image,
                    list(self._launch.command) or None,
                    detach=True,
                    name=self._name,
                    environment=dict(self._launch.environment),
                    ports={f"{self._launch.port_inside}/tcp": ("127.0.0.1", port)},
                )
            else:
                self._container.start()
        try:
            self._wait_until_ready(self._ready_seconds)
        except (NotReady, Refused) as error:
            raise ServerError(
                f"{self._of_kind.title} in a container of {self._image} did not start: {error}. "
                "The end of its log:\n" + textwrap.indent(self.log, "    ")
            ) from None

    def ended(self) -> str:
        with _engine_errors():
            self._container.reload()
        state = self._container.attrs["State"]
        return "" if state["Running"] else f"the container ended with status {state['ExitCode']}"

    def pause(self) -> None:
        with _engine_errors():
            self._container.pause()

    def resume(self) -> None:
        with _engine_errors():
            self._container.reload()
            if self._container.status == "paused":
                self._container.unpause()

    def kill(self) -> None:
        self.resume()  # an engine does not kill a paused container
        with _engine_errors():
            self._container.reload()
            if self._container.status == "running":
                self._container.kill()
            self._container.wait(timeout=_ENGINE_SECONDS)

    def shut_down(self) -> None:
        self.resume()
        with _engine_errors():
            self._container.reload()
            if self._container.status == "running":
                self._container.kill(signal=self._launch.stop_signal)
        deadline = time.monotonic() + SHUT_DOWN_SECONDS
        while not self.ended():
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(not_in_time(self, self._launch.stop_signal))
            time.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        try:
            self._keeper.stop()
        finally:
            self._engine.client.close()


def start(
    kind: Kind,
    image: str,
    options: Options,
    announce: Callable[[str], None],
    *,
    offline: bool,
    promptly: bool,
) -> ContainerServer:
    """Start a server in a container, at a free port of loopback.

    Args:
        kind: The kind of server.
        image: The image; pulled if the engine does not have it.
        options: Options beyond the defaults.
        announce: Called with a line of text before a pull.
        offline: Pull nothing.
        promptly: Use short time limits, because another way can be tried.

    Raises:
        ServerError: There is no engine or no image, or the server did not start.
    """
    engine = find_engine(kind.requirement)
    try:
        _have_image(engine, kind, image, announce, offline=offline, promptly=promptly)
    except BaseException:
        engine.client.close()
        raise
    ready_seconds = _PROMPT_READY_SECONDS if promptly else READY_SECONDS

    def attempt() -> ContainerServer:
        launch = kind.container(free_ports(1, options.port)[0], options)
        server = ContainerServer(kind, engine, image, launch, ready_seconds)
        try:
            server.start()
        except BaseException:
            server.stop()
            raise
        return server

    return until_free(attempt, options)


def find_engine(requirement: str) -> DockerClient:
    """Return a client of a running Docker engine.

    Args:
        requirement: What to give to `pip install` to install the client.

    Raises:
        ServerError: There is no engine, or the client is not installed.
    """
    try:
        from docker.constants import DEFAULT_UNIX_SOCKET
        from docker.errors import DockerException
        from testcontainers.core.docker_client import DockerClient, get_docker_host
    except ImportError:
        raise ServerError(
            f"The package testcontainers is not installed: pip install '{requirement}'"
        ) from None
    try:
        host = get_docker_host() or (DEFAULT_UNIX_SOCKET if os.name == "posix" else "")
        if host.startswith(("unix:", "http+unix:")):
            # If nothing listens, the client leaves its socket open, and pytest warns about it.
            with closing(socket.socket(socket.AF_UNIX)) as knocking:
                knocking.connect(host.partition("//")[2])
        engine = DockerClient(timeout=_ENGINE_SECONDS)
        engine.client.ping()
    except (DockerException, OSError) as error:
        raise ServerError(f"No Docker engine answers: {error}") from None
    return engine


def _have_image(
    engine: DockerClient,
    kind: Kind,
    image: str,
    announce: Callable[[str], None],
    *,
    offline: bool,
    promptly: bool,
) -> None:
    """Pull an image if the engine does not have it, as long as the pull makes progress.

    Raises:
        ServerError: It cannot be pulled, or the pull is too slow.
    """
    import docker
    from docker.errors import DockerException, ImageNotFound
    from docker.utils import kwargs_from_env, parse_repository_tag
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        with _engine_errors(but=ImageNotFound):
            engine.client.images.get(image)
    except ImageNotFound:
        terms = f" ({kind.image_licence})" if image == kind.image else ""
    else:
        return
    if offline:
        raise ServerError(f"Offline mode forbids pulling the image {image}{terms}.")
    announce(f"pulling the image {image}{terms}")
    repository, tag = parse_repository_tag(image)
    silence, whole = _PROMPT_PULL_SECONDS if promptly else _PULL_SECONDS
    deadline = time.monotonic() + whole

    class TimedClient(docker.APIClient):
        """A client with a time limit. Its own pull waits forever; the engine reports progress."""

        def post(self, url: Any, *positional: Any, **named: Any) -> Any:
            return super().post(url, *positional, **{**named, "timeout": silence})

    try:
        with closing(TimedClient(**kwargs_from_env())) as client:
            for event in client.pull(repository, tag or "latest", stream=True, decode=True):
                if "error" in event:
                    raise ServerError(f"The image {image} cannot be pulled: {event['error']}")
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"Pulling the image {image} takes too long. Run: docker pull {image}"
                    )
    except DockerException as error:
        reason = getattr(error, "explanation", None) or error
        raise ServerError(f"The image {image} cannot be pulled: {reason}") from None
    except (RequestException, HTTPError):
        raise ServerError(
            f"The image {image} cannot be pulled: no data for {silence:.0f} s"
        ) from None


@contextmanager
def _engine_errors(but: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Raise errors of the engine as `ServerError`, or as `PortTaken` if the port is in use."""
    from docker.errors import DockerException
    from requests import RequestException

    try:
        yield
    except but:
        raise
    except (DockerException, RequestException) as error:
        if any(sign in str(error) for sign in _TAKEN):
            raise PortTaken from None
        raise ServerError(f"The Docker engine failed: {error}") from None
