"""A wall clock that stops or goes back while a history stores messages.

Scripts carry the source of the class, so it contains its own imports.
"""

from __future__ import annotations

__all__ = ["SetClock"]


class SetClock:
    """A context manager that sets the wall clock of this process.

    Inside the block, `time.time`, `time.time_ns` and `datetime` return `seconds`. This covers the
    modules `time` and `datetime`, and the names that the modules of `history` and its package
    imported from them. The clock of a server does not change.

    Args:
        history: The history whose modules are searched for clocks.
        seconds: The time that every call returns, in seconds since the epoch.
    """

    def __init__(self, history, seconds):  # type: ignore[no-untyped-def]
        import datetime
        import sys
        import time

        real = datetime.datetime

        class Meta(type):
            def __instancecheck__(cls, value):  # type: ignore[no-untyped-def]
                return isinstance(value, real)

        class Datetime(real, metaclass=Meta):  # type: ignore[misc, valid-type]
            now = staticmethod(lambda tz=None: real.fromtimestamp(seconds, tz))
            today = staticmethod(lambda: real.fromtimestamp(seconds))
            utcnow = staticmethod(
                lambda: real.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None)
            )

        replacements = {
            id(time.time): lambda: float(seconds),
            id(time.time_ns): lambda: int(seconds * 1_000_000_000),
            id(real): Datetime,
        }
        packages = {kind.__module__.partition(".")[0] for kind in type(history).__mro__}
        packages -= {"builtins", "abc", "typing", "pydantic", "langchain_core"}
        modules = [
            module
            for name, module in list(sys.modules.items())
            if name in ("time", "datetime") or name.partition(".")[0] in packages
        ]
        self.changes = [
            (module, name, value, replacements[id(value)])
            for module in modules
            for name, value in list(vars(module).items())
            if id(value) in replacements and module.__name__ != __name__
        ]

    def __enter__(self):  # type: ignore[no-untyped-def]
        for module, name, _, replacement in self.changes:
            setattr(module, name, replacement)
        return self

    def __exit__(self, *exception):  # type: ignore[no-untyped-def]
        for module, name, value, _ in self.changes:
            setattr(module, name, value)
