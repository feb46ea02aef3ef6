"""Histories that return messages in another order than they were added in."""

from __future__ import annotations

from backends.memory import MemoryChatMessageHistory
from langchain_core.messages import BaseMessage

from conformance.faulty import INVENTED, faulty


@faulty(
    "ordering.newest_first",
    breaks="ordering.across_calls",
    kind="reordered",
    seen=INVENTED,
)
class NewestFirst(MemoryChatMessageHistory):
    """`messages` lists the newest message first."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return super().messages[::-1]
