"""The values that the functions of a declaration need in the client processes of a campaign."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from chat_history_conformance.campaign.server.serving import Refused
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.errors import DeclarationError
from chat_history_conformance.declaration.lifespan import Lifespans
from chat_history_conformance.declaration.parameters import VARIABLE, publish, published

__all__ = ["provided"]


@contextlib.contextmanager
def provided(backend: Backend, say: Callable[[str], None]) -> Iterator[None]:
    """Run the lifespan of a backend around the `with` block, and publish its values.

    Raises:
        Refused: The lifespan has failed, or a function needs a value that it does not give.
    """
    before = os.environ.get(VARIABLE)
    lifespans = Lifespans()
    try:
        lifespans.start([backend], say)
        if lifespans.troubles:
            raise Refused(f"Backend {backend.name!r}: {lifespans.troubles[backend.name]}.")
        try:
            values = {**published(backend.name), **lifespans.objects.get(backend.name, {})}
            backend.bind(values)
        except DeclarationError as error:
            raise Refused(str(error)) from error
        if backend.wanted:
            publish(backend.name, {name: values[name] for name in backend.wanted})
        yield
    finally:
        lifespans.end()
        for trouble in lifespans.troubles.values():
            say(trouble)
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before
