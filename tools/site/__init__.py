"""Build the generated parts of the documentation site. `docs/conf.py` and `tox -e reports` use it.

Modules:
    examples: A failure of each contract, as a run prints it.
    contract_pages: A page for each contract, and the list of all of them.
    reference: The pages on options, the declaration and the JSON report.
    links: Links to files outside `docs/`, and addresses in texts.
"""
