"""Reports: runs side by side, and networks, as data, tables, figures and a page."""

from __future__ import annotations

from hvnas.report.compare import Comparison, Measures, compare, compare_folders
from hvnas.report.facts import report_to_json, to_csv, to_json
from hvnas.report.report import Report, make_report
from hvnas.report.runs import Run, load_run, load_runs
from hvnas.report.write_report import check_out, check_report, write_comparison, write_figures, write_report

__all__ = [
    "Comparison",
    "Measures",
    "Report",
    "Run",
    "check_out",
    "check_report",
    "compare",
    "compare_folders",
    "load_run",
    "load_runs",
    "make_report",
    "report_to_json",
    "to_csv",
    "to_json",
    "write_comparison",
    "write_figures",
    "write_report",
]
