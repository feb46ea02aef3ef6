"""Floors: raw clients doing the least that could be correct, for a history to be set against.

A floor stores what our histories store, the JSON of `message_to_dict`, waits for the same
acknowledgement, and gives back messages. It knows what our histories have to find out: that only
this process writes, that messages were checked, how many there are. Whoever opens one has the
clients of the process, which are warm.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict


def encoded(messages: Sequence[BaseMessage]) -> list[str]:
    """Messages as the text that is stored, one for each."""
    return [json.dumps(message_to_dict(message)) for message in messages]


def decoded(texts: Iterable[str | bytes]) -> list[BaseMessage]:
    """Messages of the text that is stored: new objects each time."""
    return [messages_from_dict([json.loads(text)])[0] for text in texts]
