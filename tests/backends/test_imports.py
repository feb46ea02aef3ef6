"""Tests that the backends work without the conformance suite."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["memory", "sqlite", "kafka", "elasticsearch"])
def test_importing_a_backend_does_not_import_the_suite(module: str) -> None:
    code = (
        f"import sys, chat_history_backends.{module}\n"
        "print([name for name in sys.modules if name.startswith('chat_history_conformance')])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["memory", "sqlite", "kafka", "elasticsearch"])
def test_every_exported_name_of_a_backend_exists(module: str) -> None:
    package = __import__(f"chat_history_backends.{module}", fromlist=["__all__"])
    assert package.__all__
    assert all(hasattr(package, name) for name in package.__all__)
