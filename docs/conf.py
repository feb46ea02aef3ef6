"""The configuration of Sphinx for the documentation site.

    sphinx-build -W -b dirhtml docs build/site

The sources are Markdown that can be read on a code host. Before Sphinx reads them, a page for each
contract is written to `docs/contracts/`, and on the site `contracts.md` is the list of these pages.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

import chat_history_conformance  # noqa: E402
from tools.site import contract_pages, examples, links  # noqa: E402

project = "chat-history-conformance"
author = "The chat-history-conformance contributors"
project_copyright = author
version = release = chat_history_conformance.__version__

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["recipes"]
nitpicky = True

# Every heading has an address, and a link to a heading that does not exist is a warning.
myst_heading_anchors = 4
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False

# A build checks the links inside the site. `tox -e links` checks those to other sites.
linkcheck_anchors = False


def _write_contract_pages(app: Sphinx) -> None:
    contract_pages.write(DOCS / "contracts", examples.load())


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Change a page before Sphinx parses it."""
    if page == "contracts":
        source[0] = contract_pages.listing()
    elif "/" not in page:
        source[0] = links.outside(source[0], links.repository())


def setup(app: Sphinx) -> None:
    """Connect the parts of the site that are generated."""
    app.connect("builder-inited", _write_contract_pages)
    app.connect("source-read", _read)
