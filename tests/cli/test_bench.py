"""hvnas bench: a table of published results, as text, JSON and CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import pytest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = (f"{a},{b},{c},{60 + a + b * c}" for a, b, c in itertools.product(range(5), repeat=3))
    path = tmp_path / "toy.csv"
    path.write_text("\n".join(["a,b,c,top1", *rows]) + "\n", encoding="utf-8")
    return path


def test_bench_in_each_form(hvnas, table: Path) -> None:
    asked = ("bench", str(table), "--strategy", "evolution", "--strategy", "random")
    asked = (*asked, "--evals", "30", "--seeds", "2")
    text = hvnas(*asked)
    assert text.exit_code == 0
    assert "toy.csv: 125 networks, searched by its columns" in text.stdout
    assert [line.split()[0] for line in text.stdout.splitlines()[-2:]] == ["evolution", "random"]
    found = json.loads(hvnas(*asked, "--json").stdout)
    assert (found["networks"], found["best"], found["evals"]) == (125, 80, 30)
    evolution, random = found["strategies"]
    assert evolution["strategy"] == "evolution" and evolution["runs"] == 2
    assert evolution["regret"]["30"] <= evolution["regret"]["25"]
    rows = list(csv.DictReader(io.StringIO(hvnas(*asked, "--format", "csv").stdout)))
    assert [(row["strategy"], row["evaluations"]) for row in rows] == [
        *[("evolution", n) for n in ("25", "30")],
        *[("random", n) for n in ("25", "30")],
    ]
    assert float(rows[-1]["regret"]) == random["regret"]["30"]


def test_a_bad_table_is_one_line(hvnas, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("a,loss\n1,2\n", encoding="utf-8")
    for file in (path, tmp_path / "none.csv"):
        found = hvnas("bench", str(file))
        assert found.exit_code == 2
        assert found.stderr.count("\n") == 1 and file.name in found.stderr
