"""The generated parts of the documentation site agree with the code."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from chat_history_conformance import faulty, history_backend
from chat_history_conformance.contracts import catalogue
from chat_history_conformance.plugin import OPTIONS
from tools.site import contract_pages, examples, links, reference

DOCS = Path(__file__).parents[2] / "docs"


def stable(text: str) -> str:
    """Return a failure without its times."""
    return re.sub(r"\d+\.\d+ s", "N s", text)


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_pages_of_the_reference_follow_from_the_code(name: str) -> None:
    page = (DOCS / name).read_text("utf-8")
    assert page == reference.PAGES[name](), "run python -m tools.site.reference"


def test_every_option_has_a_section() -> None:
    page = reference.options()
    for option in OPTIONS:
        assert f"\n### --history-{option.name}\n" in page
        assert f"`history_{option.name.replace('-', '_')}`" in page


def test_every_argument_of_a_declaration_is_described() -> None:
    text = reference.sections_of(history_backend)["Args"]
    described = reference.arguments_of(text)
    signature = inspect.signature(history_backend)
    assert list(described) == list(signature.parameters)
    assert described["eventual"].endswith("messages that are missing then are lost.")


def test_every_contract_has_a_failure_on_a_history_that_was_made_for_it() -> None:
    kept = examples.load()
    again = "run python -m tools.site.examples"
    assert list(kept) == list(catalogue.load()), f"{again} with the contracts that are missing"
    for identifier, example in kept.items():
        assert example.history == examples.history_of(identifier).id, f"{again} {identifier}"
        assert f"Rule  {identifier} (" in example.text
        assert example.mode in catalogue.load()[identifier].modes


@pytest.mark.parametrize(
    "identifier",
    ["ordering.within_batch", "fidelity.nul", "clear.every_handle", "isolation.case"],
)
def test_a_kept_failure_is_what_a_run_prints_today(identifier: str) -> None:
    kept, [made] = examples.load()[identifier], examples.build([identifier])
    assert stable(made.text) == stable(kept.text)
    assert (made.history, made.mode) == (kept.history, kept.mode)


def test_examples_of_some_contracts_are_made_without_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = examples.PATH.read_text("utf-8").splitlines(keepends=True)
    number = list(catalogue.load()).index("clear.empties")
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(lines[:number] + lines[number + 1 :]), "utf-8")
    monkeypatch.setattr(examples, "PATH", path)
    examples.load.cache_clear()
    try:
        examples.main(["clear.empties"])
        assert [stable(line) for line in path.read_text("utf-8").splitlines(keepends=True)] == [
            stable(line) for line in lines
        ]
    finally:
        examples.load.cache_clear()


def test_the_page_of_a_contract_has_all_its_texts() -> None:
    for item in catalogue.load().values():
        page = contract_pages.page(item, examples.load()[item.id])
        assert page.startswith(f"---\norphan: true\n---\n\n# {item.id}\n\n**{item.title}**\n")
        for text in (item.rule, item.cause, item.remedy, examples.load()[item.id].text):
            assert text in page
        for mode in item.modes:
            assert f"`{mode}`" in page
        for one in faulty.load().values():
            assert (f"- `{one.id}`: {one.defect}" in page) == (one.breaks == item.id)


def test_the_list_of_contracts_links_to_every_page(tmp_path: Path) -> None:
    (tmp_path / "old.contract.md").write_text("", "utf-8")
    contract_pages.write(tmp_path, examples.load())
    linked = re.findall(r"\(contracts/([\w.]+)\)", contract_pages.listing())
    assert linked == [f"{identifier}.md" for identifier in catalogue.load()]
    assert sorted(linked) == sorted(path.name for path in tmp_path.iterdir())


def test_a_page_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    contract_pages.write(tmp_path, examples.load())
    page, other = tmp_path / "clear.empties.md", tmp_path / "clear.idempotent.md"
    other.write_text("changed", "utf-8")
    before = page.stat().st_mtime_ns
    contract_pages.write(tmp_path, examples.load())
    assert page.stat().st_mtime_ns == before
    assert other.read_text("utf-8").startswith("---\norphan")


@pytest.mark.parametrize(
    ("text", "repository", "expected"),
    [
        ("[x](../a/b.md#c)", "https://h/o", "[x](https://h/o/a/b.md#c)"),
        ("[a/b](../a/b/README.md)", None, "`a/b/README.md`"),
        ("[the report](../a/b.md)", None, "the report (`a/b.md`)"),
        ("[x](y.md) and [z](https://h)", None, "[x](y.md) and [z](https://h)"),
    ],
)
def test_links_out_of_the_site_name_the_file(
    text: str, repository: str | None, expected: str
) -> None:
    assert links.outside(text, repository) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a#1 https://h/o/1: lost", "a#1 <https://h/o/1>: lost"),
        ("at https://h/o/1.", "at <https://h/o/1>."),
        ("<https://h/o>", "<https://h/o>"),
        ("(https://h/o)", "(https://h/o)"),
    ],
)
def test_addresses_in_texts_are_links(text: str, expected: str) -> None:
    assert links.linked(text) == expected
