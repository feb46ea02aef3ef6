"""The addresses of the project come from the metadata of its distribution."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from chat_history_conformance import project
from chat_history_conformance.contracts import catalogue

ROOT = Path(__file__).parents[2]
URLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]


@pytest.mark.parametrize("label", URLS)
def test_the_installed_metadata_has_the_addresses(label: str) -> None:
    assert project.url(label) == URLS[label].rstrip("/"), "install the project again"


def test_the_address_of_the_site_is_stated_once() -> None:
    site = URLS["Documentation"].split("//")[1].rstrip("/")
    for folder in ("src", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            assert site not in path.read_text("utf-8"), path


def test_every_contract_has_an_address() -> None:
    for contract in catalogue.load().values():
        assert contract.url == f"{URLS['Documentation']}contracts/{contract.id}/"
        assert contract.blank("sync", "passed").url == contract.url


def test_a_tree_that_is_not_installed_has_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(project, "metadata", missing)
    project._urls.cache_clear()
    try:
        assert project.page_of("clear.empties") == ""
        assert catalogue.load()["clear.empties"].url == ""
    finally:
        project._urls.cache_clear()


def test_the_links_of_the_readme_work_on_an_index_page(tmp_path: Path) -> None:
    build = ["build", "--quiet", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, "-m", *build], check=True)
    [wheel] = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel)], check=True)
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode("utf-8").partition("\n\n")[2]
    readme = (ROOT / "README.md").read_text("utf-8")
    pattern = re.compile(r"\]\(([^)]+)\)")
    relative = [link for link in pattern.findall(readme) if "://" not in link]
    assert relative
    for link in relative:
        assert (ROOT / link.partition("#")[0]).exists(), link
        assert f"]({URLS['Source']}/blob/main/{link})" in text
    assert all(link.startswith("https://") for link in pattern.findall(text))
