"""Write the JSON schema of reports from the dataclasses of `results/model.py`.

    python tools/report_schema.py

Run it after changing a field or its description.
"""

from __future__ import annotations

from pathlib import Path

from chat_history_conformance import reports
from chat_history_conformance.reports import document

if __name__ == "__main__":
    assert reports.__file__ is not None
    path = Path(reports.__file__).with_name("report-1.schema.json")
    path.write_text(document.generated_schema(), encoding="utf-8")
    print(f"wrote {path.name}")
