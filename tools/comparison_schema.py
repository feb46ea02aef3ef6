"""Write the JSON schema of comparisons from the dataclasses of `bench/compare/document.py`.

    python tools/comparison_schema.py

Run it after changing a field or its description.
"""

from __future__ import annotations

from pathlib import Path

from chat_history_conformance.bench.compare import document

if __name__ == "__main__":
    path = Path(document.__file__).with_name("comparison-1.schema.json")
    path.write_text(document.generated_schema(), encoding="utf-8")
    print(f"wrote {path.name}")
