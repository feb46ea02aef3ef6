"""The name of the topic of a session: the session id if Kafka allows it, else an encoding."""

from __future__ import annotations

import re

from ..session_ids import ENCODED_PREFIX, encoded_id

__all__ = ["topic_name"]

_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_LONGEST = 249


def topic_name(session_id: str, prefix: str = "") -> str:
    """Return the name of the topic that keeps a session. Two session ids never share one.

    A legal id is the name of its topic, as in langchain-community. Other ids are encoded in base32,
    or as a SHA-256 if base32 is too long. That concerns names that Kafka refuses (`.`, `..`, other
    characters, an empty or too long one) and names that Kafka reserves (those that begin with
    `__`).

    Args:
        session_id: Any string.
        prefix: The beginning of the name of every topic.

    Raises:
        ValueError: The name of a topic cannot begin with `prefix`.
    """
    if prefix and (not _LEGAL.fullmatch(prefix) or prefix.startswith("__") or len(prefix) > 150):
        raise ValueError(
            f"topic_prefix {prefix!r} cannot begin the name of a topic. Use 1 to 150 of the "
            "characters a-z, A-Z, 0-9, '.', '_' and '-', and do not begin with '__', which Kafka "
            "reserves"
        )
    name = prefix + session_id
    reserved = name in (".", "..") or name.startswith("__")
    plain = session_id and not session_id.startswith(ENCODED_PREFIX)
    if plain and _LEGAL.fullmatch(name) and not reserved:
        return name
    return prefix + encoded_id(session_id, _LONGEST - len(prefix))
