"""Inherited weights against published results, on few networks and images: it runs, goes on, and counts."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas._records import read_csv
from hvnas.accuracy.table import read_table
from hvnas.ops import MACS, PARAMS
from hvnas.space import FastPath, load_space

SMALL = (
    "--data digits --networks 40 --probed 2 --bins 2 --draws 2 --epochs 2 --train-size 64 --test-size 32 "
    "--bn-calib 32 --images 32"
).split()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty networks of NAS-Bench-Macro's space, the more blocks the better."""
    space = load_space("nas-bench-macro")
    varying = [len(gene.values) > 1 for gene in space.genes]
    drawn = np.random.default_rng(0).choice(3**8, size=60, replace=False)
    keys = [f"{np.base_repr(number, 3):0>8}" for number in drawn]
    rows = np.zeros((len(keys), len(space.genes)), dtype=np.int16)
    rows[:, varying] = [[int(digit) for digit in key] for key in keys]
    counts = FastPath(space, (PARAMS, MACS))(rows)
    results = {
        key: {"test_acc": [60 + sum(map(int, key)), 61 + sum(map(int, key))], "params": params, "flops": macs}
        for key, (params, macs) in zip(keys, counts.tolist(), strict=True)
    }
    path = tmp_path_factory.mktemp("published") / "toy.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    return path


def subject_of(table: Path, **changes: int) -> Any:
    script = import_module("_supernet_table")
    given = {"networks": 40, "bins": 2, "seed": 0} | changes
    return script.Subject.of(read_table(table), load_space("nas-bench-macro"), **given)


def test_members_are_those_of_the_table(table: Path) -> None:
    subject = subject_of(table)
    assert len(set(subject.sample)) == 40
    for place in (0, 7, 59):
        assert subject.arch(place).lower().macs == subject.table.counts["macs"][place]
    assert np.bincount(subject.bins).tolist() == [30, 30]


def test_networks_that_compute_the_same_are_one(table: Path) -> None:
    """A block left out in the middle of a stage is one left out at its end."""
    subject = subject_of(table)
    keys = ["".join(map(str, row)) for row in subject.table.rows]
    for i, key in enumerate(keys):
        own = [key[:2], key[2:5], key[5:]]
        real = "".join(stage[0] + stage[1:].replace("0", "") + "|" for stage in own)
        alike = [j for j in range(len(keys)) if subject.equals[j] == subject.equals[i]]
        for j in alike:
            other = [keys[j][:2], keys[j][2:5], keys[j][5:]]
            assert real == "".join(stage[0] + stage[1:].replace("0", "") + "|" for stage in other)
    assert set(subject.sample) <= set(subject.with_equals)


def test_a_score_that_orders_as_the_truth_does_is_best(table: Path) -> None:
    script, subject = import_module("_supernet_table"), subject_of(table)
    truth = subject.table.top1[subject.sample]
    found = script.ordered("x", truth, subject.sample, subject, seconds=1.0)
    assert [found.tau.value, found.tau_within.value, found.rho.value] == pytest.approx([1, 1, 1])
    assert found.regret.value == subject.table.top1.max() - truth.max()
    worse = script.ahead(truth, -truth, subject.sample, subject, within=True)
    assert worse.value == pytest.approx(2) and worse.low > 0
    alone = script.predicted(subject, None, known=25, draws=3, places=subject.sample)
    both = script.predicted(subject, truth[:, None], known=25, draws=3, places=subject.sample)
    assert both.tau.mean() > 0.9 and both.tau.mean() >= alone.tau.mean()


def test_the_study_goes_on_where_it_was(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = import_module("study_supernet_table")
    script.main([str(table), "--out", str(tmp_path), *SMALL])
    printed = capsys.readouterr().out
    assert "supernet, equals averaged" in printed and "after epoch 1" in printed
    scores, state = tmp_path / "scores.csv", tmp_path / "supernet" / "checkpoint.safetensors"
    before = scores.read_bytes(), state.read_bytes()
    kept = before[0].rstrip(b"\n").rpartition(b"\n")[0] + b"\n"
    scores.write_bytes(kept)  # as a kill may leave it
    script.main([str(table), "--out", str(tmp_path), *SMALL])
    assert scores.read_bytes().startswith(kept) and state.read_bytes() == before[1]
    assert len(scores.read_bytes().splitlines()) == len(before[0].splitlines())
    for name in ("results.csv", "curve.csv"):
        assert list(read_csv(tmp_path / name, optional=None))
    assert (tmp_path / "tau.svg").exists() and (tmp_path / "tau_within.svg").exists()
