"""Session ids to the names of topics: the id itself where Kafka takes it, an encoding where not."""

from __future__ import annotations

import re

from ..ids import ENCODED, encoded_id

_LEGAL = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_LONGEST = 249


def topic_name(session_id: str, prefix: str = "") -> str:
    """The topic that keeps a session; two session ids never have the same.

    A legal id is the topic's name, as langchain-community has it. Whatever Kafka would refuse or
    keeps for itself (`.`, `..`, a name that begins with `__`, other characters, an empty or too
    long one) is encoded: in base32, or as a SHA-256 where that is too long.

    Args:
        session_id: Any string.
        prefix: What every topic's name begins with.

    Raises:
        ValueError: `prefix` cannot begin the name of a topic.
    """
    if prefix and (not _LEGAL.fullmatch(prefix) or prefix.startswith("__") or len(prefix) > 150):
        raise ValueError(
            f"topic_prefix must be 1 to 150 of the characters a-z, A-Z, 0-9, '.', '_' and '-', and "
            f"not begin with '__', which Kafka keeps for itself; not {prefix!r}"
        )
    name = prefix + session_id
    kept_by_kafka = name in (".", "..") or name.startswith("__")
    plain = session_id and not session_id.startswith(ENCODED)
    if plain and _LEGAL.fullmatch(name) and not kept_by_kafka:
        return name
    return prefix + encoded_id(session_id, _LONGEST - len(prefix))
