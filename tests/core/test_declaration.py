"""What an adopter states about a backend, and what is refused, with a text that helps."""

from __future__ import annotations

import functools
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance.declaration import backend as declaration
from chat_history_conformance.declaration.backend import (
    Backend,
    DeclarationError,
    history_backend,
    resolve,
)
from chat_history_conformance.declaration.capabilities import Capabilities, assumed, catalogue

IDS = ("ordering.within_batch", "ordering.across_calls")


@pytest.fixture(autouse=True)
def _forget_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declaration, "_declared", {})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable directory; what is imported from it is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def factory(session_id: str) -> Any:
    raise AssertionError("declaring opens nothing")


def refusal(**stated: Any) -> str:
    """The error text about a declaration."""
    with pytest.raises(DeclarationError) as refused:
        Backend("mine", factory, **stated).check(IDS)
    return str(refused.value)


def test_a_declared_callable_stays_what_it_was_and_is_found_by_name() -> None:
    assert history_backend("mine", lacks={"threads": "slow"})(factory) is factory
    assert resolve("mine").factory is factory
    assert resolve("mine").lacks == {"threads": "slow"}
    assert "mine" in declaration.names()


def test_a_declaration_without_claims_is_right() -> None:
    Backend("mine", factory).check(IDS)


def test_everything_that_may_be_given_up_may_be_given_up() -> None:
    lacks = dict.fromkeys((set(assumed()) - {"sync"}), "a reason")
    Backend("mine", factory, lacks=lacks, deviations={IDS[0]: "a reason"}).check(IDS)


def test_an_unknown_capability_is_refused_with_the_nearest() -> None:
    text = refusal(lacks={"durabel": "a reason"})
    assert "'durabel'" in text
    assert "did you mean 'durable'?" in text
    assert ", ".join(assumed()) in text


def test_what_is_found_by_itself_cannot_be_given_up() -> None:
    assert "no capability that can be given up" in refusal(lacks={"last_messages": "a reason"})
    assert "no capability that can be given up" in refusal(lacks={"ordering": "a reason"})


def test_giving_up_sync_and_async_leaves_nothing_to_judge() -> None:
    assert "both sync and async" in refusal(lacks={"sync": "no", "async": "no"})


def test_an_unknown_contract_is_refused_with_the_nearest() -> None:
    text = refusal(deviations={"ordering.accross_calls": "a reason"})
    assert "did you mean 'ordering.across_calls'?" in text
    assert "history-conformance contracts" in text


@pytest.mark.parametrize("reason", ["", "  ", None, True])
def test_a_reason_has_to_be_given(reason: Any) -> None:
    assert "gives no reason for 'durable' in lacks=" in refusal(lacks={"durable": reason})
    assert f"gives no reason for {IDS[0]!r} in deviations=" in refusal(deviations={IDS[0]: reason})


def test_only_reads_can_be_mapped() -> None:
    assert "did you mean 'last_messages'?" in refusal(methods={"last_message": "tail"})
    Backend("mine", factory, methods={"last_messages": "tail"}).check(IDS)


def test_a_granularity_of_the_ttl_is_message_or_session() -> None:
    assert "ttl_granularity='batch'" in refusal(ttl_granularity="batch")


def test_two_declarations_with_one_name_are_refused_with_both_places() -> None:
    def other(session_id: str) -> Any: ...

    history_backend("mine")(factory)
    with pytest.raises(DeclarationError) as refused:
        history_backend("mine")(other)
    assert "two backends are declared as 'mine': factory in " in str(refused.value)
    assert "another name" in str(refused.value)


def test_two_lambdas_of_one_name_are_two_declarations() -> None:
    history_backend("mine")(lambda session_id: 1)
    with pytest.raises(DeclarationError, match="two backends are declared as 'mine'"):
        history_backend("mine")(lambda session_id: 2)


def test_a_declaring_file_that_is_read_again_declares_again(here: Path) -> None:
    source = (
        "from chat_history_conformance import history_backend\n"
        "@history_backend('mine')\ndef mine(s): ...\n"
    )
    here.joinpath("declaring_twice.py").write_text(source)
    first = declaration.Origin("declaring_twice", "mine").load()
    del sys.modules["declaring_twice"]
    second = declaration.Origin("declaring_twice", "mine").load()
    assert first is not second
    assert resolve("mine").factory is second


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    history_backend("postgres")(factory)
    with pytest.raises(DeclarationError) as refused:
        resolve("postgras")
    text = str(refused.value)
    assert "there is no history backend 'postgras' (did you mean 'postgres'?)" in text
    assert "memory" in text
    assert "sqlite" in text
    assert "conftest.py" in text
    assert "package.module:attribute" in text


@pytest.mark.parametrize("spec", ["", ":", "module:", ":attribute", "module"])
def test_half_a_specification_is_an_unknown_name(spec: str) -> None:
    with pytest.raises(DeclarationError, match="there is no history backend"):
        resolve(spec)


def test_a_module_that_does_not_exist_says_where_it_was_looked_for() -> None:
    with pytest.raises(DeclarationError) as refused:
        resolve("no_such_module_here:open")
    assert "ModuleNotFoundError" in str(refused.value)
    assert "below the directory pytest is run from" in str(refused.value)


def test_a_module_that_fails_to_import_says_why(here: Path) -> None:
    here.joinpath("failing_module.py").write_text("raise LookupError('no settings')")
    with pytest.raises(DeclarationError, match="LookupError: no settings"):
        resolve("failing_module:open")


def test_a_missing_attribute_is_told_with_the_nearest(here: Path) -> None:
    here.joinpath("some_histories.py").write_text("def open_mine(session_id): ...")
    with pytest.raises(DeclarationError, match=r"did you mean 'open_mine'\?"):
        resolve("some_histories:open_mien")


def test_what_cannot_be_called_is_refused(here: Path) -> None:
    here.joinpath("some_value.py").write_text("value = 'text'")
    with pytest.raises(DeclarationError, match="leads to str 'text', which cannot be called"):
        resolve("some_value:value")


@pytest.mark.parametrize("signature", ["", "a, b", "*, session_id"])
def test_a_wrong_signature_is_refused_with_a_wrapper_to_write(here: Path, signature: str) -> None:
    here.joinpath("wrong_signature.py").write_text(f"def make({signature}): ...")
    with pytest.raises(DeclarationError) as refused:
        resolve("wrong_signature:make")
    assert "cannot be called with one session id" in str(refused.value)
    assert "def open_history(session_id): return make(session_id, ...)" in str(refused.value)


def test_a_dotted_attribute_is_found(here: Path) -> None:
    source = """
        class Histories:
            @staticmethod
            def open(session_id): ...
        """
    here.joinpath("nested_histories.py").write_text(textwrap.dedent(source))
    assert resolve("nested_histories:Histories.open").origin == declaration.Origin(
        "nested_histories", "Histories.open"
    )


def test_a_path_to_a_declared_callable_is_that_declaration(here: Path) -> None:
    source = """
        from chat_history_conformance import history_backend

        @history_backend("mine", lacks={"threads": "slow"})
        def open(session_id): ...
        """
    here.joinpath("declared_histories.py").write_text(textwrap.dedent(source))
    backend = resolve("declared_histories:open")
    assert (backend.name, backend.lacks) == ("mine", {"threads": "slow"})


def test_with_ttl_on_the_factory_is_found_by_itself(here: Path) -> None:
    source = "class Mine:\n    def __init__(self, s): ...\n    def with_ttl(s, ttl): ...\n"
    here.joinpath("expiring.py").write_text(source)
    assert resolve("expiring:Mine").with_ttl is not None


def test_partials_and_callable_objects_can_be_declared() -> None:
    class Opener:
        def __call__(self, session_id: str) -> Any: ...

    for name, opener in (("one", functools.partial(factory)), ("two", Opener())):
        history_backend(name)(opener)
        assert resolve(name).factory is opener


def test_a_reference_backend_is_found_beside_a_package_of_the_same_name(here: Path) -> None:
    here.joinpath("backends").mkdir()
    here.joinpath("backends", "__init__.py").write_text("whose = 'the user'")
    taken = {name: module for name, module in sys.modules.items() if name.startswith("backends")}
    for name in taken:
        del sys.modules[name]
    try:
        import backends

        assert backends.whose == "the user"
        ours = declaration.own_backends("memory")
        assert ours.MemoryChatMessageHistory
        assert Path(ours.__file__).parent.parent == Path(declaration.__file__).parent.parent
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "backends"]:
            del sys.modules[name]
        sys.modules.update(taken)


def test_every_capability_is_documented() -> None:
    for name, capability in catalogue().items():
        assert capability.__doc__, name
    assert Capabilities({"async"}).async_
    assert not Capabilities({"async"}).sync
