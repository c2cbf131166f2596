"""Results of one's own trainings, estimators made of them, and the tables behind the surrogate."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from fuzzing.reader import Reader, add, command, copied
from hvnas.accuracy.surrogate.ablations import DATA, load_ablations, load_theory
from hvnas.accuracy.surrogate.evidence import load_evidence
from hvnas.accuracy.surrogate.own import fit_own, load_own, read_results, save_own
from hvnas.accuracy.surrogate.surrogate import load_surrogate
from hvnas.accuracy.table import read_table
from hvnas.accuracy.trained.short_training import Curve, ResultFile, make_key
from hvnas.arch import load_arch
from hvnas.studies.alone import Alone, Standalone

RESULTS = """arch,metric,epochs,distilled,augmentation
efficientformer_l1,79.2,300,true,modern
efficientformer_l3,82.4,300,true,modern
coatnet_0,81.6,300,false,modern
mobilevit_s,78.4,300,false,basic
poolformer_s12,77.2,300,false,modern
net.yaml,80.1,300,false,modern
"""
NETWORKS = [load_arch("coatnet_1"), load_arch("mobilevit_xs")]


def _results(folder: Path) -> list[tuple[Path, str]]:
    from hvnas.arch import save_arch

    path = folder / "results.csv"
    path.write_text(RESULTS, encoding="utf-8")
    save_arch(load_arch("poolformer_s36"), folder / "net.yaml")
    return [(path, "csv")]


def _own(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "own.json"
    save_own(fit_own(_results(folder)[0][0], "own"), path)
    return [(path, "json")]


def _read_own(path: Path) -> None:
    found = load_own(path).estimate(NETWORKS)
    assert np.isfinite(found.mean).all() and np.isfinite(found.sd).all(), found
    assert (found.sd >= 0).all()


KEY = make_key({"arch": "a1b2", "data": "digits", "seed": 0})


def _short(folder: Path) -> list[tuple[Path, str]]:
    results = ResultFile(folder)
    for seed in range(4):
        results.put(make_key({**dict(KEY), "seed": seed}), Curve((50.0, 60.0 + seed)))
    return [(folder / "results.jsonl", "jsonl")]


def _read_short(path: Path) -> None:
    curve = ResultFile(path.parent).get(KEY)
    assert all(math.isfinite(value) for value in curve.top1), curve


OUTCOMES = """network,seed,data,training,top1,seconds
a1b2c3,0,digits 32,"2 epochs {""batch"": 8}",71.25,3.5
a1b2c3,1,digits 32,"2 epochs {""batch"": 8}",70.5,3.4
d4e5f6,0,digits 32,"2 epochs {""batch"": 8}",64.0,3.1
"""


def _outcomes(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "standalone.csv"
    path.write_text(OUTCOMES, encoding="utf-8")
    return [(path, "csv")]


def _read_outcomes(path: Path) -> None:
    for outcome in Standalone(path.parent, Alone(data="digits", recipe="tiny")).outcomes():
        assert math.isfinite(outcome.top1) and math.isfinite(outcome.seconds), outcome


def _tables(folder: Path) -> list[tuple[Path, str]]:
    keys = [f"{a}{b}" for a in range(3) for b in range(3)]
    rows = "".join(f"{a},conv{b},7{a}.{b},7{b}.5,9{a}{b}\n" for a, b in keys)
    (folder / "table.csv").write_text(f"depth,op,acc1,acc2,params\n{rows}", encoding="utf-8")
    results = {key: {"test_acc": [70.5, 71.25], "mean_acc": 70.9, "params": 9, "flops": 12} for key in keys}
    (folder / "table.json").write_text(json.dumps(results), encoding="utf-8")
    return [(folder / "table.csv", "csv"), (folder / "table.json", "json")]


def _read_tables(folder: Path) -> None:
    for name in ("table.csv", "table.json"):
        table = read_table(folder / name)
        assert np.isfinite(table.top1).all() and (table.trainings >= 0).all() and table.sd >= 0
        assert all((count >= 0).all() and np.isfinite(count).all() for count in table.counts.values())
        assert np.array_equal(table.places(table.rows), np.arange(len(table)))


def _surrogate(folder: Path) -> list[tuple[Path, str]]:
    for name in ("surrogate.json", "evidence.csv"):
        (folder / name).write_bytes((DATA / name).read_bytes())
    return [(folder / "surrogate.json", "json"), (folder / "evidence.csv", "csv")]


add(Reader(name="results", make=_results, read=read_results))
add(
    Reader(
        name="results-fit",
        make=_results,
        read=lambda path: command(
            "accuracy", "fit", "--results", path, "--out", path.parent / "out", "--json"
        ),
        share=0.3,
    )
)
add(Reader(name="own", make=_own, read=_read_own))
add(Reader(name="short-results", make=_short, read=_read_short))
add(Reader(name="outcomes", make=_outcomes, read=_read_outcomes))
add(Reader(name="tables", make=_tables, read=lambda path: _read_tables(path.parent)))
add(Reader(name="surrogate", make=_surrogate, read=lambda path: load_surrogate(path.parent), share=0.1))
add(Reader(name="evidence", make=copied(DATA / "evidence.csv", "csv"), read=load_evidence, share=0.1))
add(
    Reader(
        name="ablations",
        make=copied(DATA / "ablations.csv", "csv"),
        read=lambda path: load_ablations.__wrapped__(path),
        share=0.3,
    )
)
add(
    Reader(
        name="theory",
        make=copied(DATA / "theory.csv", "csv"),
        read=lambda path: load_theory.__wrapped__(path),
        share=0.3,
    )
)
