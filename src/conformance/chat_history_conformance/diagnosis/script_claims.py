"""Claims about histories: the run calls them, and scripts contain their source.

Each is short and uses nothing but the standard library, langchain-core and its neighbours here.
"""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, message_to_dict

__all__ = [
    "are_among",
    "are_at_the_end_of",
    "are_consecutive",
    "are_equal",
    "are_messages",
    "are_no_files",
    "are_same",
    "are_whole",
    "at_least",
    "at_most",
    "below",
    "carries",
    "content",
    "contents",
    "contents_are",
    "contents_are_one_of",
    "contents_besides",
    "deliver_all",
    "deliver_once",
    "dump",
    "end_with_same",
    "full_text",
    "grow",
    "have_no_doubles",
    "is_empty",
    "is_list",
    "is_sized",
    "is_type_or_value_error",
    "keep_order",
    "mentions",
    "mentions_any",
    "of_writer",
    "reads_are",
    "reads_are_prefixes",
    "refused_or_at_least",
    "starting_with",
    "stay_together",
    "was_accepted",
    "was_refused",
]


def content(message: Any) -> Any:
    """Return the content of a message, and anything else as it is."""
    return getattr(message, "content", message)


def contents(messages: Iterable[Any]) -> list[Any]:
    """Return the content of each message."""
    return [content(message) for message in messages]


# -- messages ----------------------------------------------------------------------------------


def is_empty(messages: Sequence[Any]) -> bool:
    """Return whether there are no messages."""
    return len(messages) == 0


def at_least(messages: Sequence[Any], number: int) -> bool:
    """Return whether there are `number` messages or more."""
    return len(messages) >= number


def at_most(messages: Sequence[Any], number: int) -> bool:
    """Return whether there are `number` messages or fewer."""
    return len(messages) <= number


def is_list(value: Any) -> bool:
    """Return whether a read returned a list."""
    return isinstance(value, list)


def is_sized(value: Any) -> bool:
    """Return whether a read returned something like a list, and no text."""
    listed = hasattr(value, "__iter__") and hasattr(value, "__len__")
    return listed and not isinstance(value, (str, bytes))


def are_messages(items: Iterable[Any]) -> bool:
    """Return whether all items are messages."""
    return all(isinstance(item, BaseMessage) for item in items)


def are_equal(value: Any, expected: Any) -> bool:
    """Return whether two values are equal."""
    return bool(value == expected)


def contents_are(messages: Iterable[Any], expected: list[Any]) -> bool:
    """Return whether the messages have the expected contents, in order."""
    return contents(messages) == expected


def contents_are_one_of(messages: Iterable[Any], lists: list[list[Any]]) -> bool:
    """Return whether the messages have the contents of one of the lists."""
    return contents(messages) in lists


def contents_besides(messages: Iterable[Any], others: list[str], expected: list[str]) -> bool:
    """Return whether, without those in `others`, the messages have the expected contents."""
    return [text for text in contents(messages) if text not in others] == expected


def have_no_doubles(messages: Iterable[Any], among: list[str]) -> bool:
    """Return whether each content in `among` came at most once."""
    came = [text for text in contents(messages) if text in among]
    return len(set(came)) == len(came)


def are_consecutive(messages: Sequence[Any], count: int) -> bool:
    """Return whether there are `count` messages, and their contents are `m4`, `m5` and so on."""
    texts = contents(messages)
    first = int(str(texts[0])[1:]) if texts else 0
    return texts == [f"m{number}" for number in range(first, first + count)]


def starting_with(messages: Iterable[Any], start: str, expected: list[str]) -> bool:
    """Return whether exactly the expected contents begin with `start`, in order."""
    return [text for text in map(str, contents(messages)) if text.startswith(start)] == expected


def keep_order(messages: Iterable[Any], added: list[str]) -> bool:
    """Return whether those messages that are in `added` came in its order."""
    places = [added.index(text) for text in contents(messages) if text in added]
    return places == sorted(places)


def end_with_same(messages: Iterable[Any], added: list[str]) -> bool:
    """Return whether those messages that are in `added` are the last ones of it, in order."""
    came = [text for text in contents(messages) if text in added]
    return came == added[max(0, len(added) - len(came)) :]


def are_among(messages: Iterable[Any], expected: list[str]) -> bool:
    """Return whether the messages are some of those with these contents, in order, each once."""
    rest = iter(expected)
    return all(text in rest for text in contents(messages))


def stay_together(messages: Iterable[Any], batch: list[str]) -> bool:
    """Return whether the contents of a batch follow one another."""
    return f",{','.join(batch)}," in f",{','.join(map(str, contents(messages)))},"


def dump(message: Any) -> str:
    """Return all fields of a message, as text."""
    if not isinstance(message, BaseMessage):
        return repr(message)

    def typed(value: Any) -> list[str]:
        return [type(value).__name__, repr(value)]

    return json.dumps(
        json.loads(json.dumps(message_to_dict(message), default=typed)), sort_keys=True
    )


def are_same(messages: Iterable[Any], others: Iterable[Any]) -> bool:
    """Return whether two reads returned messages with the same fields, in the same order."""
    return [dump(message) for message in messages] == [dump(message) for message in others]


# -- concurrent reads and writes -----------------------------------------------------------------


def of_writer(messages: Iterable[Any], writer: int) -> list[str]:
    """Return the contents of one writer: `w0.0`, `w0.1`, ... for the first."""
    return [text for text in map(str, contents(messages)) if text.startswith(f"w{writer}.")]


def are_whole(messages: Sequence[Any], counts: list[int]) -> bool:
    """Return whether exactly the messages of all writers came, each writer's in order."""
    return len(messages) == sum(counts) and all(
        of_writer(messages, writer) == [f"w{writer}.{number}" for number in range(count)]
        for writer, count in enumerate(counts)
    )


def reads_are(lanes: Iterable[Iterable[Any]], expected: list[Any]) -> bool:
    """Return whether each read of each lane has the expected contents."""
    return all(contents(read) == expected for lane in lanes for read in lane)


def reads_are_prefixes(lanes: Iterable[Iterable[Any]], writers: int) -> bool:
    """Return whether each read shows, of each writer, the first messages without a gap."""
    reads = [
        of_writer(read, writer) for lane in lanes for read in lane for writer in range(writers)
    ]
    return all(
        [text.partition(".")[2] for text in read] == [str(number) for number in range(len(read))]
        for read in reads
    )


def grow(reads: Iterable[Sequence[Any]]) -> bool:
    """Return whether each read has at least as many messages as the one before."""
    sizes = [len(read) for read in reads]
    return sizes == sorted(sizes)


def deliver_all(lanes: Iterable[Iterable[Iterable[Any]]], number: int) -> bool:
    """Return whether each of `m0`, `m1`, ... was delivered to one of the reads."""
    came = {content(message) for lane in lanes for read in lane for message in read}
    return came >= {f"m{place}" for place in range(number)}


def deliver_once(lanes: Iterable[Iterable[Iterable[Any]]]) -> bool:
    """Return whether no message was delivered twice."""
    came = [content(message) for lane in lanes for read in lane for message in read]
    return len(set(came)) == len(came)


# -- exceptions ----------------------------------------------------------------------------------


def was_refused(error: BaseException | None) -> bool:
    """Return whether the call raised."""
    return error is not None


def was_accepted(error: BaseException | None) -> bool:
    """Return whether the call did not raise."""
    return error is None


def refused_or_at_least(error: BaseException | None, messages: Sequence[Any], number: int) -> bool:
    """Return whether the call raised, or returned `number` messages or more."""
    return error is not None or len(messages) >= number


def is_type_or_value_error(error: BaseException | None) -> bool:
    """Return whether the call did not raise, or raised a TypeError or a ValueError."""
    return error is None or isinstance(error, (TypeError, ValueError))


def full_text(error: BaseException | None) -> str:
    """Return the text of an error, its notes, and the errors that it came from."""
    texts: list[str] = []
    while error is not None and len(texts) < 10:
        texts.append(f"{error} {' '.join(getattr(error, '__notes__', ()))}")
        hidden = error.__suppress_context__  # by `from None`, which no traceback shows
        error = error.__cause__ or (None if hidden else error.__context__)
    return " / ".join(texts)


def mentions(error: BaseException | None, word: str) -> bool:
    """Return whether the text of an error contains a word."""
    return word in full_text(error)


def mentions_any(error: BaseException | None, words: list[str]) -> bool:
    """Return whether the call did not raise, or its error contains one of the words."""
    text = full_text(error).lower()
    return error is None or any(word in text for word in words)


def carries(error: BaseException | None, expected: list[str]) -> bool:
    """Return whether an error has a list `messages` with the expected contents."""
    messages = getattr(error, "messages", None)
    return isinstance(messages, list) and contents(messages) == expected


def are_at_the_end_of(read: Any, expected: list[str]) -> bool:
    """Return whether a read, or an error that carries messages, ends with the expected contents."""
    came = contents(getattr(read, "messages", read))
    return came[len(came) - len(expected) :] == expected


# -- time and files ------------------------------------------------------------------------------


def below(number: float, limit: float) -> bool:
    """Return whether a number is below a limit."""
    return number < limit


def are_no_files(directory: str, start: str) -> bool:
    """Return whether a directory has no file whose name begins with `start`."""
    return not [name for name in os.listdir(directory) if name.startswith(start)]
