"""Rebuild the devices calibrated on published iPhone 12 measurements, and print their errors.

    python scripts/calibrate_iphone12.py            # needs the extra 'peers' (timm)
    python scripts/calibrate_iphone12.py iphone12-modelbench
    python scripts/calibrate_iphone12.py --check    # writes nothing; exit 1 where the files would change
    python scripts/calibrate_iphone12.py --nested   # the choice of the model's form left out too: minutes

Every network is built by timm in its deployed form (training-time branches merged), traced by
hvnas.trace, and read through the same columns that a search uses. Both devices are fitted to
latency_tables/iphone12.csv, each to its own cohort of rows.
"""

from __future__ import annotations

import argparse
import csv
import sys
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _iphone12_forms import KEYS, form_left_out, forms
from _iphone12_report import print_report
from _tables import put
from _variants import network, part

from hvnas.latency.calibration.calibrate import (
    Candidate,
    Difference,
    Evidence,
    Networks,
    networks,
    noise_floor,
    read_differences,
    write_differences,
)
from hvnas.latency.calibration.error_report import (
    Calibration,
    calibrate,
    error_report,
    left_out_pace,
    left_out_students,
)
from hvnas.latency.columns import COLUMNS, clean
from hvnas.latency.device import Rule
from hvnas.latency.files import Errors, dump, interval_fields
from hvnas.latency.model import Term
from hvnas.latency.rows import FIELDS, Measurement, read_rows, write_rows
from hvnas.ops import Program, evaluate_columns

TABLES = Path(__file__).resolve().parent.parent / "latency_tables"
SOURCES = TABLES / "sources"
ROWS = TABLES / "iphone12.csv"
DIFFERENCES = TABLES / "iphone12_differences.csv"
# What attention, squeeze-excitation and pooling cost is in every fit, whether or not it lowers an error: none
# of them is free. The published differences that put a time on it come with it.
GIVEN = (
    Candidate("gate_bytes", ("gate",)),
    Candidate("long_attention_bytes", ("long_attention",)),
    Candidate("matmul_bytes", ("attention_share",)),
    Candidate("pool_bytes"),
)
ONE_COLUMN = (
    "act_bytes",
    "act_bytes_over_1mb",
    "act_bytes_over_2mb",
    "act_bytes_over_4mb",
    "depthwise_bytes_beyond_1mb",
    "depthwise_bytes_beyond_2mb",
    "depthwise_bytes_beyond_4mb",
    "other_bytes",
    "map_to_tokens",
)
# A cost that published ablations or breakdowns put a time on, with the differences about it. Ablations are of
# cohort A's protocols; shares of a breakdown, and LeViT's HardSwish, of an earlier one.
WITH_DIFFERENCES = (
    Candidate("map_to_tokens", ("reshape_share",)),
    Candidate("relayout_bytes", ("reshape_share",)),
    Candidate("norm_bytes", ("norm_share",)),
    Candidate("patch_macs", ("patch_share",)),
    Candidate("gates", ("gate",)),
    Candidate("swish_on_maps", ("swish",)),
    Candidate("swish_bytes", ("swish",)),
    Candidate("", ("blocks",)),
)


@dataclass(frozen=True)
class Target:
    """A device to calibrate: its cohort of rows, its terms, and the cohort whose fit is its prior.

    `base` and `given` are in its fit, `candidates` may enter. Where the floor `is_known`, its terms are the
    model's as well, at the floor's rates: then no op takes less than its own share of the floor.
    """

    cohort: str
    base: tuple[str, ...] = ()
    given: tuple[Candidate, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    floor_is_known: bool = False
    prior: str | None = None


TARGETS = {
    "iphone12": Target(
        "A", given=GIVEN, candidates=(*map(Candidate, ONE_COLUMN), *WITH_DIFFERENCES), floor_is_known=True
    ),
    "iphone12-modelbench": Target("modelbench", ("weight_bytes", "act_bytes"), prior="A"),
}
# The search is judged by whether it finds these networks again: no error of theirs decides what is chosen.
WITHOUT_A_SAY = ("efficientformer",)


def main() -> int:
    """Rebuild, print, write. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "devices", nargs="*", metavar="DEVICE", help=f"of {', '.join(TARGETS)}; default: both"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where files would change")
    parser.add_argument(
        "--nested",
        action="store_true",
        help="work out anew the error with the choice of the form left out too; else it stays as stated",
    )
    args = parser.parse_args()
    unknown = set(args.devices) - set(TARGETS)
    if unknown:
        parser.error(f"no device {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    changed = put(ROWS, write_rows(traced_rows()), check=args.check)
    changed |= put(DIFFERENCES, write_differences(traced_differences()), check=args.check)
    for name in args.devices or TARGETS:
        fitted = calibrated(name)
        text, report = device_text(name, fitted, nested=form_errors(name) if args.nested else None)
        changed |= put(TABLES / f"{name}.yaml", text, check=args.check)
        print(f"\n{name}")
        print_report(report, fitted)
    return int(args.check and changed)


def traced_rows() -> list[Measurement]:
    """The published measurements, each with the columns of its network."""
    values: dict[tuple[str, int], dict[str, float]] = {}
    rows = []
    for entry in _published("iphone12_published.csv"):
        name, resolution = entry["network"], int(entry["resolution"])
        if (name, resolution) not in values:
            values[name, resolution] = program_values(network(name, resolution))
        fields: dict[str, Any] = {field: entry[field] for field in FIELDS}
        fields |= {"resolution": resolution, "ms": float(entry["ms"])}
        rows.append(Measurement(values=values[name, resolution], **fields))
    return rows


def traced_differences() -> list[Difference]:
    """The published differences, each with what it adds to the columns."""
    return [_difference(entry) for entry in _published("iphone12_differences.csv")]


def _difference(entry: dict[str, str]) -> Difference:
    resolution = int(entry["resolution"])
    changed = network(entry["with"], resolution)
    if entry["part"]:
        added = program_values(part(changed, entry["part"]))
    else:
        before = program_values(network(entry["without"], resolution))
        added = {name: value - before[name] for name, value in program_values(changed).items()}
    text = {name: entry[name] for name in ("name", "about", "families", "protocol", "source")}
    return Difference(ms=float(entry["ms"]), of_ms=float(entry["of_ms"]), values=added, **text)


def _published(name: str) -> list[dict[str, str]]:
    with (SOURCES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def program_values(program: Program) -> dict[str, float]:
    """Every column of `COLUMNS` by name."""
    values = clean(evaluate_columns(COLUMNS, program))
    return {column.name: value for column, value in zip(COLUMNS, values.tolist(), strict=True)}


def facts_of(name: str) -> dict[str, Any]:
    """What a device's facts file says, on top of the one that it is `like`."""
    path = SOURCES / f"{name}_facts.yaml"
    facts: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    like = facts.pop("like", None)
    return {**facts_of(like), **facts} if like else facts


def evidence_of(name: str) -> Evidence:
    """What a device is fitted to."""
    target, rows, rules = TARGETS[name], read_rows(ROWS), rules_of(name)
    prior = Evidence(networks(rows, rules, cohort=target.prior), target.base) if target.prior else None
    return Evidence(
        networks(rows, rules, cohort=target.cohort),
        target.base,
        read_differences(DIFFERENCES) if target.candidates else (),
        prior,
        target.given,
        tuple(Term(**term) for term in facts_of(name)["floor"]) if target.floor_is_known else (),
        WITHOUT_A_SAY if target.candidates else (),
    )


def rules_of(name: str) -> tuple[Rule, ...]:
    """The gate of a device."""
    return tuple(Rule(**rule) for rule in facts_of(name)["rules"])


def calibrated(name: str) -> Calibration:
    """The fit of a device to the rows there are."""
    target, rows = TARGETS[name], read_rows(ROWS)
    evidence = evidence_of(name)
    return calibrate(rows, rules_of(name), evidence, cohort=target.cohort, candidates=target.candidates)


def form_errors(name: str) -> dict[str, Any]:
    """The part of a device's error report that says what the choice of its form costs, if it has one."""
    evidence = evidence_of(name)
    if not evidence.known:
        return {}
    floor = [Term(**term) for term in facts_of("iphone12-modelbench")["floor"]]
    _, noise = noise_floor(read_rows(ROWS), cohort=TARGETS[name].cohort)
    return form_left_out(TARGETS[name].candidates, forms(evidence, floor), noise=noise)


def stated_form_errors(name: str) -> dict[str, Any]:
    """The same as the device's file has it."""
    report = yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8"))["error"]
    return {key: report[key] for key in KEYS if key in report}


def device_text(
    name: str, fitted: Calibration, *, nested: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """The device file and the error report in it; `nested` as of `form_errors`, None: as the file states."""
    facts = facts_of(name)
    meanings, floor, rules = facts.pop("meanings"), facts.pop("floor"), facts.pop("rules")
    fixed, *costs = (float(f"{value:.4g}") for value in fitted.evidence.parameters(fitted.chosen))
    inside, outside = left_out_students(fitted)
    report = error_report(fitted) | (stated_form_errors(name) if nested is None else nested)
    known = floor if fitted.evidence.known else []
    if not known:
        report |= {"floor_share": scale_depthwise(fitted.evidence.nets, fixed, floor)}
    listed = known + [
        {"column": term, "ms_per_mega": cost, "meaning": meanings[term]}
        for term, cost in zip(fitted.terms, costs, strict=True)
    ]
    data = {"schema": "hvnas.device/1", **facts, "rows": ROWS.name}
    data |= {"parameters": {"fixed_ms": fixed, "terms": deepcopy(listed), "floor": floor}}
    pace = left_out_pace(fitted) if fitted.evidence.known else None
    data |= {"interval": interval_fields(Errors(inside=inside, outside=outside, pace=pace))}
    data |= {"rules": rules, "error": report}
    return dump(data), report


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


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
