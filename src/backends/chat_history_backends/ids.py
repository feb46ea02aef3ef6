"""Session ids as names, for a store that does not take every string for one."""

from __future__ import annotations

import base64
import hashlib

ENCODED = "chat-history-id-"
"""How the name of an encoded id begins."""


def encoded_id(session_id: str, longest: int) -> str:
    """The name that stands for an id which cannot be kept as it is; no two ids have the same.

    It has lower-case letters, digits and `-` alone: the id in base32, or its SHA-256 where that is
    too long. An id that itself begins with `ENCODED` must be encoded too, or it could be the name
    of another one.

    Args:
        session_id: Any string, the empty one and half a surrogate pair included.
        longest: How many characters the name may have; at least 81.
    """
    raw = session_id.encode("utf-8", "surrogatepass")
    name = f"{ENCODED}x{base64.b32encode(raw).decode().rstrip('=').lower()}"
    return name if len(name) <= longest else f"{ENCODED}h{hashlib.sha256(raw).hexdigest()}"
