"""JSON values that know where they stand, so that what is wrong with a file can be told."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any


class NotSuch(ValueError):
    """A value that is not what it has to be; the text says where it stands and what is wrong."""


@dataclass(frozen=True, slots=True)
class Place:
    """A value and where it stands: `result.json: benchmarks[3].extra_info.size`.

    Every method that returns a value raises NotSuch where this is not one of that type.
    """

    value: Any
    file: str
    path: str = ""

    @classmethod
    def parse(cls, text: str | bytes, file: str) -> Place:
        """The value that a JSON text holds.

        Args:
            text: The text; bytes are UTF-8.
            file: What it is called in errors.

        Raises:
            NotSuch: It is not JSON.
        """
        try:
            return cls(json.loads(text), file)
        except RecursionError:
            raise NotSuch(f"{file}: not JSON that can be read: it is nested too deeply") from None
        except ValueError as error:
            raise NotSuch(f"{file}: not JSON: {error}") from None

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def wrong(self, what: str) -> NotSuch:
        """The error that says what is wrong with this value."""
        return NotSuch(f"{self.file}: {self.path}: {what}" if self.path else f"{self.file}: {what}")

    def at(self, key: str) -> Place:
        """The value of a key that has to be there."""
        if key not in self:
            self._is(dict, "an object")
            raise self.wrong(f"lacks {key!r}")
        return self._inner(key)

    def maybe(self, key: str) -> Place | None:
        """The value of a key, or None where it is missing or null."""
        self._is(dict, "an object")
        return None if self.value.get(key) is None else self._inner(key)

    def items(self) -> Iterator[tuple[str, Place]]:
        """The keys of an object and their values."""
        self._is(dict, "an object")
        return ((key, self._inner(key)) for key in self.value)

    def __iter__(self) -> Iterator[Place]:
        """The values of an array."""
        self._is(list, "an array")
        return (
            Place(value, self.file, f"{self.path}[{index}]")
            for index, value in enumerate(self.value)
        )

    def text(self) -> str:
        """A string that says something."""
        self._is(str, "a string")
        if not self.value.strip():
            raise self.wrong("is empty")
        return str(self.value)

    def number(self) -> float:
        """A finite number."""
        self._is((int, float), "a number")
        if isinstance(self.value, bool) or not math.isfinite(self.value):
            raise self.wrong(f"{json.dumps(self.value)} is not a finite number")
        return float(self.value)

    def positive(self) -> float:
        """A number above 0, as every time and every ratio of times is."""
        number = self.number()
        if number <= 0:
            raise self.wrong(f"{self.value} is not above 0")
        return number

    def whole(self) -> int:
        """A whole number, 0 or more."""
        if type(self.value) is not int or self.value < 0:
            raise self.wrong(f"{json.dumps(self.value)} is not a whole number of 0 or more")
        return self.value

    def moment(self) -> str:
        """A date and time as ISO 8601 has them."""
        try:
            datetime.fromisoformat(self.text())
        except ValueError as error:
            if isinstance(error, NotSuch):
                raise
            raise self.wrong(f"{self.value!r} is not a date and time (ISO 8601)") from None
        return self.text()

    def flag(self) -> bool:
        """True or false."""
        self._is(bool, "true or false")
        return bool(self.value)

    def _inner(self, key: str) -> Place:
        return Place(self.value[key], self.file, f"{self.path}.{key}" if self.path else key)

    def _is(self, kind: type | tuple[type, ...], name: str) -> None:
        if not isinstance(self.value, kind):
            found = _NAMES.get(type(self.value), "a number")
            raise self.wrong(f"is {found} where {name} is wanted")


_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "true or false",
    type(None): "null",
}
