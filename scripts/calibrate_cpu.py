"""Rebuild the devices calibrated on timm's published benchmarks, and print their errors.

    python scripts/calibrate_cpu.py                    # cpu-i7-12700h, cpu-i9-10940x and rtx4090
    python scripts/calibrate_cpu.py cpu-i7-12700h --check   # writes nothing; exit 1 where files would change

Reads latency_tables/sources/timm_*.csv (the published times, and the columns of the networks, which
scripts/trace_timm.py writes) and writes latency_tables/NAME.{csv,yaml}. Terms are chosen by forward
selection; the error that counts leaves the family out, of the fit and of the choice alike. The gate has no
say in the fit: its rules only part the networks whose errors are stated.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _forward import Floats, Grams, choose, fit, left_out
from _tables import put
from trace_timm import BASELINES, COLUMNS, GATES, SOURCES, network_of
from trace_timm import TABLE as VALUES

from hvnas.latency.calibration.calibrate import Networks, networks
from hvnas.latency.device import HIGH, LOW, Rule
from hvnas.latency.files import dump
from hvnas.latency.rows import Measurement, write_rows
from hvnas.latency.scores import StudentT, fit_student_t, scores

TABLES = SOURCES.parent
DEVICES = ("cpu-i7-12700h", "cpu-i9-10940x", "rtx4090")
CANDIDATES = tuple(name for name in COLUMNS if name not in (*GATES, "macs", "params"))
START = ("macs",)
GAIN = 0.05  # points of error by which a term must lower it to enter
AT_MOST = 16  # terms
GROUPS = 20  # in which families are left out while terms are chosen


def main() -> int:
    """Rebuild, print, write. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "devices", nargs="*", default=DEVICES, metavar="DEVICE", help=f"of {', '.join(DEVICES)}"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where files would change")
    args = parser.parse_args()
    changed = False
    for name in args.devices:
        rows = measured(name)
        report, text = device_text(name, rows)
        gates = [rule["column"] for rule in facts(name)[1] if rule["column"] not in BASELINES]
        kept = [*BASELINES, *gates, *chosen_terms(report)]
        changed |= put(TABLES / f"{name}.csv", write_rows(narrowed(rows, kept)), check=args.check)
        changed |= put(TABLES / f"{name}.yaml", text, check=args.check)
        print_report(name, report)
    return int(args.check and changed)


def facts(name: str) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, str]]:
    """What timm_facts.yaml says of a device: its fields, its gate's rules, and the meanings of terms."""
    loaded = yaml.safe_load((SOURCES / "timm_facts.yaml").read_text(encoding="utf-8"))
    own = loaded[name]
    rules = [*loaded["rules"], *own.pop("rules", ())]
    return {**loaded["common"], **own}, rules, loaded["meanings"]


def chosen_terms(report: dict[str, Any]) -> list[str]:
    """The terms of a report's steps, those left out that the baselines hold already."""
    return [step["column"] for step in report["steps"] if step["column"] not in BASELINES]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measured(name: str) -> tuple[Measurement, ...]:
    """The published times per image, with the columns of their networks; networks not traced are left out."""
    known = {(row["network"], int(row["resolution"])): row for row in read_csv(VALUES)}
    rows = []
    for row in read_csv(SOURCES / f"timm_{name}.csv"):
        network, resolution = network_of(row)
        traced = known.get((network, resolution))
        if traced is None:
            continue
        batch = int(row["infer_batch_size"])
        rows.append(
            Measurement(
                network=network,
                model=row["model"],
                family=traced["family"],
                resolution=resolution,
                ms=float(f"{float(row['infer_step_time']) / batch:.6g}"),
                cohort="timm",
                protocol=f"batch {batch}",
                device=name,
                source=f"timm_{name}.csv",
                values={column: float(traced[column]) for column in COLUMNS},
            )
        )
    return tuple(rows)


def narrowed(rows: tuple[Measurement, ...], names: list[str]) -> list[Measurement]:
    """The rows with only the columns that the device, its gate and its baselines need."""
    return [replace(row, values={name: row.values[name] for name in names}) for row in rows]


def device_text(name: str, rows: tuple[Measurement, ...]) -> tuple[dict[str, Any], str]:
    """The error report, and the device file with it."""
    said, rules, meanings = facts(name)
    nets = networks(rows, [], cohort="timm")
    inside = networks(rows, [Rule(**rule) for rule in rules], cohort="timm").inside
    steps = choose(grams(nets).merged(GROUPS), START, CANDIDATES, gain=GAIN, at_most=AT_MOST)
    terms = [term for term, _ in steps]
    predicted = left_out(nets.design(terms), nets.ms, nets.families)
    unseen = choice_left_out(nets)
    report = error_report(rows, nets, inside, terms, predicted, unseen)
    report |= {"steps": [{"column": t, "mape_families_in_groups": round(e, 2)} for t, e in steps]}
    report |= {"networks_not_traced": not_traced(name)}
    fixed, *costs = (float(f"{value:.4g}") for value in fit(nets.design(terms), nets.ms))
    listed = [
        {"column": term, "ms_per_mega": cost, "meaning": meanings[term]}
        for term, cost in zip(terms, costs, strict=True)
    ]
    data = {"schema": "hvnas.device/1", "name": name, **said, "rows": f"{name}.csv"}
    data |= {"parameters": {"fixed_ms": fixed, "terms": listed}}
    data |= {"interval": intervals(nets, inside, unseen)}
    data |= {"rules": [with_evidence(rule, nets, predicted) for rule in rules]}
    return report, dump(data | {"error": report})


def grams(nets: Networks) -> Grams:
    """Of the candidates and MACs."""
    columns = {name: nets.values[name] / 1e6 for name in (*START, *CANDIDATES)}
    return Grams.of(columns, nets.ms, nets.families)


def error_report(
    rows: tuple[Measurement, ...],
    nets: Networks,
    inside: Any,
    terms: list[str],
    predicted: Floats,
    unseen: Floats,
) -> dict[str, Any]:
    """Left-out errors in percent of the measured time, in the gate and without it; baselines beside them.

    `predicted` leaves the family out of the fit, `unseen` of the choice of terms as well.
    """

    def both(ms: Floats) -> dict[str, Any]:
        return {"in_gate": scores(ms[inside], nets.ms[inside]), "all_networks": scores(ms, nets.ms)}

    def without_family(*names: str) -> dict[str, Any]:
        return both(left_out(nets.design(names), nets.ms, nets.families))

    pairs, floor = same_ops(rows)
    return {
        "cohort": "timm",
        "measurements": len(rows),
        "networks": len(nets.ms),
        "networks_in_gate": int(inside.sum()),
        "families": len(set(nets.families)),
        "noise_floor": {"pairs": pairs, "mape": round(floor, 2), "of": "networks of the same ops"},
        "family_left_out": both(predicted),
        "model_left_out": both(left_out(nets.design(terms), nets.ms, np.array(nets.names))),
        "family_left_out_choice_of_terms_included": both(unseen),
        "interval_family_left_out": {
            place: covered(np.log(nets.ms / unseen)[mask], nets.families[mask])
            for place, mask in (("inside", inside), ("outside", ~inside))
        },
        "family_left_out_macs_alone": without_family("macs"),
        "family_left_out_macs_activations_params": without_family(*BASELINES),
        "worst_families": worst(nets, predicted),
    }


def choice_left_out(nets: Networks) -> Floats:
    """Milliseconds [n], the family left out of the fit and of the choice of terms."""
    predicted, everything = np.empty(len(nets.ms)), grams(nets)
    for k, family in enumerate(np.unique(nets.families)):
        rest = everything.without(k).merged(GROUPS)
        terms = [term for term, _ in choose(rest, START, CANDIDATES, gain=GAIN, at_most=AT_MOST)]
        held = nets.families == family
        design = nets.design(terms)
        predicted[held] = design[held] @ fit(design[~held], nets.ms[~held])
    return predicted


def same_ops(rows: tuple[Measurement, ...]) -> tuple[int, float]:
    """Pairs of networks whose columns all agree, under two names; mean difference in percent of their mean.

    No network appears twice in these files. Ones of equal ops (a ViT under another training, say) differ in
    what columns do not see, and by noise.
    """
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(row.values.values())].append(row.ms)
    gaps = [200 * abs(a - b) / (a + b) for ms in groups.values() for a, b in combinations(ms, 2)]
    return len(gaps), float(np.mean(gaps))


def worst(nets: Networks, predicted: Floats) -> list[dict[str, Any]]:
    """The ten families that are predicted worst, among those of at least three networks."""
    entries: list[dict[str, Any]] = []
    for family in np.unique(nets.families):
        held = nets.families == family
        error = 100 * (predicted[held] / nets.ms[held] - 1)
        entries.append(
            {
                "family": str(family),
                "networks": int(held.sum()),
                "mape": round(float(np.abs(error).mean()), 1),
                "bias": round(float(np.median(error)), 1),
            }
        )
    return sorted((e for e in entries if e["networks"] >= 3), key=lambda e: -e["mape"])[:10]


def intervals(nets: Networks, inside: Any, unseen: Floats) -> dict[str, dict[str, float]]:
    """The Student t of ln(measured / predicted), in the gate and outside of it.

    The family is left out of the fit and of the choice of terms: so little is known of one not seen.
    """
    error = np.log(nets.ms / unseen)
    return {
        place: plain(matched(error[mask], nets.families[mask]))
        for place, mask in (("inside", inside), ("outside", ~inside))
    }


def matched(error: Floats, families: Any) -> StudentT:
    """The likeliest t, moved and scaled until its 5 and 95 % quantiles are those of `error` by `ends`.

    Errors have a longer tail where networks are slower than predicted. The likeliest t, which has none,
    would promise a chance of 90 % that 85 % of the networks keep; hundreds of them show the quantiles.
    """
    likeliest = fit_student_t(error, families=len(set(families)))
    low, high = ends(error, families)
    centred = np.log(StudentT(likeliest.df, 0, 1).factor(HIGH))
    return StudentT(likeliest.df, (low + high) / 2, (high - low) / 2 / centred)


def ends(error: Floats, families: Any) -> tuple[float, float]:
    """The 5 and 95 % quantiles of `error` [n]: over networks, or over families alike where those lie further.

    A family errs as a whole. Over networks, three large families that are predicted well would decide how far
    one that nobody has seen may be off.
    """
    _, family, counts = np.unique(families, return_inverse=True, return_counts=True)
    order, both = np.argsort(error), []
    for weights in (np.ones(len(error)), 1 / counts[family]):
        sorted_weights = weights[order]
        at = (np.cumsum(sorted_weights) - sorted_weights / 2) / sorted_weights.sum()
        both.append(np.interp([LOW, HIGH], at, error[order]))
    return float(min(low for low, _ in both)), float(max(high for _, high in both))


def covered(error: Floats, families: Any) -> dict[str, float]:
    """Share in percent that the interval of the other families covers: of networks, and of families alike."""
    names, hits = np.unique(families), np.empty(len(error))
    for family in names:
        held = families == family
        low, high = ends(error[~held], families[~held])
        hits[held] = (error[held] >= low) & (error[held] <= high)
    shares = [hits[families == family].mean() for family in names]
    return {
        "networks": round(float(100 * hits.mean()), 1),
        "families_alike": round(float(100 * np.mean(shares)), 1),
    }


def plain(student: StudentT) -> dict[str, float]:
    return {name: float(f"{getattr(student, name):.4g}") for name in ("df", "loc", "scale")}


def with_evidence(fields: dict[str, Any], nets: Networks, predicted: Floats) -> dict[str, Any]:
    """The rule, its evidence completed by the errors of those whom it excludes."""
    rule = Rule(**fields)
    out = rule.excludes(nets.values[rule.column])
    ratio = nets.ms[out] / predicted[out]
    low, middle, high = np.quantile(ratio, [0.05, 0.5, 0.95])
    said = (
        f" Of the {out.sum()} networks excluded, measured over predicted is {low:.2f} to {high:.2f} (5 and "
        f"95 % quantiles, median {middle:.2f}); mean error, family left out, "
        f"{100 * np.abs(1 / ratio - 1).mean():.1f} %, of the others "
        f"{100 * np.abs(predicted[~out] / nets.ms[~out] - 1).mean():.1f} %."
    )
    return {**fields, "evidence": fields["evidence"].strip() + said}


def not_traced(name: str) -> list[str]:
    """Published networks without columns."""
    known = {(row["network"], int(row["resolution"])) for row in read_csv(VALUES)}
    found = map(network_of, read_csv(SOURCES / f"timm_{name}.csv"))
    return sorted(f"{network} at {resolution}" for network, resolution in set(found) - known)


def print_report(name: str, report: dict[str, Any]) -> None:
    """The error table, in percent of the measured time."""
    floor = report["noise_floor"]
    print(
        f"{name}: {report['networks']} networks ({report['networks_in_gate']} in the gate), "
        f"{report['families']} families; {floor['pairs']} pairs of the same ops differ by {floor['mape']} %"
    )
    heads = f"{'MAPE':>6s} {'median':>7s} {'p90':>6s} {'rho':>6s} {'tau':>6s}"
    print(f"{'':44s} {heads}   (in the gate | without it)")
    for key, entry in report.items():
        if isinstance(entry, dict) and "in_gate" in entry:
            cells = [cell(entry[place]) for place in ("in_gate", "all_networks")]
            print(f"{key.replace('_', ' '):44s} {' | '.join(cells)}")
    for place, shares in report["interval_family_left_out"].items():
        print(
            f"  90 % intervals {place} cover {shares['networks']} % of networks of unseen families, "
            f"{shares['families_alike']} % where families count alike"
        )
    for step in report["steps"]:
        print(f"  + {step['column']:30s} {step['mape_families_in_groups']:6.2f}")
    print("  worst: " + ", ".join(f"{e['family']} {e['mape']}" for e in report["worst_families"]))
    print("  not traced: " + ", ".join(report["networks_not_traced"]))


def cell(error: dict[str, Any]) -> str:
    """One error's figures in a row of the table."""
    ranks = f"{error['spearman']:6.3f} {error['kendall_tau']:6.3f}"
    return f"{error['mape']:6.2f} {error['median']:7.2f} {error['p90']:6.2f} {ranks}"


if __name__ == "__main__":
    sys.exit(main())
