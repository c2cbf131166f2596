"""``hvnas latency table`` writes the lookup table and says how it adds up."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from hvnas.latency import load_device
from hvnas.latency.tables.block_keys import fixed_ms

ASK = ("latency", "table", "--device", "iphone12", "--networks", 5, "--out")


def test_the_most_used_blocks(hvnas, tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    result = hvnas(*ASK, out, "--limit", 20)
    assert result.exit_code == 0
    assert "20 of " in result.stdout and f"{fixed_ms(load_device('iphone12')):.3f} ms once" in result.stdout
    assert "calibrated, not measured" in result.stdout
    lines = [line for line in out.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert len(rows) == 21 and rows[0]["block"] == "fixed"
    assert [int(r["uses"]) for r in rows[1:]] == sorted((int(r["uses"]) for r in rows[1:]), reverse=True)


def test_json_and_the_seed(hvnas, tmp_path: Path) -> None:
    facts = [
        json.loads(hvnas(*ASK, tmp_path / name, "--json", "--seed", seed, "--space", "mobilevit").stdout)
        for name, seed in (("a.csv", 1), ("b.csv", 1), ("c.csv", 2))
    ]
    texts = [Path(f["table"]).read_text(encoding="utf-8") for f in facts]
    assert texts[0] == texts[1] != texts[2]
    assert facts[0]["rows"] == facts[0]["blocks"] >= facts[0]["inside"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("none/t.csv",), "there is no folder none"),
        ((".",), ".: is a folder; name a file"),
        (("t.csv", "--limit", 0), "--limit"),
        (("t.csv", "--space", "hybrit"), "unknown space 'hybrit'; did you mean 'hybrid'"),
    ],
)
def test_one_line(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = hvnas(*ASK, *args)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert says in result.stderr and not list(tmp_path.iterdir())
