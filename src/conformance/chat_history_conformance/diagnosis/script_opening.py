"""Functions of scripts that open and close histories, and remove the messages that it stored.

Scripts contain their source, as that of `script_helpers` and `script_claims`.
"""

import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["cleaning_up", "cleared", "closed", "opened", "opened_now"]

history_contexts: list[Any] = []  # histories with the generators and contexts that close them


async def opened(factory: Callable[..., Any], *arguments: Any) -> Any:
    """Open a history, whatever the factory returns: a history, a coroutine or a context."""
    context = factory(*arguments)
    if inspect.isawaitable(context):
        context = await context
    if hasattr(context, "add_messages") or hasattr(context, "aadd_messages"):
        return context
    if inspect.isasyncgen(context):
        history = await anext(context)
    elif inspect.isgenerator(context):
        history = next(context)
    elif hasattr(context, "__aenter__"):
        history = await context.__aenter__()
    elif hasattr(context, "__enter__"):
        history = context.__enter__()
    else:
        return context
    history_contexts.append((history, context))
    return history


def opened_now(factory: Callable[..., Any], *arguments: Any) -> Any:
    """Open a history of a generator function or of a context manager, in this thread."""
    context = factory(*arguments)
    is_context = hasattr(context, "__enter__")
    history = context.__enter__() if is_context else next(context)
    history_contexts.append((history, context))
    return history


async def closed(history: Any) -> None:
    """Close a history as its factory demands, or with its `close` or `aclose`, if any."""
    for place, (opened_history, context) in enumerate(history_contexts):
        if opened_history is history:
            del history_contexts[place]
            if inspect.isasyncgen(context):
                await anext(context, None)
            elif inspect.isgenerator(context):
                next(context, None)
            elif hasattr(context, "__aexit__"):
                await context.__aexit__(None, None, None)
            else:
                context.__exit__(None, None, None)
            return
    if hasattr(history, "aclose"):
        await history.aclose()
    elif hasattr(history, "close"):
        history.close()


async def cleared(factory: Callable[..., Any], session_id: str, method: str) -> None:
    """Clear a session through a new history."""
    history = await opened(factory, session_id)
    done = getattr(history, method)()
    if inspect.isawaitable(done):
        await done
    await closed(history)


@contextlib.contextmanager
def cleaning_up(*actions: Callable[[], Any]) -> Iterator[None]:
    """Call functions at the end, for 5 seconds at most. It does not matter if they fail."""

    def work() -> None:
        for action in actions:
            with contextlib.suppress(Exception):
                action()

    try:
        yield
    finally:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(5)
