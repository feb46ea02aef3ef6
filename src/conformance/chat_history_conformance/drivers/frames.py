"""The frames between the two processes: length-prefixed pickles.

Pickle is safe here: both ends run the same code, and nothing else can write to the pipe.
"""

from __future__ import annotations

import inspect
import pickle
import struct
from typing import IO, Any

__all__ = ["Unsendable", "frame_of", "read_frame", "write_frame"]


class Unsendable:
    """The place of a value that cannot be sent. Its `repr` describes the value.

    Args:
        value: The value.
    """

    def __init__(self, value: object) -> None:
        self._text = f"a {type(value).__name__}"
        if inspect.iscoroutine(value):
            value.close()  # otherwise Python warns that it was not awaited

    def __repr__(self) -> str:
        return self._text


def frame_of(value: Any) -> bytes:
    """Return one value as a frame."""
    data = pickle.dumps(value)
    return struct.pack(">Q", len(data)) + data


def write_frame(stream: IO[bytes], value: Any) -> None:
    """Write one value and flush the stream."""
    stream.write(frame_of(value))
    stream.flush()


def read_frame(stream: IO[bytes]) -> Any:
    """Read one value.

    Raises:
        EOFError: The other process has closed the pipe.
    """
    header = stream.read(8)
    if len(header) < 8:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack(">Q", header)[0]))
