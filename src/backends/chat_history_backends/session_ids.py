"""Names for session ids that a store does not accept as they are."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["ENCODED_PREFIX", "encoded_id"]

ENCODED_PREFIX = "chat-history-id-"
"""The beginning of the name of every encoded id."""


def encoded_id(session_id: str, longest: int) -> str:
    """Return the name of an id that cannot be stored as it is. No two ids share a name.

    The name consists of lower-case letters, digits and `-`. It holds the id in base32, or its
    SHA-256 if base32 is too long. An id that begins with `ENCODED_PREFIX` must be encoded too,
    because it could be the name of another id.

    Args:
        session_id: Any string, including the empty one and half a surrogate pair.
        longest: The most characters that the name may have; at least 81.
    """
    raw = session_id.encode("utf-8", "surrogatepass")
    name = f"{ENCODED_PREFIX}x{base64.b32encode(raw).decode().rstrip('=').lower()}"
    if len(name) <= longest:
        return name
    return f"{ENCODED_PREFIX}h{hashlib.sha256(raw).hexdigest()}"
