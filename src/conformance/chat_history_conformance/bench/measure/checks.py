"""Checks that dataclasses make of their values. Each raises a ValueError that names the field."""

from __future__ import annotations

import math
from datetime import datetime

__all__ = [
    "check_count",
    "check_finite",
    "check_interval",
    "check_positive",
    "check_text",
    "check_time",
]


def check_text(**texts: str | None) -> None:
    """Refuse an empty text. None is allowed."""
    for name, text in texts.items():
        if text is not None and not text.strip():
            raise ValueError(f"{name} is empty")


def check_time(**times: str | None) -> None:
    """Refuse a text that is not a date and time (ISO 8601). None is allowed."""
    for name, text in times.items():
        try:
            datetime.fromisoformat(text or "2000-01-01")
        except ValueError:
            raise ValueError(f"{name} must be a date and time (ISO 8601), not {text!r}") from None


def check_count(**counts: int | None) -> None:
    """Refuse a number below 0. None is allowed."""
    for name, count in counts.items():
        if count is not None and count < 0:
            raise ValueError(f"{name} must be 0 or more, not {count}")


def check_finite(**numbers: float) -> None:
    """Refuse a number that is infinite or not a number."""
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, not {number}")


def check_positive(**numbers: float) -> None:
    """Refuse a number that is not above 0 and finite."""
    check_finite(**numbers)
    for name, number in numbers.items():
        if number <= 0:
            raise ValueError(f"{name} must be above 0, not {number:g}")


def check_interval(
    name: str, value: float, interval: tuple[float, float], *, positive: bool = False
) -> None:
    """Refuse an interval that does not contain its value, or has numbers that are not allowed."""
    check = check_positive if positive else check_finite
    check(**{name: value, "interval[0]": interval[0], "interval[1]": interval[1]})
    if not interval[0] <= value <= interval[1]:
        raise ValueError(f"interval {list(interval)} does not contain the {name} {value}")
