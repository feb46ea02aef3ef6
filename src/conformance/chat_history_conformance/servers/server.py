"""A server in use, however it was started or found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from chat_history_conformance.servers import variable

__all__ = [
    "Server",
    "Unsupported",
]


class Unsupported(Exception):
    """This server cannot be paused, killed or restarted from here; the message says why."""


class Server(ABC):
    """A server in use. Every method is synchronous and returns when it has taken effect.

    Attributes:
        kind: `kafka` or `elasticsearch`.
        way: `address`, `container`, `jvm` or `mock`.
        address: The address for clients: `host:port`, or a URL. It stays the same after `restart`.
        version: The server's version, or an empty string if it is unknown.
    """

    kind: str
    way: str
    address: str
    version: str = ""

    @property
    def description(self) -> str:
        """Version and way, such as `4.1.1 (jvm)`; never an address or a secret."""
        return f"{self.version} ({self.way})".strip()

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables that this process and its children need."""
        return {variable(self.kind): self.address}

    @property
    def owned(self) -> bool:
        """True if this run started it, so that its data is removed with it."""
        return self.way != "address"

    @property
    def why_no_faults(self) -> str:
        """The reason why it cannot be paused, killed and restarted; empty if it can."""
        return f"the run did not start this server (way: {self.way}), so it does not stop it"

    @property
    def log(self) -> str:
        """The last lines of its output; empty if there is none."""
        return ""

    def ended(self) -> str:
        """Describe how it ended by itself; empty while it runs or if that is unknown."""
        return ""

    def pause(self) -> None:
        """Make it keep its connections and answer nothing until `resume`.

        Raises:
            Unsupported: This server cannot be paused.
        """
        raise Unsupported(self.why_no_faults)

    def resume(self) -> None:
        """End a pause. Does nothing if it is not paused."""
        raise Unsupported(self.why_no_faults)

    def kill(self) -> None:
        """End it at once, like a power cut. Its data stays for `restart`."""
        raise Unsupported(self.why_no_faults)

    def restart(self) -> None:
        """Start it again after `kill`, with its address and data, and wait until it is ready."""
        raise Unsupported(self.why_no_faults)

    @abstractmethod
    def stop(self) -> None:
        """End it and remove its data, if this run started it. Idempotent."""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
