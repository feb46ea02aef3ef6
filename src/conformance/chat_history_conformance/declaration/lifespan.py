"""The functions of `lifespan=`: each runs once for a run and yields values for every process."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import clip_repr
from chat_history_conformance.declaration.parameters import not_json

__all__ = ["Lifespans"]

_WANTED = 'yield a JSON object once, such as {"url": "redis://127.0.0.1:6379/0"}'


class _Broken(Exception):
    """A function of `lifespan=` did something else than it has to; the text says what to do."""


@dataclass
class _Open:
    """A function that has yielded.

    Attributes:
        function: The function of `lifespan=`.
        value: The generator or the context manager that it returned.
        names: The names of its backends.
        given: The object that it yielded.
    """

    function: Callable[[], Any]
    value: Any
    names: list[str]
    given: dict[str, Any] = field(repr=False)


class Lifespans:
    """The lifespans of the backends of one run.

    Backends that declare the same function share it: it runs once.

    Attributes:
        objects: The yielded objects by the names of backends.
        troubles: The reason why there is no object, or why it could not end, by backend.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Mapping[str, Any]] = {}
        self.troubles: dict[str, str] = {}
        self._open: list[_Open] = []

    def start(self, backends: Iterable[Backend], announce: Callable[[str], None]) -> None:
        """Run each function up to its `yield`.

        Args:
            backends: The backends of the run.
            announce: Called with a line of text for each function.
        """
        failed: dict[int, str] = {}
        for backend in backends:
            function, name = backend.lifespan, backend.name
            if function is None:
                continue
            same = next((one for one in self._open if one.function is function), None)
            if same is None and id(function) not in failed:
                announce(f"{name}: lifespan={_name(function)} starts")
                try:
                    same = _started(function)
                    self._open.append(same)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # such as the outcome of a test
                    failed[id(function)] = _told(function, error)
            if same is None:
                self.troubles[name] = failed[id(function)]
            else:
                same.names.append(name)
                self.objects[name] = same.given

    def end(self) -> None:
        """Run each function to its end, the newest first. Idempotent."""
        while self._open:
            one = self._open.pop()
            try:
                _end(one.value)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                for name in one.names:
                    self.troubles[name] = _told(one.function, error)

    @property
    def handed_on(self) -> Mapping[str, Any]:
        """The plain values that an xdist worker passes to `take_over`."""
        return {"objects": dict(self.objects), "troubles": dict(self.troubles)}

    def take_over(self, handed_on: Mapping[str, Any]) -> None:
        """Use the objects of the xdist controller in a worker; start and end nothing."""
        self.objects, self.troubles = dict(handed_on["objects"]), dict(handed_on["troubles"])


def _started(function: Callable[[], Any]) -> _Open:
    value = function()
    if inspect.isgenerator(value):
        try:
            given = next(value)
        except StopIteration:
            raise _Broken(f"ended without a yield: {_WANTED}") from None
    elif hasattr(type(value), "__enter__"):
        given = value.__enter__()
    else:
        raise _Broken(
            f"returned {clip_repr(value)}, which is not a context manager: write a generator "
            f"function, and {_WANTED}"
        )
    if not isinstance(given, dict):
        _end(value)
        raise _Broken(f"yielded {clip_repr(given)}: {_WANTED}")
    if (problem := not_json(given, "it")) is not None:
        _end(value)
        raise _Broken(
            f"yielded an object that cannot be sent to other processes, because {problem}: yield "
            "the values to connect with, such as a URL, and connect in the factory"
        )
    return _Open(function, value, [], json.loads(json.dumps(given)))


def _end(value: Any) -> None:
    if not inspect.isgenerator(value):
        value.__exit__(None, None, None)
        return
    try:
        next(value)
    except StopIteration:
        return
    value.close()
    raise _Broken("yielded a second time: yield once, and clean up after it")


def _told(function: Callable[[], Any], error: BaseException) -> str:
    name = _name(function)
    if isinstance(error, _Broken):
        return f"lifespan={name} {error}"
    text = str(error).strip().partition("\n")[0]
    return f"lifespan={name} raised {type(error).__name__}{text and f': {text}'}"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
