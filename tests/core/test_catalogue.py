"""The registry of contracts: two contracts with one id, and families without a module."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chat_history_conformance import contracts
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.contracts.catalogue import CatalogueError, check_families, in_order
from chat_history_conformance.execution.session import Session


def register(body: Callable[[Session, Any], None]) -> None:
    """Register a body under the id `ordering.tested`."""
    text = "a text"
    catalogue.contract(
        "ordering.tested", rule=text, source=text, cause=text, remedy=text, seen=text
    )(body)


def one_rule(s: Session, program: None) -> None: ...


def another_rule(s: Session, program: None) -> None: ...


@pytest.fixture(autouse=True)
def an_empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue.load()
    monkeypatch.setattr(catalogue, "_contracts", {})


def test_the_name_of_a_body_is_the_title_of_its_contract() -> None:
    register(one_rule)
    assert catalogue._contracts["ordering.tested"].title == "One rule."


def test_a_second_contract_with_one_id_is_refused_with_both_places() -> None:
    register(one_rule)
    with pytest.raises(CatalogueError) as refusal:
        register(another_rule)
    first = one_rule.__code__.co_firstlineno
    second = another_rule.__code__.co_firstlineno
    assert str(refusal.value) == (
        f"Two contracts have the id 'ordering.tested': {__file__}:{first} and "
        f"{__file__}:{second}. Rename one of them."
    )


def test_a_module_may_be_imported_again() -> None:
    register(one_rule)
    register(one_rule)
    assert list(catalogue._contracts) == ["ordering.tested"]


def test_every_module_of_contracts_is_a_family() -> None:
    folder = Path(contracts.__path__[0])
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "catalogue"}
    assert modules == set(catalogue.FAMILIES)


def test_a_module_that_is_not_a_family_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"contracts/colours\.py is not a family"):
        check_families(["ordering", "colours"], ["ordering"])


def test_a_family_without_a_module_is_refused() -> None:
    with pytest.raises(CatalogueError, match="'clear' has no module contracts/clear"):
        check_families(["ordering"], ["ordering", "clear"])


def test_a_contract_outside_all_families_is_refused() -> None:
    register(one_rule)
    known = catalogue._contracts["ordering.tested"]
    with pytest.raises(CatalogueError, match=r"'colours\.tested' in .* belongs to no family"):
        in_order({"colours.tested": replace(known, id="colours.tested")})


def test_contracts_are_ordered_by_their_families() -> None:
    register(one_rule)
    known = catalogue._contracts["ordering.tested"]
    other = replace(known, id="model.tested")
    assert list(in_order({other.id: other, known.id: known})) == [known.id, other.id]


def test_a_contract_is_found_without_the_imports_of_other_families() -> None:
    code = (
        "import sys; from chat_history_conformance.contracts import catalogue; "
        "other = 'chat_history_conformance.contracts.integration'; "
        "print(catalogue.find('parity.cancellation').id, other in sys.modules, "
        "catalogue.load()['parity.cancellation'] is catalogue.find('parity.cancellation'), "
        "other in sys.modules, 'langsmith' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["parity.cancellation", "False", "True", "True", "False"]


@pytest.mark.parametrize("identifier", ["parity.none", "nothing.none", "os.path"])
def test_an_unknown_contract_is_not_found(identifier: str) -> None:
    with pytest.raises(KeyError, match=identifier):
        catalogue.find(identifier)
