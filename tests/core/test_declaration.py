"""The declaration of a backend, and the errors about a wrong one."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_args

import pytest

from chat_history_conformance.declaration import registry
from chat_history_conformance.declaration.backend import Backend
from chat_history_conformance.declaration.capabilities import (
    AssumedCapability,
    Capabilities,
    assumed,
    catalogue,
)
from chat_history_conformance.declaration.errors import DeclarationError
from chat_history_conformance.declaration.origin import Origin, origin_of
from chat_history_conformance.declaration.parameters import VARIABLE, publish
from chat_history_conformance.declaration.registry import history_backend, load_again, resolve

IDS = ("ordering.within_batch", "ordering.across_calls")


@pytest.fixture(autouse=True)
def _forget_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_declared", {})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return an importable directory. Its modules are forgotten after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def factory(session_id: str) -> Any:
    raise AssertionError("a declaration must not open a history")


def refusal(**stated: Any) -> str:
    """Return the error about a declaration."""
    with pytest.raises(DeclarationError) as refused:
        Backend("mine", **{"factory": factory, **stated}).check(IDS)
    return str(refused.value)


def test_declaring_returns_the_callable_and_registers_its_name() -> None:
    assert history_backend("mine", lacks={"threads": "slow"})(factory) is factory
    assert resolve("mine").factory is factory
    assert resolve("mine").lacks == {"threads": "slow"}
    assert "mine" in registry.names()


def test_a_declaration_with_a_name_alone_is_accepted() -> None:
    Backend("mine", factory).check(IDS)


def test_a_value_that_was_left_open_is_refused() -> None:
    text = refusal(factory=lambda session_id: print(...))
    assert re.search(r"factory has `\.\.\.` as a value in line \d+ of test_declaration\.py", text)
    text = refusal(with_ttl=lambda session_id, ttl_ms: print(..., ttl_ms))
    assert "the function of with_ttl= has `...` as a value" in text


def test_an_ellipsis_in_a_type_is_accepted() -> None:
    def open_history(session_id: str) -> object:
        pairs: tuple[int, ...] = (1,)
        return pairs

    Backend("mine", open_history).check(IDS)


def test_lacks_accepts_every_assumed_capability() -> None:
    lacks = dict.fromkeys((set(assumed()) - {"sync"}), "a reason")
    Backend("mine", factory, lacks=lacks, eventual=2.0, deviations={IDS[0]: "a reason"}).check(IDS)


def test_unknown_capability_names_the_nearest_one() -> None:
    text = refusal(lacks={"durabel": "a reason"})
    assert "'durabel'" in text
    assert "Did you mean 'durable'?" in text
    assert ", ".join(assumed()) in text


def test_lacks_refuses_capabilities_that_are_found() -> None:
    text = refusal(lacks={"last_messages": "a reason"})
    assert "lacks= must not name 'last_messages'" in text
    assert "unknown capability 'ordering'" in refusal(lacks={"ordering": "a reason"})


def test_lacks_refuses_sync_together_with_async() -> None:
    assert "both sync and async" in refusal(lacks={"sync": "no", "async": "no"})


def test_unknown_contract_names_the_nearest_one() -> None:
    text = refusal(deviations={"ordering.accross_calls": "a reason"})
    assert "Did you mean 'ordering.across_calls'?" in text
    assert "history-conformance contracts" in text


@pytest.mark.parametrize("reason", ["", "  ", None, True])
def test_a_missing_reason_is_refused(reason: Any) -> None:
    assert "lacks= has no reason for 'durable'" in refusal(lacks={"durable": reason})
    assert f"deviations= has no reason for {IDS[0]!r}" in refusal(deviations={IDS[0]: reason})


def test_methods_maps_only_reads() -> None:
    assert "Did you mean 'last_messages'?" in refusal(methods={"last_message": "tail"})
    Backend("mine", factory, methods={"last_messages": "tail"}).check(IDS)


def test_unknown_ttl_granularity_is_refused() -> None:
    assert "ttl_granularity='batch'" in refusal(ttl_granularity="batch")


@pytest.mark.parametrize(
    ("interference", "text"),
    [
        (["a block"], "interference=['a block'] is not a dict"),
        ({"a block": "block_writes"}, "'block_writes' for 'a block', which cannot be called"),
        ({"": factory}, "interference= has the name ''"),
        ({3: factory}, "interference= has the name 3"),
    ],
)
def test_wrong_interference_is_refused_with_an_example(interference: Any, text: str) -> None:
    refused = refusal(interference=interference)
    assert text in refused
    assert '{"an open transaction": open_transaction}' in refused
    history_backend("mine", interference=interference)(factory)
    with pytest.raises(DeclarationError):
        resolve("mine").check(IDS)


def test_interference_is_copied() -> None:
    declared = {"a block": factory}
    history_backend("mine", interference=declared)(factory)
    declared.clear()
    assert list(resolve("mine").interference) == ["a block"]


def no_arguments() -> None:
    pass


async def awaited(name: str) -> None:
    pass


def yields(name: str) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("declared", "text", "fix"),
    [
        ({"fresh": "table"}, "fresh='table' cannot be called", "def fresh(store): return lambda"),
        ({"fresh": no_arguments}, "fresh= cannot be called with 1 argument", "def fresh(store)"),
        ({"fresh": yields}, "fresh= is a generator function", "@contextlib.contextmanager"),
        ({"fresh": awaited}, "fresh= is an async function", "def fresh(store)"),
        ({"refuse": no_arguments}, "refuse= cannot be called with 1 argument", "session_id"),
        ({"refuse": yields}, "refuse= is a generator function", "@contextlib.contextmanager"),
        ({"stop": no_arguments}, "stop= is declared without start=", "Declare both"),
        ({"start": no_arguments}, "start= is declared without stop=", "Declare both"),
        (
            {"stop": lambda session_id, /: None, "start": no_arguments},
            "stop= cannot be called without arguments",
            "Write a function without arguments that ends the server",
        ),
        ({"eventual": 0}, "eventual=0 is not a number of seconds", "eventual=2.0"),
        ({"eventual": True}, "eventual=True is not a number of seconds", "eventual=2.0"),
        ({"eventual": 3600}, "between 0 and 60", "eventual=2.0"),
        ({"eventual": "2 s"}, "eventual='2 s' is not a number", "eventual=2.0"),
    ],
)
def test_a_wrong_function_or_time_is_refused_with_what_to_write(
    declared: dict[str, Any], text: str, fix: str
) -> None:
    refused = refusal(**declared)
    assert text in refused
    assert fix in refused


def test_all_functions_of_a_declaration_are_accepted() -> None:
    history_backend(
        "mine",
        fresh=lambda store: factory,
        refuse=contextlib.contextmanager(yields),
        stop=no_arguments,
        start=no_arguments,
        eventual=2.0,
    )(factory)
    resolve("mine").check(IDS)


def test_two_declarations_of_one_name_are_refused_with_both_places() -> None:
    def other(session_id: str) -> Any: ...

    history_backend("mine")(factory)
    with pytest.raises(DeclarationError) as refused:
        history_backend("mine")(other)
    assert "Two backends are declared as 'mine': factory in " in str(refused.value)
    assert "Rename one of them" in str(refused.value)


def test_two_lambdas_with_one_name_are_refused() -> None:
    history_backend("mine")(lambda session_id: factory(session_id))
    with pytest.raises(DeclarationError, match="Two backends are declared as 'mine'"):
        history_backend("mine")(lambda session_id: factory(session_id[:]))


def test_a_file_that_is_imported_twice_replaces_its_declaration(here: Path) -> None:
    source = (
        "from chat_history_conformance import history_backend\n"
        "@history_backend('mine')\ndef mine(s): ...\n"
    )
    here.joinpath("declaring_twice.py").write_text(source)
    first = Origin("declaring_twice", "mine").load()
    del sys.modules["declaring_twice"]
    second = Origin("declaring_twice", "mine").load()
    assert first is not second
    assert resolve("mine").factory is second


def test_unknown_backend_names_the_nearest_one_and_lists_all() -> None:
    history_backend("postgres")(factory)
    with pytest.raises(DeclarationError) as refused:
        resolve("postgras")
    text = str(refused.value)
    assert "No backend named 'postgras'. Did you mean 'postgres'?" in text
    assert "memory" in text
    assert "sqlite" in text
    assert "conftest.py" in text
    assert "package.module:attribute" in text


@pytest.mark.parametrize("spec", ["", ":", "module:", ":attribute", "module"])
def test_an_incomplete_path_is_an_unknown_name(spec: str) -> None:
    with pytest.raises(DeclarationError, match="No backend named"):
        resolve(spec)


def test_a_missing_module_suggests_a_directory() -> None:
    with pytest.raises(DeclarationError) as refused:
        resolve("no_such_module_here:open")
    assert "ModuleNotFoundError" in str(refused.value)
    assert "run pytest in the directory that contains it" in str(refused.value)


def test_a_failed_import_shows_its_exception(here: Path) -> None:
    here.joinpath("failing_module.py").write_text("raise LookupError('no settings')")
    with pytest.raises(DeclarationError, match="LookupError: no settings"):
        resolve("failing_module:open")


def test_a_missing_attribute_names_the_nearest_one(here: Path) -> None:
    here.joinpath("some_histories.py").write_text("def open_mine(session_id): ...")
    with pytest.raises(DeclarationError, match=r"Did you mean 'open_mine'\?"):
        resolve("some_histories:open_mien")


def test_an_object_that_is_not_callable_is_refused(here: Path) -> None:
    here.joinpath("some_value.py").write_text("value = 'text'")
    with pytest.raises(DeclarationError, match="names str 'text', which cannot be called"):
        resolve("some_value:value")


@pytest.mark.parametrize("signature", ["", "a, b, /", "*, session_id"])
def test_a_wrong_signature_suggests_a_wrapper(here: Path, signature: str) -> None:
    here.joinpath("wrong_signature.py").write_text(f"def make({signature}): ...")
    with pytest.raises(DeclarationError) as refused:
        resolve("wrong_signature:make")
    assert "cannot be called with one session id" in str(refused.value)
    assert "def open_history(session_id): return make(...)" in str(refused.value)


def test_further_parameters_without_a_default_are_wanted_by_name(here: Path) -> None:
    here.joinpath("further.py").write_text(
        "def make(session_id, url, limit=3, *rest, token, trace=None, **more): ..."
    )
    found = resolve("further:make")
    assert found.wanted == {"url": "factory", "token": "factory"}
    with pytest.raises(DeclarationError, match="nothing gives 'token', a parameter of the factory"):
        found.bind({"url": "x"})
    bound = found.bind({"url": "x", "token": 1, "unused": 2})
    assert isinstance(bound.factory, functools.partial)
    assert bound.factory.keywords == {"url": "x", "token": 1}
    assert bound.origin == found.origin == origin_of(bound.factory)


def test_another_process_takes_the_values_from_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.joinpath("taking.py").write_text("def make(session_id, url): return (session_id, url)")
    monkeypatch.setenv(VARIABLE, "{}")
    publish("mine", {"url": "x"})
    assert load_again("mine", Origin("taking", "make")).factory("s") == ("s", "x")
    for wrong in ("[]", "no", '{"mine": 3}'):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(DeclarationError, match="is not a JSON object with an object for each"):
            load_again("mine", Origin("taking", "make"))


def test_a_dotted_attribute_is_found(here: Path) -> None:
    source = """
        class Histories:
            @staticmethod
            def open(session_id): ...
        """
    here.joinpath("nested_histories.py").write_text(textwrap.dedent(source))
    assert resolve("nested_histories:Histories.open").origin == Origin(
        "nested_histories", "Histories.open"
    )


def test_a_path_to_a_declared_callable_finds_its_declaration(here: Path) -> None:
    source = """
        from chat_history_conformance import history_backend

        @history_backend("mine", lacks={"threads": "slow"})
        def open(session_id): ...
        """
    here.joinpath("declared_histories.py").write_text(textwrap.dedent(source))
    backend = resolve("declared_histories:open")
    assert (backend.name, backend.lacks) == ("mine", {"threads": "slow"})


def test_with_ttl_is_found_on_the_factory(here: Path) -> None:
    source = "class Mine:\n    def __init__(self, s): ...\n    def with_ttl(s, ttl): ...\n"
    here.joinpath("expiring.py").write_text(source)
    assert resolve("expiring:Mine").with_ttl is not None


def test_partials_and_callable_objects_can_be_declared() -> None:
    class Opener:
        def __call__(self, session_id: str) -> Any: ...

    for name, opener in (("one", functools.partial(factory)), ("two", Opener())):
        history_backend(name)(opener)
        assert resolve(name).factory is opener


def test_the_type_of_lacks_lists_all_capabilities() -> None:
    assert get_args(AssumedCapability) == assumed()


def test_a_failed_entry_point_shows_its_exception(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.joinpath("needing_a_driver.py").write_text("import no_such_driver")
    point = EntryPoint("theirs", "needing_a_driver:open", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    with pytest.raises(DeclarationError) as refused:
        resolve("theirs")
    text = str(refused.value)
    assert "Backend 'theirs' is registered as 'needing_a_driver:open'" in text
    assert "No module named 'no_such_driver'. Check that its package" in text


def test_every_capability_is_documented() -> None:
    described = {capability.__doc__ for capability in catalogue().values()}
    assert len(described) == len(catalogue())
    assert Capabilities.async_.__doc__ == "Support `aget_messages`, `aadd_messages` and `aclear`."
    assert Capabilities({"async"}).async_
    assert not Capabilities({"async"}).sync
