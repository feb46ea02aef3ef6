"""The registry of broken histories."""

from __future__ import annotations

import pytest

from chat_history_backends.memory import MemoryChatMessageHistory
from chat_history_conformance import faulty
from chat_history_conformance.faulty.clear import ErrorSwallowed


class Copied(MemoryChatMessageHistory):
    """A class whose id was copied from another one."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, faulty.Faulty]:
    """Return a copy of the registry, so that a test leaves no history in the real one."""
    copied = dict(faulty.load())
    monkeypatch.setattr(faulty, "_faulty", copied)
    return copied


@pytest.mark.usefixtures("registry")
def test_a_second_broken_history_with_the_same_id_is_refused_with_both_names() -> None:
    register = faulty.faulty("clear.error_swallowed", breaks="clear.empties", kind="lost", seen="x")
    with pytest.raises(ValueError, match=r"id 'clear\.error_swallowed'") as refusal:
        register(Copied)
    text = str(refusal.value)
    assert f"{ErrorSwallowed.__module__}.ErrorSwallowed" in text
    assert f"{__name__}.Copied" in text
    assert text.endswith("Choose another id for one of them.")


@pytest.mark.usefixtures("registry")
def test_two_broken_histories_of_one_module_cannot_share_an_id() -> None:
    register = faulty.faulty("clear.copied", breaks="clear.empties", kind="lost", seen="x")
    register(Copied)
    with pytest.raises(ValueError, match=r"clear\.copied"):
        register(type("Other", (Copied,), {"__module__": __name__}))


def test_a_refused_broken_history_does_not_replace_the_first_one(
    registry: dict[str, faulty.Faulty],
) -> None:
    first = registry["clear.error_swallowed"]
    register = faulty.faulty(first.id, breaks=first.breaks, kind=first.kind, seen=first.seen)
    with pytest.raises(ValueError, match="Two broken histories"):
        register(Copied)
    assert registry[first.id] is first


def test_each_broken_history_describes_its_defect_in_one_sentence() -> None:
    undescribed = [
        history.id for history in faulty.load().values() if not history.defect.endswith(".")
    ]
    assert undescribed == []
