"""A garbage collector that does not look at the objects from before the contracts.

Modules have more than 100,000 of them, which take about half of its time in a run.
"""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest

__all__ = ["OlderObjects"]


class OlderObjects:
    """The hook that leaves out older objects while contracts run."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Leave out the objects of now, and look at all of them again in the end."""
        gc.collect()
        gc.freeze()
        try:
            return (yield)
        finally:
            gc.unfreeze()
