"""Checks of the arguments that the reference histories share."""

from __future__ import annotations

import math
import numbers
import threading

__all__ = [
    "check_batch_size",
    "check_bounds",
    "check_count",
    "check_seconds",
    "check_ttl",
    "check_wait",
]


def check_batch_size(batch_size: int) -> int:
    """Check the size of the pages of an iteration.

    Args:
        batch_size: Messages to read from the store at a time, 1 or more.

    Returns:
        The same value.

    Raises:
        TypeError: It is not an int, or is a bool.
        ValueError: It is less than 1.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be an int, not {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
    return batch_size


def check_count(max_message_count: int) -> int:
    """Check the bound of a read that needs one.

    Args:
        max_message_count: The most messages to return, 0 or more.

    Returns:
        The same value.

    Raises:
        TypeError: It is not an int, or is a bool.
        ValueError: It is negative.
    """
    if max_message_count is None:
        raise TypeError("max_message_count must be an int; use `messages` for all of them")
    check_bounds(max_message_count, None)
    return max_message_count


def check_bounds(
    max_message_count: int | None, max_time_sec: float | None
) -> tuple[int | None, float | None]:
    """Check the two bounds of a read.

    Args:
        max_message_count: The most messages to return, 0 or more; None for any number.
        max_time_sec: The longest time to read, in seconds, 0 or more; None or infinity for any
            time.

    Returns:
        Both bounds; None for one that is missing.

    Raises:
        TypeError: A bound is not a number of the right type. A bool is not a number here.
        ValueError: A bound is negative or not a number (NaN).
    """
    if max_message_count is not None:
        if isinstance(max_message_count, bool) or not isinstance(max_message_count, int):
            raise TypeError(f"max_message_count must be an int or None, not {max_message_count!r}")
        if max_message_count < 0:
            raise ValueError(f"max_message_count must be 0 or more, not {max_message_count}")
    return max_message_count, None if max_time_sec is None else _check_time(max_time_sec)


def _check_time(max_time_sec: float) -> float | None:
    if isinstance(max_time_sec, bool) or not isinstance(max_time_sec, numbers.Real):
        raise TypeError(f"max_time_sec must be a number of seconds or None, not {max_time_sec!r}")
    if not max_time_sec >= 0:  # written this way, it refuses NaN too
        raise ValueError(f"max_time_sec must be 0 or more, not {max_time_sec!r}")
    try:
        seconds = float(max_time_sec)
    except OverflowError:  # an int that is larger than every float
        seconds = math.inf
    return None if math.isinf(seconds) else seconds


def check_wait(
    max_message_count: int | None, max_time_sec: float | None
) -> tuple[int | None, float | None]:
    """Check the two bounds of a read that waits for new messages.

    Args:
        max_message_count: As for :func:`check_bounds`.
        max_time_sec: As for :func:`check_bounds`.

    Returns:
        Both bounds; None for one that is missing.

    Raises:
        TypeError: As for :func:`check_bounds`.
        ValueError: As for :func:`check_bounds`, or both bounds are missing.
    """
    count, seconds = check_bounds(max_message_count, max_time_sec)
    if count is None and seconds is None:
        raise ValueError(
            "messages_from_latest would wait for ever without a bound: give max_message_count or "
            "max_time_sec"
        )
    return count, seconds


def check_ttl(ttl_ms: int | None) -> int | None:
    """Check a time to live.

    Args:
        ttl_ms: Milliseconds, 1 or more; None for ever.

    Returns:
        The same value.

    Raises:
        TypeError: It is neither an int nor None, or is a bool.
        ValueError: It is less than 1.
    """
    if ttl_ms is not None:
        if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, int):
            raise TypeError(f"ttl_ms must be an int or None, not {ttl_ms!r}")
        if ttl_ms < 1:
            raise ValueError(f"ttl_ms must be 1 or more, not {ttl_ms}; None keeps for ever")
    return ttl_ms


def check_seconds(name: str, value: float) -> float:
    """Check a time limit.

    Args:
        name: The name of the argument, for errors.
        value: Seconds, above 0; infinity for any time.

    Returns:
        The value, or the longest time that threads can wait if it is larger than that.

    Raises:
        TypeError: It is not a number, or is a bool.
        ValueError: It is not above 0.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value > 0:  # written this way, it refuses NaN too
        raise ValueError(f"{name} must be above 0 seconds, not {value!r}")
    return min(float(value), threading.TIMEOUT_MAX / 2)
