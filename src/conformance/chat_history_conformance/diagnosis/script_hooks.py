"""Functions of scripts that call the functions of a declaration, such as `fresh=` and `refuse=`.

Scripts contain their source, as that of `script_helpers` and `script_claims`.
"""

import contextlib
from typing import Any

__all__ = ["all_left", "ask_for", "contexts", "entered", "left"]

contexts: list[Any] = []  # the entered contexts, the newest last


def entered(value: Any) -> Any:
    """Enter a context manager and return its value; return any other value itself."""
    is_context = hasattr(type(value), "__enter__")
    contexts.append(value if is_context else contextlib.nullcontext(value))
    return contexts[-1].__enter__()


def left() -> None:
    """Leave the context that was entered last."""
    contexts.pop().__exit__(None, None, None)


def all_left() -> None:
    """Leave everything that was entered."""
    while contexts:
        left()


def ask_for(request: str) -> None:
    """Ask the reader to do something, and wait for Enter."""
    input(f"Please {request}, then press Enter: ")
