"""What a run holds of a server, however it came to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from chat_history_conformance.servers import variable


class Unsupported(Exception):
    """This server cannot be paused, killed or restarted from here; the text says why."""


class Server(ABC):
    """A server in use. Every method is synchronous and returns when its effect is there.

    Attributes:
        kind: `kafka` or `elasticsearch`.
        way: `address`, `container`, `jvm` or `mock`.
        address: What a client is given: `host:port`, or a URL. It stays the same after `restart`.
        version: The server's version, or an empty string where it cannot be known.
    """

    kind: str
    way: str
    address: str
    version: str = ""

    @property
    def description(self) -> str:
        """`4.1.1 (jvm)`, for headers and reports; never an address or a secret."""
        return f"{self.version} ({self.way})".strip()

    @property
    def environment(self) -> Mapping[str, str]:
        """What this process and its children have to know of it, as environment variables."""
        return {variable(self.kind): self.address}

    @property
    def owned(self) -> bool:
        """Whether it was started by this run, so that all it stores goes with it."""
        return self.way != "address"

    @property
    def why_no_faults(self) -> str:
        """Why it cannot be paused, killed and restarted; empty where it can."""
        return f"a server named by its {self.way} is not ours to stop"

    @property
    def log(self) -> str:
        """The last lines of its output; empty where there is none."""
        return ""

    def ended(self) -> str:
        """How it ended though nobody stopped it; empty while it runs, or where nobody can know."""
        return ""

    def pause(self) -> None:
        """Let it keep its connections and answer nothing, until `resume`.

        Raises:
            Unsupported: It cannot be done here.
        """
        raise Unsupported(self.why_no_faults)

    def resume(self) -> None:
        """End a pause; does nothing where there is none."""
        raise Unsupported(self.why_no_faults)

    def kill(self) -> None:
        """End it at once, as a power cut would; what it had stored stays for `restart`."""
        raise Unsupported(self.why_no_faults)

    def restart(self) -> None:
        """Start it again after `kill`, at the same address with what it had stored, until ready."""
        raise Unsupported(self.why_no_faults)

    @abstractmethod
    def stop(self) -> None:
        """End it and remove what it stored, where it was started here. Idempotent."""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
