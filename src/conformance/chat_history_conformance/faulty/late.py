"""Ten broken histories, all cited, that were written after the contracts to test the suite.

`reports/late-histories.md` describes the results.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_backends.registered import _corrupt_memory
from chat_history_conformance.faulty import faulty


@faulty(
    "late.human_appended_last",
    breaks="ordering.within_batch",
    kind="reordered",
    seen="langchain-ai/langchainjs#7255 https://github.com/langchain-ai/langchainjs/issues/7255: "
    "the input of a run is appended after the messages written during it",
)
class HumanAppendedLast(MemoryChatMessageHistory):
    """Stores the human messages of a batch after the others."""

    def add_messages(self, messages: Any) -> None:
        super().add_messages(sorted(messages, key=lambda message: message.type == "human"))


@faulty(
    "late.condensed",
    breaks="fidelity.message_types",
    kind="altered",
    seen="langchain-community 0.4.2, chat_message_histories/zep_cloud.py: `messages` is one human "
    "message that condenses the session",
)
class Condensed(MemoryChatMessageHistory):
    """Returns a session as one human message with all of its text."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        text = "\n".join(message.text for message in super().messages)
        return [HumanMessage(text)] if text else []


@faulty(
    "late.uuid_spelling",
    breaks="isolation.uuid_spellings",
    kind="foreign",
    seen="langchain-postgres 0.0.19: session_id is a column of type UUID",
)
def uuid_spelling(session_id: str) -> MemoryChatMessageHistory:
    """Two spellings of one UUID as session ids open the same session."""
    with contextlib.suppress(ValueError):  # it is not a UUID
        session_id = str(uuid.UUID(session_id))
    return MemoryChatMessageHistory(session_id)


@faulty(
    "late.one_item",
    breaks="ordering.long_history",
    kind="other",
    seen="langchain-ai/langchain#23971 https://github.com/langchain-ai/langchain/pull/23971: a "
    "session is one item, and above the item's limit every write fails",
)
class OneItem(MemoryChatMessageHistory):
    """Refuses messages once a session has 64 KiB of text."""

    def _append(self, texts: Any) -> None:
        if sum(len(text) for _, text in self._fetch()) + sum(map(len, texts)) > 65_536:
            raise ValueError("Item size has exceeded the maximum allowed size")
        super()._append(texts)


@faulty(
    "late.counted_then_read",
    breaks="concurrency.reader_sees_prefixes",
    kind="lost",
    seen="langchain-ai/langgraph#4168 https://github.com/langchain-ai/langgraph/issues/4168: "
    "state is read in pieces while other callers change it",
)
class CountedThenRead(MemoryChatMessageHistory):
    """Counts the messages on a read, and then takes that many from the newest end."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        count = len(self._fetch())
        time.sleep(0.003)
        return self.last_messages(count)


@faulty(
    "late.older_page_behind",
    breaks="ordering.long_history",
    kind="reordered",
    seen="keybase/client#9639 https://github.com/keybase/client/pull/9639: a page of older "
    "messages is put after the newer ones",
)
class OlderPageBehind(MemoryChatMessageHistory):
    """Reads pages of 100 from the newest on, and joins them in that order."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        newest_first = super().messages[::-1]
        pages = [newest_first[start : start + 100][::-1] for start in range(0, 10_000, 100)]
        return [message for page in pages for message in page]


@faulty(
    "late.offset_pages",
    breaks="concurrency.reader_sees_prefixes",
    kind="duplicated",
    seen="agentscope-ai/agentscope#2081 https://github.com/agentscope-ai/agentscope/pull/2081: "
    "pages by offset from the newest end shift while writes arrive",
)
class OffsetPages(MemoryChatMessageHistory):
    """Reads pages of four by their offset from the newest end."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        read: list[BaseMessage] = []
        while page := super().messages[::-1][len(read) : len(read) + 4]:
            read += page
            time.sleep(0.0005)
        return read[::-1]


@faulty(
    "late.mutable_default",
    breaks="isolation.distinct_ids",
    kind="foreign",
    seen="mem0ai/mem0#5301 https://github.com/mem0ai/mem0/issues/5301: a list as default argument",
)
class MutableDefault(MemoryChatMessageHistory):
    """Keeps the messages of all sessions in a default argument of the constructor."""

    def __init__(self, session_id: str, kept: list[BaseMessage] = []) -> None:  # noqa: B006
        super().__init__(session_id)
        self._kept = kept

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        return [message.model_copy(deep=True) for message in self._kept]

    def add_messages(self, messages: Any) -> None:
        self._kept += [message.model_copy(deep=True) for message in messages]

    def clear(self) -> None:
        self._kept.clear()


@faulty(
    "late.error_reads_as_empty",
    breaks="errors.undecodable_record",
    kind="swallowed_error",
    seen="langchain-couchbase 1.1.1, `messages`: logs any exception and returns the messages read "
    "so far",
    corrupt=_corrupt_memory,
)
class ErrorReadsAsEmpty(MemoryChatMessageHistory):
    """Returns an empty list if a read fails."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        try:
            return super().messages
        except Exception:
            return []


@faulty(
    "late.clear_empties_what_was_read",
    breaks="aliasing.later_store_changes",
    kind="aliased",
    seen="langchain-community 0.4.2, chat_message_histories/tidb.py: clear empties the same list "
    "that `messages` returned",
)
class ClearEmptiesWhatWasRead(MemoryChatMessageHistory):
    """Empties the lists that earlier reads returned on `clear`."""

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]
        read = super().messages
        self.__dict__.setdefault("_handed_out", []).append(read)
        return read

    def clear(self) -> None:
        super().clear()
        for read in self.__dict__.get("_handed_out", []):
            read.clear()
