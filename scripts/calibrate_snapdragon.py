"""Rebuild the Snapdragon devices and their family, and print their errors.

    python scripts/calibrate_snapdragon.py                  # fits anew to the rows in latency_tables/families
    python scripts/calibrate_snapdragon.py snapdragon.csv   # reads the rows anew; needs the extra 'peers'
    python scripts/calibrate_snapdragon.py --check          # writes nothing; exit 1 where files would change
    python scripts/calibrate_snapdragon.py --choice         # and what choosing terms would cost; some minutes

The CSV holds what Qualcomm publishes (network, builder, resolution, family, device, chipset, runtime,
precision, ms, jobs, min_ms, max_ms, window, role). Networks are built by timm and torchvision, traced by
hvnas.trace and read through the columns that a search uses. All chips are fitted at once (scripts/_joint.py);
every error that is stated leaves the family of the network out of everything. The family is that of one
runtime, QNN DLC; a chip under TFLite is fitted together with all of these, as a chip of its own.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _joint import (
    TERMS,
    Joint,
    NewChip,
    alone,
    choice_left_out,
    family_left_out,
    fastest_rate,
    fit_chip,
    floor,
    new_chips,
)
from _tables import put

from hvnas.latency.calibration.family import Family, Times
from hvnas.latency.columns import clean, column
from hvnas.latency.device import HIGH, LOW, Device, Rule
from hvnas.latency.files import INFO, dump
from hvnas.latency.model import LinearModel, Term
from hvnas.latency.provenance import DeviceInfo
from hvnas.latency.rows import Measurement, read_rows, write_rows
from hvnas.latency.scores import StudentT, fit_student_t, scores
from hvnas.ops import Program, evaluate_columns

TABLES = Path(__file__).resolve().parent.parent / "latency_tables"
FACTS = TABLES / "sources" / "snapdragon_facts.yaml"
FAMILIES = TABLES / "families"
OTHERS = TABLES / "sources" / "snapdragon_tflite.csv"
# Of the published measurements; a chip names its runtime where it is another than the family's.
RUNTIME, PRECISION, WINDOW = "qnn_dlc", "float", "v0.44-v0.47"
RUNTIMES = {RUNTIME: "QNN DLC", "tflite": "TFLite"}
# Recurrent layers, which no trace shows.
UNTRACEABLE = ("sequencer2d",)
# Of networks that are no classifiers, those that torchvision builds or whose form is published to the layer.
DENSE = ("fcn_resnet50", "real_esrgan_x4plus")
Errors = Mapping[tuple[str, str], float]


def main() -> int:
    """Rebuild, print, write. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", nargs="?", type=Path, metavar="CSV", help="the published measurements")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where files would change")
    parser.add_argument("--choice", action="store_true", help="also print errors with terms chosen")
    args = parser.parse_args()
    facts = yaml.safe_load(FACTS.read_text(encoding="utf-8"))
    table = FAMILIES / f"{facts['family']['name']}.csv"
    changed = False
    if args.csv is not None:
        for path, runtime in ((table, RUNTIME), (OTHERS, "tflite")):
            changed |= put(path, write_rows(traced_rows(args.csv, facts, runtime)), check=args.check)
    rows = list(read_rows(table))
    texts, reports, news = files(rows, list(read_rows(OTHERS)), facts)
    for path, text in texts.items():
        changed |= put(path, text, check=args.check)
    for name, report in reports.items():
        print_report(name, report)
    print_new_chips(news)
    if args.choice:
        print_choice(joint_of(facts), rows)
    return int(args.check and changed)


def files(
    rows: Sequence[Measurement], others: Sequence[Measurement], facts: dict[str, Any]
) -> tuple[dict[Path, str], dict[str, dict[str, Any]], list[NewChip]]:
    """The text of every file, the devices' reports by name, and the errors of chips left out.

    `rows` are the family's, `others` those of its chips under another runtime.
    """
    joint = joint_of(facts)
    texts, reports = devices(joint, rows, facts, RUNTIME)
    for found, more in zip((texts, reports), devices(joint, [*rows, *others], facts, "tflite"), strict=True):
        found.update(more)
    news = new_chips(joint, rows)
    texts[FAMILIES / f"{facts['family']['name']}.yaml"] = family_text(facts, joint.family(rows), news)
    return texts, reports, news


def devices(
    joint: Joint, rows: Sequence[Measurement], facts: dict[str, Any], runtime: str
) -> tuple[dict[Path, str], dict[str, dict[str, Any]]]:
    """The files and the reports of the chips of one runtime that are shipped, fitted to all of `rows`."""
    family = joint.family(rows)
    predicted = {"": family_left_out(joint, rows)}
    predicted |= {"alone": alone(joint, rows, TERMS), "macs": alone(joint, rows, ())}
    for term in TERMS:
        predicted[f"without {term}"] = family_left_out(joint.without(term), rows)
    texts: dict[Path, str] = {}
    reports = {}
    for name, own in chips_of(facts, runtime).items():
        if not own.get("shipped"):
            continue
        here = [row for row in rows if row.cohort == name]
        report = error_report(family, here, predicted)
        texts[TABLES / f"{name}.csv"] = write_rows(here)
        text = device_text(facts, name, own, chip(joint, family, here), here, predicted[""], report)
        texts[TABLES / f"{name}.yaml"] = text
        reports[name] = report
    return texts, reports


def chips_of(facts: dict[str, Any], runtime: str) -> dict[str, dict[str, Any]]:
    """What is said of the chips under one of `RUNTIMES`, by name."""
    return {name: own for name, own in facts["chips"].items() if own.get("published", RUNTIME) == runtime}


def joint_of(facts: dict[str, Any]) -> Joint:
    """What is fitted, before it is."""
    info = {**facts["common"], **facts["family"]}
    device = Device(
        name=info["name"],
        hash="",
        info=DeviceInfo(**{name: info[name] for name in INFO}),
        model=LinearModel(1.0, ()),
        rules=tuple(Rule(**rule) for rule in facts["rules"]),
        inside_error=StudentT(1.0, 0.0, 1.0),
        outside_error=StudentT(1.0, 0.0, 1.0),
    )
    return Joint(device, tuple(facts["fastest"]))


def chip(joint: Joint, family: Family, here: Sequence[Measurement]) -> LinearModel:
    """The costs of one chip; its floor is that of its own fastest network."""
    times = Times.of(here)
    rate = fastest_rate(times, np.exp(times.log_ms[0]), joint.fastest)
    return replace(fit_chip(family, here), floor=floor(rate))


def traced_rows(path: Path, facts: dict[str, Any], runtime: str) -> list[Measurement]:
    """The published times of chips under one of `RUNTIMES`, each with the columns of its network."""
    chips = {own["timed_on"]: (name, own) for name, own in chips_of(facts, runtime).items()}
    with path.open(encoding="utf-8", newline="") as file:
        published = [row for row in csv.DictReader(file) if is_used(row, runtime) and row["device"] in chips]
    names = columns_of(facts)
    rows = []
    for entry in sorted(published, key=lambda r: (list(chips).index(r["device"]), r["family"], r["network"])):
        name, own = chips[entry["device"]]
        values = values_of(entry["builder"], int(entry["resolution"]), names)
        rows.append(
            Measurement(
                network=entry["builder"],
                model=entry["network"],
                family=entry["family"],
                resolution=int(entry["resolution"]),
                ms=float(entry["ms"]),
                cohort=name,
                protocol=f"{RUNTIMES[runtime]}, float16, NPU, minimum of a profile job; "
                f"median of {entry['jobs']} jobs",
                device=own["timed_on"],
                source=facts["common"]["source"].replace("NAME", entry["network"]),
                values=values,
            )
        )
    return rows


def is_used(row: Mapping[str, str], runtime: str) -> bool:
    """Whether a published row is of this protocol, and of a network that can be traced."""
    alike = (row["runtime"], row["precision"], row["window"]) == (runtime, PRECISION, WINDOW)
    traced = row["role"] != "dense" or row["network"] in DENSE
    return alike and traced and row["network"] not in UNTRACEABLE


def columns_of(facts: dict[str, Any]) -> tuple[str, ...]:
    """What the rows have a column for: terms, floor, rules, and what tells networks apart."""
    rules = [rule["column"] for rule in facts["rules"]]
    floors = [term.column for term in floor(1.0)]
    return tuple(dict.fromkeys(["macs", "params", *TERMS, *floors, *rules]))


@cache
def values_of(builder: str, resolution: int, names: tuple[str, ...]) -> dict[str, float]:
    """The columns of a network, by name."""
    found = clean(evaluate_columns([column(name) for name in names], program(builder, resolution)))
    return dict(zip(names, found.tolist(), strict=True))


def program(builder: str, resolution: int) -> Program:
    """The network of ``LIBRARY:NAME``, traced; on the CPU where it cannot be built on the meta device."""
    import torch

    from hvnas.ops.trace import trace

    library, _, name = builder.partition(":")
    try:
        with torch.device("meta"):
            model = LIBRARIES[library](name)
    except NotImplementedError:
        model = LIBRARIES[library](name)
    return trace(model.eval(), resolution=resolution)


def from_torchvision(name: str) -> Any:
    """torchvision's network, without the heads that are for training only."""
    from _timm import import_timm

    import_timm()
    from torchvision import models

    if name.startswith("segmentation."):
        made = getattr(models.segmentation, name.removeprefix("segmentation."))
        return made(weights=None, weights_backbone=None)
    heads = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(weights=None, **heads)


def from_timm(name: str) -> Any:
    """timm's network."""
    from _timm import import_timm

    return import_timm().create_model(name, pretrained=False)


def rrdbnet(name: str) -> Any:
    """RRDBNet of ESRGAN (arXiv 1809.00219): 23 blocks of three dense blocks, enlarging four-fold."""
    from _rrdbnet import RRDBNet

    assert name == "rrdbnet_x4", name
    return RRDBNet()


LIBRARIES: dict[str, Callable[[str], Any]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
    "own": rrdbnet,
}


def error_report(
    family: Family, rows: Sequence[Measurement], predicted: Mapping[str, Errors]
) -> dict[str, Any]:
    """Errors of one chip, the family left out, in percent; other ways to fit beside them."""
    inside = np.array([_is_inside(family, row) for row in rows])
    ms = np.array([row.ms for row in rows])

    def both(name: str) -> dict[str, Any]:
        found = np.array([predicted[name][row.cohort, row.model] for row in rows])
        return {"in_gate": scores(found[inside], ms[inside]), "all_networks": scores(found, ms)}

    rest = np.log(ms / [predicted[""][row.cohort, row.model] for row in rows])
    without = {term: both(f"without {term}")["in_gate"]["mape"] for term in TERMS}
    errors = {row.model: predicted[""][row.cohort, row.model] / row.ms for row in rows}
    return {
        "cohort": rows[0].cohort,
        "measurements": len(rows),
        "networks": len(rows),
        "networks_in_gate": int(inside.sum()),
        "families": len({row.family for row in rows}),
        "fitted_with": list(family.chips),
        "family_left_out": both(""),
        "interval_covers": covered(rest[inside], np.array([r.family for r in rows])[inside]),
        "family_left_out_chip_alone": both("alone"),
        "family_left_out_macs_alone": both("macs"),
        "in_gate_mape_without_a_term": without,
        "predicted_to_measured": {model: round(ratio, 2) for model, ratio in errors.items()},
    }


def covered(errors: Any, families: Any) -> float:
    """Percent of networks in the 5 to 95 % interval of the errors of other families."""
    inside = []
    for name in dict.fromkeys(families):
        left = families == name
        other = StudentT(**student(errors[~left], families[~left]))
        low, high = (np.log(other.factor(p)) for p in (LOW, HIGH))
        inside += [low <= e <= high for e in errors[left]]
    return round(float(100 * np.mean(inside)), 1)


def _is_inside(family: Family, row: Measurement) -> bool:
    return next(n.inside for n in family.networks if n.name == row.network)


def device_text(
    facts: dict[str, Any],
    name: str,
    own: dict[str, Any],
    model: LinearModel,
    rows: Sequence[Measurement],
    predicted: Errors,
    report: dict[str, Any],
) -> str:
    """The file of a device."""
    said = {key: value for key, value in own.items() if key not in ("shipped", "timed_on", "published")}
    info = {**facts["common"], **said}
    ratio = np.array([row.ms / predicted[row.cohort, row.model] for row in rows])
    evidence = facts["evidence"].get(own.get("published"), {})
    rules = [
        with_evidence({**rule, "evidence": evidence.get(rule["name"], rule["evidence"])}, rows, ratio)
        for rule in facts["rules"]
    ]
    excluded = np.any([_excluded(rule, rows) for rule in facts["rules"]], axis=0)
    families = np.array([row.family for row in rows])
    data = {"schema": "hvnas.device/1", "name": name}
    data |= {key: info[key] for key in INFO} | {"rows": f"{name}.csv"}
    data |= {"parameters": parameters(model, facts["meanings"])}
    data |= {
        "interval": {
            place: student(np.log(ratio[mask]), families[mask])
            for place, mask in (("inside", ~excluded), ("outside", excluded))
        }
    }
    return dump(data | {"rules": rules, "error": report})


def family_text(facts: dict[str, Any], family: Family, news: Sequence[NewChip]) -> str:
    """The file of the family: the typical chip, and what a new one may expect."""
    info = {**facts["common"], **facts["family"]}
    five = np.concatenate([new.unseen for new in news if new.k == 5])
    inside = student(five, np.array([n.family for n in family.networks if n.inside]))
    data = {"schema": "hvnas.device/1", "name": info["name"]}
    data |= {key: info[key] for key in INFO} | {"rows": f"{info['name']}.csv"}
    data |= {"parameters": parameters(family.model, facts["meanings"])}
    # Outside the gate the costs are missed by up to three times; an interval as wide says so.
    off = np.array([n.offset for n in family.networks if not n.inside])
    outside = student(off, np.array([n.family for n in family.networks if not n.inside]))
    data |= {"interval": {"inside": inside, "outside": outside}, "rules": facts["rules"]}
    report = {
        "chips": list(family.chips),
        "networks": len(family.networks),
        "networks_in_gate": sum(n.inside for n in family.networks),
        "new_chip": expected(news),
    }
    return dump(data | {"error": report})


def expected(news: Sequence[NewChip]) -> list[dict[str, Any]]:
    """By number of networks timed: the median over chips of the mean error in percent, and its range."""
    table = []
    for k in dict.fromkeys(new.k for new in news):
        entry: dict[str, Any] = {"timed": k}
        for kind in ("known", "unseen", "own"):
            means = [mape(getattr(new, kind)) for new in news if new.k == k]
            entry[kind] = round(float(np.median(means)), 1)
            entry[f"{kind}_range"] = [round(min(means), 1), round(max(means), 1)]
        table.append(entry)
    return table


def mape(errors: Sequence[float]) -> float:
    """Mean absolute error in percent of the measured time, from ln(measured / predicted)."""
    return float(100 * np.abs(np.exp(-np.asarray(errors)) - 1).mean())


def parameters(model: LinearModel, meanings: dict[str, str]) -> dict[str, Any]:
    """A model as files have it, to four digits."""

    def listed(terms: Sequence[Term]) -> list[dict[str, Any]]:
        return [
            {"column": t.column, "ms_per_mega": float(f"{t.ms_per_mega:.4g}"), "meaning": meanings[t.column]}
            for t in terms
            if t.ms_per_mega > 0
        ]

    return {
        "fixed_ms": float(f"{model.fixed_ms:.4g}"),
        "terms": listed(model.terms),
        "floor": listed(model.floor),
    }


def student(errors: Any, families: Any) -> dict[str, float]:
    """A Student t of ln(measured / predicted), to four digits.

    The likeliest t of two dozen errors, most of them small, calls the few large ones impossible. Here its
    tails are the likeliest, its middle the median, and it is as wide as makes 90 % of the next network's
    errors lie between its 5 and 95 % quantiles, whatever their distribution: the order statistic of split
    conformal prediction (Vovk, Gammerman and Shafer 2005).
    """
    errors = np.asarray(errors)
    likeliest = fit_student_t(errors, families=len(set(families)))
    middle = float(np.median(errors))
    off = np.sort(np.abs(errors - middle))
    widest = off[min(len(off), int(np.ceil((HIGH - LOW) * (len(off) + 1)))) - 1]
    fitted = StudentT(likeliest.df, middle, float(widest / np.log(StudentT(likeliest.df, 0, 1).factor(HIGH))))
    return {name: float(f"{value:.4g}") for name, value in asdict(fitted).items()}


def _excluded(fields: dict[str, Any], rows: Sequence[Measurement]) -> Any:
    rule = Rule(**fields)
    return rule.excludes(np.array([row.values[rule.column] for row in rows]))


def with_evidence(fields: dict[str, Any], rows: Sequence[Measurement], ratio: Any) -> dict[str, Any]:
    """The rule, its evidence completed by what the networks that it excludes take here."""
    out = _excluded(fields, rows)
    named = ", ".join(
        f"{row.model} {row.ms:.3g} ms, {here:.2f} times what is predicted"
        for row, here, is_out in zip(rows, ratio, out, strict=True)
        if is_out
    )
    said = f" On this device: {named}." if named else ""
    return {**fields, "evidence": fields["evidence"].strip() + said}


def print_report(name: str, report: dict[str, Any]) -> None:
    """The error table, in percent of the measured time."""
    print(f"\n{name}: {report['networks']} networks ({report['networks_in_gate']} in the gate)")
    print(f"{'':40s} {'MAPE':>6s} {'median':>7s} {'p90':>6s} {'tau':>6s}   (in the gate | without it)")
    for key, entry in report.items():
        if isinstance(entry, dict) and "in_gate" in entry:
            cells = [
                f"{e['mape']:6.2f} {e['median']:7.2f} {e['p90']:6.2f} {e['kendall_tau']:6.3f}"
                for e in (entry["in_gate"], entry["all_networks"])
            ]
            print(f"{key.replace('_', ' '):40s} {' | '.join(cells)}")
    print(
        f"  the interval of other families covers {report['interval_covers']} % of the networks in the gate"
    )
    without = report["in_gate_mape_without_a_term"]
    print("  in the gate without a term: " + ", ".join(f"{t} {e:.1f}" for t, e in without.items()))


def print_choice(joint: Joint, rows: Sequence[Measurement]) -> None:
    """What it would cost to leave out the term that other families do best without."""
    predicted = choice_left_out(joint, rows)
    family = joint.family(rows)
    inside = [row for row in rows if _is_inside(family, row)]
    print("\nterms chosen, families left out: all of them, or all but one")
    for name in dict.fromkeys(row.cohort for row in rows):
        here = [row for row in inside if row.cohort == name]
        found = scores([predicted[name, row.model] for row in here], [row.ms for row in here])
        print(f"  {name:24s} {found['mape']:6.2f} {found['median']:6.2f}")


def print_new_chips(news: Sequence[NewChip]) -> None:
    """What each chip would have got, had it been new."""
    print("\na new chip, the others being known: mean error in percent of networks known | unseen | own")
    for k in dict.fromkeys(new.k for new in news):
        cells = [
            f"{new.chip} {mape(new.known):.1f} | {mape(new.unseen):.1f} | {mape(new.own):.1f}"
            for new in news
            if new.k == k
        ]
        print(f"  {k:2d}  " + "   ".join(cells))
    for entry in expected(news):
        print("  expected", entry)


if __name__ == "__main__":
    sys.exit(main())
