"""Floors: raw clients that do the least correct work, for comparison with a history.

A floor stores the same text as our histories, the JSON of `message_to_dict`, waits for the same
acknowledgement, and returns messages. It knows in advance what our histories must find out: that
only this process writes, that the messages are valid, and how many there are. All floors of a
process share its clients, which are warm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

__all__ = ["decoded", "encoded"]


def encoded(messages: Sequence[BaseMessage]) -> list[str]:
    """Return the stored text of each message."""
    return [json.dumps(message_to_dict(message)) for message in messages]


def decoded(texts: Iterable[str | bytes]) -> list[BaseMessage]:
    """Return a new message object for each stored text."""
    return [messages_from_dict([json.loads(text)])[0] for text in texts]
