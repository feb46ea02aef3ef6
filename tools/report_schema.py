"""Write the JSON schemas of reports and campaigns from their dataclasses.

    python tools/report_schema.py

Run it after changing a field or its description in `results/model.py`, `reports/document.py` or
`campaign/report/result.py`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from chat_history_conformance import reports
from chat_history_conformance.campaign import report
from chat_history_conformance.campaign.report import result
from chat_history_conformance.reports import document, listing


def write(package: ModuleType, name: str, text: str) -> None:
    """Write a schema next to the package that reads it."""
    assert package.__file__ is not None
    Path(package.__file__).with_name(name).write_text(text, encoding="utf-8")
    print(f"wrote {name}")


if __name__ == "__main__":
    write(reports, "report-1.schema.json", document.generated_schema())
    write(reports, "contracts-1.schema.json", listing.generated_schema())
    write(report, "campaign-1.schema.json", result.generated_schema())
