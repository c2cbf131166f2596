"""Rebuild latency_tables/iphone12.{csv,yaml} from the published measurements, and print their errors.

    python scripts/calibrate_iphone12.py            # needs the extra 'peers' (timm)
    python scripts/calibrate_iphone12.py --check    # writes nothing; exit 1 where the files would change

Every network is built by timm in its deployed form (training-time branches merged), traced by
hvnas.trace, and read through the same columns that a search uses.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _timm import deployed

from hvnas._files import write_atomic
from hvnas.latency.calibrate import Networks, choose_further, fit, networks
from hvnas.latency.columns import clean, column, list_columns
from hvnas.latency.error_report import error_report, left_out_students
from hvnas.latency.gate import Rule
from hvnas.latency.rows import FIELDS, Measurement, read_rows, write_rows
from hvnas.ops import Program, evaluate_columns
from hvnas.ops.trace import trace

TABLES = Path(__file__).resolve().parent.parent / "latency_tables"
SOURCE = TABLES / "sources" / "iphone12_published.csv"
FACTS = TABLES / "sources" / "iphone12_facts.yaml"
COHORT = "A"
BASE = ("weight_bytes", "act_bytes")
CANDIDATES = (
    "act_bytes_over_1mb",
    "act_bytes_over_2mb",
    "act_bytes_over_4mb",
    "macs",
    "grouped_macs",
    "matmul_bytes",
    "pool_bytes",
    "other_bytes",
    "map_to_tokens",
)


def main() -> int:
    """Rebuild, print, write. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where files would change")
    check = parser.parse_args().check
    table = write_rows(traced_rows())
    csv_path, yaml_path = TABLES / "iphone12.csv", TABLES / "iphone12.yaml"
    changed = _put(csv_path, table, check=check)
    text, report = device_text(read_rows(csv_path))
    changed |= _put(yaml_path, text, check=check)
    print_report(report)
    return int(check and changed)


def traced_rows() -> list[Measurement]:
    """The published measurements, each with the columns of its network."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        published = list(csv.DictReader(file))
    values: dict[tuple[str, int], dict[str, float]] = {}
    rows = []
    for entry in published:
        name, resolution = entry["network"], int(entry["resolution"])
        if (name, resolution) not in values:
            values[name, resolution] = network_values(traced(name, resolution))
        fields: dict[str, Any] = {field: entry[field] for field in FIELDS}
        fields |= {"resolution": resolution, "ms": float(entry["ms"])}
        rows.append(Measurement(values=values[name, resolution], **fields))
    return rows


def traced(name: str, resolution: int) -> Program:
    """timm's network at a resolution, as a Program."""
    try:
        return trace(deployed(name), resolution=resolution)
    except (AssertionError, RuntimeError):  # built for one input size
        return trace(deployed(name, resolution=resolution), resolution=resolution)


def network_values(program: Program) -> dict[str, float]:
    """Every column by name."""
    columns = [column(name) for name in list_columns()]
    return dict(zip(list_columns(), clean(evaluate_columns(columns, program)).tolist(), strict=True))


def device_text(rows: tuple[Measurement, ...]) -> tuple[str, dict[str, Any]]:
    """The device file and the error report in it."""
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))
    meanings, floor = facts.pop("meanings"), facts.pop("floor")
    rules = [Rule(**rule) for rule in facts["rules"]]
    nets = networks(rows, rules, cohort=COHORT)
    chosen = choose_further(nets, BASE, CANDIDATES)
    further = [chosen] if chosen else []
    terms = [*BASE, *further]
    parameters = fit(nets.design(terms)[nets.inside], nets.ms[nets.inside])
    fixed, *costs = (float(f"{value:.4g}") for value in parameters)
    inside, outside = left_out_students(rows, rules, cohort=COHORT, terms=terms)
    report = error_report(rows, rules, cohort=COHORT, base=BASE, further=further, candidates=CANDIDATES)
    report |= {"floor_share": scale_depthwise(nets, fixed, floor)}
    listed = [
        {"column": name, "ms_per_mega": cost, "meaning": meanings[name]}
        for name, cost in zip(terms, costs, strict=True)
    ]
    data = {"schema": "hvnas.device/1", **{k: v for k, v in facts.items() if k != "rules"}}
    data |= {"rows": "iphone12.csv", "parameters": {"fixed_ms": fixed, "terms": listed, "floor": floor}}
    data |= {"interval": {"inside": _plain(inside), "outside": _plain(outside)}}
    data |= {"rules": facts["rules"], "error": report}
    return yaml.safe_dump(data, sort_keys=False, width=110, allow_unicode=True), report


def scale_depthwise(nets: Networks, fixed: float, floor: list[dict[str, Any]]) -> float:
    """Scale the floor's depthwise term, in place, until no network in the gate was measured below it.

    Returns the share of the cost model's time that is left. The cost model's depthwise kernels are 3x3 and
    5x5; the networks that undercut it have 7x7 ones.
    """
    costs = {term["column"]: nets.values[term["column"]] * term["ms_per_mega"] / 1e6 for term in floor}
    depthwise = costs.pop("depthwise_macs")
    rest = nets.ms - fixed - sum(costs.values())
    shares = np.divide(rest, depthwise, out=np.ones_like(rest), where=depthwise > 0)[nets.inside]
    share = float(f"{min(1.0, shares.min()) - 0.0005:.3f}")
    for term in floor:
        if term["column"] == "depthwise_macs":
            term["ms_per_mega"] = float(f"{term['ms_per_mega'] * share:.4g}")
    return share


def _plain(student: Any) -> dict[str, float]:
    return {"df": student.df, "loc": student.loc, "scale": student.scale}


def _put(path: Path, text: str, *, check: bool) -> bool:
    """Whether `path` differs from `text`; written unless `check`."""
    same = path.is_file() and path.read_text(encoding="utf-8") == text
    if not same:
        print(f"{path.relative_to(TABLES.parent)}: {'would change' if check else 'written'}")
        if not check:
            write_atomic(path, text)
    return not same


def print_report(report: dict[str, Any]) -> None:
    """The error table, in percent of the measured time."""
    print(
        f"cohort {report['cohort']}: {report['measurements']} measurements of {report['networks']} networks "
        f"({report['networks_in_gate']} in the gate), {report['families']} families; "
        f"one network measured twice differs by {report['noise_floor']['mape']} %"
    )
    print(f"{'':48s} {'MAPE':>6s} {'median':>7s} {'p90':>6s} {'tau':>6s}   (in the gate | without it)")
    for key, entry in report.items():
        if isinstance(entry, dict) and "in_gate" in entry:
            cells = [
                f"{e['mape']:6.2f} {e['median']:7.2f} {e['p90']:6.2f} {e['kendall_tau']:6.3f}"
                for e in (entry["in_gate"], entry["without_gate"])
            ]
            print(f"{key.replace('_', ' '):48s} {' | '.join(cells)}")
    for entry in report["candidates"]:
        verdict = "enters" if entry["enters"] else "stays out"
        print(f"  + {entry['column']:44s} {entry['in_gate']:6.2f} | {entry['without_gate']:6.2f}  {verdict}")
    for entry in report["other_cohorts"]:
        print(f"  unseen {entry}")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
