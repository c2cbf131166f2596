"""``hvnas latency``: build, import, calibrate, check and read latency tables."""

from __future__ import annotations

from hvnas.cli._group import new_group

COMMANDS = {
    "plan": "plan",
    "measure": "measure",
    "export-suite": "export_suite",
    "import": "import_",
    "calibrate": "calibrate",
    "predict": "predict",
    "table": "table",
    "validate": "validate",
}

app = new_group("Latency tables: build, import, calibrate, check, read.")
