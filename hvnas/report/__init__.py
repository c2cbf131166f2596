"""Reports: runs side by side, as data, tables and figures."""

from __future__ import annotations

from hvnas.report.compare import Comparison, Measures, compare, compare_folders
from hvnas.report.facts import to_csv, to_json
from hvnas.report.runs import Run, load_run, load_runs
from hvnas.report.write import check_out, write_comparison

__all__ = [
    "Comparison",
    "Measures",
    "Run",
    "check_out",
    "compare",
    "compare_folders",
    "load_run",
    "load_runs",
    "to_csv",
    "to_json",
    "write_comparison",
]
