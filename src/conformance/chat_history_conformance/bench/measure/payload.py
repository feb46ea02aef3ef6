"""The messages that the operations store: the mixed conversation, and the plain one.

A conversation is the same in every run and on every machine. Its first messages are those of every
longer one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count, islice
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

__all__ = ["DEFAULT", "PAYLOADS", "Payload"]

_PROSE = (
    "The café in Zürich opens at 7:30 and closes at 22:00 on weekdays – on Sundays it stays closed."
    " “Ask at the bar”, says the note on the door.\n"
)
_DATA = '{"id": 4711, "name": "Löwe & Söhne", "price": 12.5, "tags": ["a", "b\\n"], "sold": null}\n'


class Payload:
    """A conversation of any length.

    Args:
        name: Its name.
        make: Makes the message with a number; the first is 0.
    """

    def __init__(self, name: str, make: Callable[[int], BaseMessage]) -> None:
        self.name = name
        self._new = map(make, count())
        self._made: list[BaseMessage] = []

    def conversation(self, length: int) -> list[BaseMessage]:
        """Return the first `length` messages."""
        self._made += islice(self._new, max(0, length - len(self._made)))
        return self._made[:length]

    @property
    def answer(self) -> list[BaseMessage]:
        """The one message that an operation adds: an answer of a model."""
        return self.conversation(6)[5:]

    @property
    def turn(self) -> list[BaseMessage]:
        """The two messages of a chat turn: a question and its answer."""
        return self.conversation(10)[8:]

    @property
    def agent_turn(self) -> list[BaseMessage]:
        """The five messages of an agent's turn: three tool calls, three results, the answer."""
        return self.conversation(6)[1:]


def _plain(number: int) -> BaseMessage:
    """Return a message of about 200 bytes of JSON, alternately human and AI."""
    text = "This is a message of an ordinary conversation, with number"
    return (AIMessage if number % 2 else HumanMessage)(f"{text} {number:05}")


def _mixed(number: int) -> BaseMessage:
    kind, sizes = _MIX[number % 10]
    return kind(number, sizes[number // 10 % 10])


def _text(number: int, size: int, repeated: str = _PROSE) -> str:
    """Return a text that begins with the number, of at most `size` bytes and at least 3 less."""
    text = f"{number:06} {repeated * (size // len(repeated) + 1)}"
    return text.encode()[:size].decode(errors="ignore")


def _human(number: int, size: int) -> BaseMessage:
    return HumanMessage(_text(number, size))


def _blocks(number: int, size: int) -> BaseMessage:
    image = {"url": f"https://example.org/charts/{number:06}.png", "detail": "low"}
    return HumanMessage(
        [
            {"type": "text", "text": _text(number, size)},
            {"type": "image_url", "image_url": image},
        ]
    )


def _ai(number: int, size: int) -> BaseMessage:
    return AIMessage(_text(number, size))


def _answer(number: int, size: int) -> BaseMessage:
    return AIMessage(_text(number, size), **_model_facts(number, size, "stop"))


def _calls(number: int, size: int) -> BaseMessage:
    calls = [
        {
            "name": "search_products",
            "args": {"query": _text(number, size), "limit": 10 * place, "filters": {"sold": None}},
            "id": _call_id(number, place),
            "type": "tool_call",
        }
        for place in (1, 2, 3)
    ]
    return AIMessage("", tool_calls=calls, **_model_facts(number, 3 * size, "tool_calls"))


def _result(number: int, size: int) -> BaseMessage:
    place = number % 10 - 1
    return ToolMessage(
        _text(number, size, _DATA),
        name="search_products",
        tool_call_id=_call_id(number - place, place),
    )


def _call_id(number: int, place: int) -> str:
    return f"call_{number:016x}_{place}"


def _model_facts(number: int, size: int, reason: str) -> dict[str, Any]:
    """Return the id, the usage and the metadata of a response, such as a provider sends them."""
    read, written = 200 + number % 10_000, size // 4
    return {
        "id": f"run--{number:032x}",
        "usage_metadata": {
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
            "input_token_details": {"cache_read": read // 2, "audio": 0},
            "output_token_details": {"reasoning": 0, "audio": 0},
        },
        "response_metadata": {
            "model_name": "example-model-2026-01-01",
            "model_provider": "example",
            "finish_reason": reason,
            "system_fingerprint": "fp_0123456789",
            "logprobs": None,
        },
    }


_MIX: tuple[tuple[Callable[[int, int], BaseMessage], tuple[int, ...]], ...] = (
    (_human, (60, 20, 40, 100, 30, 200, 80, 1_000, 50, 400)),
    (_calls, (60, 20, 100, 40, 200, 30, 80, 400, 50, 100)),
    (_result, (200, 50, 20, 100, 60, 500, 80, 1_000, 30, 300)),
    (_result, (800, 500, 1_000, 300, 2_000, 200, 400, 5_000, 600, 1_500)),
    (_result, (2_000, 3_000, 500, 1_000, 20_000, 800, 5_000, 1_500, 300, 2_500)),
    (_answer, (800, 400, 150, 2_000, 500, 1_000, 200, 300, 600, 4_000)),
    (_blocks, (200, 100, 400, 50, 800, 20, 1_500, 300, 600, 80)),
    (_ai, (300, 20, 600, 100, 1_000, 50, 150, 400, 2_000, 200)),
    (_human, (100, 30, 200, 20, 60, 500, 40, 80, 300, 50)),
    (_answer, (500, 1_000, 200, 800, 100, 3_000, 400, 600, 20, 300)),
)
"""The kinds of ten messages in a row, each with the sizes of its text in bytes in ten such rows.
`docs/benchmarks.md` describes the mix."""

DEFAULT = Payload("mixed", _mixed)
"""The payload of a run that asks for no other."""

PAYLOADS: Mapping[str, Payload] = {one.name: one for one in (DEFAULT, Payload("plain", _plain))}
"""All payloads by name."""
