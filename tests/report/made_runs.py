"""Run folders made by hand: small fronts whose comparison can be worked out on paper."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hvnas.arch import load_arch, save_arch
from hvnas.search.runs.folder import RunConfig, SearchFolder
from hvnas.search.runs.session import Moment, history_csv

HEADER = "file,name,latency_ms,latency_low,latency_high,p_within_budget,inside,top1,top1_sd,params,macs"
MOMENTS = (Moment(10, 0.5, 100.0, 1, 70.0), Moment(100, 2.0, 140.0, 2, 80.0))


def config(**changes: Any) -> RunConfig:
    """Of a device that no file describes: fixed points are left out. What one device has may stand alone."""
    asked: dict[str, Any] = {
        "space": "nowhere",
        "space_hash": "0" * 12,
        "device": "no-device",
        "device_hash": "1" * 12,
        "estimator": "surrogate",
        "recipe": "modern300",
        "scenario": "imagenet1k",
        "budget_ms": 4.0,
        "margin": 0.0,
        "outside": "forbid",
        "strategy": "evolution",
        "evals": 100,
        "seed": 0,
        "fixed_points": True,
        "versions": {"hvnas": "0"},
    }
    asked |= changes
    for name in ("device", "device_hash", "margin"):
        if not isinstance(asked[name], tuple):
            asked[name] = (asked[name],)
    return RunConfig(**asked)


def make(
    folder: Path,
    points: Sequence[tuple[float, float]],
    *,
    moments: Sequence[Moment] = MOMENTS,
    ended: str = "finished",
    sds: Sequence[float] | None = None,
    took: str = "2.0 s",
    limit: str | None = None,
    **changes: Any,
) -> Path:
    """A run whose front has these milliseconds and top-1 (by default sd 1: the objective is one less)."""
    SearchFolder(folder).create(config(**changes))
    lines = [
        f"archs/n{i}.yaml,n{i},{ms:.4f},{0.9 * ms:.4f},{1.1 * ms:.4f},0.9,true,"
        f"{top1:.3f},{sd:.3f},{i + 1},{i + 2},0 1"
        for i, ((ms, top1), sd) in enumerate(zip(points, sds or [1.0] * len(points), strict=True))
    ]
    (folder / "pareto.csv").write_text("\n".join([f"{HEADER},encoding", *lines]) + "\n")
    (folder / "history.csv").write_text(history_csv(moments))
    if limit is not None:
        SearchFolder(folder).log(f"limit: {limit}")
    SearchFolder(folder).log(f"{ended}: 100 evaluated, {len(points)} on the front, {took}")
    return folder


def copy(run: Path, folder: Path) -> Path:
    """The same run in another folder."""
    return Path(shutil.copytree(run, folder))


def make_training(
    folder: Path, *, name: str, epochs: int, classes: Sequence[str] = ("a", "b"), recipe: str = "tiny"
) -> Path:
    """A training of a small network on digits, as its folder tells of it; without `epochs` one under way."""
    folder.mkdir(parents=True)
    arch = load_arch("efficientformer_l1").shrunk().with_(classes=10, resolution=32, name=name)
    save_arch(arch, folder / "arch.yaml")
    blank: dict[str, object] = dict.fromkeys(
        ("train_size", "test_size", "teacher", "teacher_weights", "teacher_key", "weights", "weights_key")
    )
    blank |= {"source": "x", "data_key": "k", "class_names": [], "mean": [0.5], "std": [0.5], "recipe": {}}
    blank |= {"strict": False, "seed": 0, "workers": 1, "versions": {}, "classes": 10, "resolution": 32}
    asked = {"schema": "hvnas.train/1", "arch_hash": arch.hash, "data": "digits", "epochs": 18, **blank}
    (folder / "train.json").write_text(json.dumps(asked))
    if not epochs:
        return folder
    history = [
        {"epoch": i, "loss": 2.0 / i, "top1": 96.657 - 40.0 / i + 40.0 / epochs} for i in range(1, epochs + 1)
    ]
    metrics: dict[str, object] = {"top1": 96.657, "recipe": recipe, "epochs_trained": epochs}
    metrics |= {"top1_low": 94.25, "top1_high": 98.5, "history": history}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "card").mkdir()
    with (folder / "card" / "confusion.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["true class", *classes])
        for i, each in enumerate(classes):
            rows.writerow([each, *(31 - i if i == j else (i + j) % 3 for j in range(len(classes)))])
    return folder
