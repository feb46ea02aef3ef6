"""Questions to a cluster of Elasticsearch nodes: who has the data, who is master, is it healthy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from chat_history_conformance.servers import ServerError, elasticsearch_http
from chat_history_conformance.servers.jvm import Control
from chat_history_conformance.servers.kind import Launch, NotReady, Refused

__all__ = [
    "ElasticsearchControl",
]

_SECONDS = 5.0
_MOVE_SECONDS = 60.0
_LOOK_SECONDS = 0.2
_MASTER = "master_timeout=1s"
_SERVING = ("STARTED", "RELOCATING")


class ElasticsearchControl(Control):
    """Questions to nodes of which each has data and can be master. A node is named by its number.

    Args:
        launches: How each member runs.
    """

    roles = ("primary", "replica", "master")

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._addresses = [launch.address for launch in launches]
        self._config = launches[0].config
        self._identity = launches[0].identity

    def holder(self, role: str, session: str, up: Sequence[int]) -> int:
        if role == "master":
            found = self._get(f"/_cat/master?format=json&{_MASTER}", up)
            if not found:
                raise ServerError("the nodes are electing a master; no member has this role now")
            return int(found[0]["node"])
        copies = self._copies(session, up)
        for copy in copies:
            if copy["prirep"] == role[0] and copy["state"] in _SERVING:
                return _node(copy)
        raise ServerError(f"the index {copies[0]['index']} has no {role} in service now")

    def reassign(self, session: str, up: Sequence[int]) -> None:
        copies = self._copies(session, up)
        used = [_node(copy) for copy in copies if copy["node"]]
        spare = [number for number in up if number not in used]
        start = self.holder("primary", session, up)
        if not spare:
            raise ServerError("all members that are up have the data already, so it cannot move")
        move = {
            "index": copies[0]["index"],
            "shard": int(copies[0]["shard"]),
            "from_node": str(start),
            "to_node": str(spare[0]),
        }
        self._request("POST", f"/_cluster/reroute?{_MASTER}", up, {"commands": [{"move": move}]})
        deadline = time.monotonic() + _MOVE_SECONDS
        while start in map(_node, (copy for copy in self._copies(session, up) if copy["node"])):
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the index {copies[0]['index']} was not moved from member {start} to member "
                    f"{spare[0]} within {_MOVE_SECONDS:.0f} s"
                )
            time.sleep(_LOOK_SECONDS)

    def check_member(self, number: int, seconds: float) -> None:
        self._health(number, seconds)

    def check_health(self, seconds: float) -> None:
        # A member that was cut off may still believe that all is well: ask each of them.
        for number, _ in enumerate(self._addresses, 1):
            health = self._health(number, seconds)
            if (known := health["number_of_nodes"]) < len(self._addresses):
                raise NotReady(f"member {number} knows {known} of {len(self._addresses)} members")
            if health["status"] != "green" or health["relocating_shards"]:
                raise NotReady(f"its health is {health['status']}, says member {number}")

    def _health(self, number: int, seconds: float) -> Mapping[str, Any]:
        """Return the health of the cluster that one member knows."""
        address = self._addresses[number - 1]
        path = f"/_cluster/health?timeout=1s&{_MASTER}"
        status, health = elasticsearch_http.get(address, path, self._config, seconds)
        if status != 200 or "cluster_name" not in health:
            raise NotReady(f"member {number} has not joined the others yet (HTTP status {status})")
        if health["cluster_name"] != self._identity:
            raise NotReady("another Elasticsearch cluster answers there")
        return health

    def _copies(self, session: str, up: Sequence[int]) -> list[dict[str, Any]]:
        """Return the copies of the shard that has the documents of a session.

        The index is the one with the session in its name, else the one with most documents.
        """
        columns = "h=index,shard,prirep,state,docs,node"
        rows = self._get(f"/_cat/shards?format=json&{columns}&{_MASTER}", up)
        known = [row for row in rows if not row["index"].startswith(".")]
        if not known:
            raise ServerError("no index exists yet, so no member has its data")
        index = max(
            known, key=lambda row: (session in row["index"], int(row["docs"] or 0), row["index"])
        )["index"]
        routed = f"/{quote(index)}/_search_shards?routing={quote(session, safe='')}&{_MASTER}"
        groups = self._get(routed, up)["shards"]
        shards = {str(copy["shard"]) for group in groups for copy in group}
        return [row for row in known if row["index"] == index and row["shard"] in shards]

    def _get(self, path: str, up: Sequence[int]) -> Any:
        return self._request("GET", path, up)

    def _request(self, method: str, path: str, up: Sequence[int], body: object = None) -> Any:
        """Return the answer of the first member that gives one."""
        reasons = []
        for number in up:
            address = self._addresses[number - 1]
            try:
                status, answer = elasticsearch_http.request(
                    method, address, path, self._config, _SECONDS, body
                )
            except (NotReady, Refused) as error:
                reasons.append(f"member {number}: {error}")
                continue
            if status == 200:
                return answer
            reasons.append(f"member {number}: HTTP status {status}: {_reason(answer)}")
        raise ServerError(f"the cluster does not answer: {'; '.join(reasons)}")


def _node(copy: Mapping[str, Any]) -> int:
    """Return the member that has a copy. While it moves, its name is followed by the new one."""
    return int(str(copy["node"]).split()[0])


def _reason(answer: object) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    return str(error.get("reason", "")) if isinstance(error, dict) else str(error or "")
