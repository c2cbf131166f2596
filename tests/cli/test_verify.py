"""hvnas verify: a row per model, the source beside it, and exit 1 where something differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hvnas.arch import load_arch, save_arch


def test_rows(hvnas) -> None:
    result = hvnas("verify", "efficientvit_b0", "mobilevit_s_p3")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1].split()[:4] == ["efficientvit_b0", "ok", "3,410,008", "3,410,008"]
    assert "2205.14756" in lines[1]
    assert lines[2].split()[:2] == ["mobilevit_s_p3", "misprint"]
    assert "Misprints of the papers" in lines
    assert lines[-1].startswith("2 verified, 0 with a mismatch, 1 with a misprint in ")


def test_json(hvnas) -> None:
    (row,) = json.loads(hvnas("verify", "efficientvit_b0", "--json").stdout)
    assert (row["ok"], row["params"], row["on_meta"]) == (True, 3_410_008, False)
    assert {name: check["verdict"] for name, check in row["checks"].items()} == {
        "params": "ok",
        "macs": "ok",
        "stem": "unpublished",
        "space": "ok",
        "trace": "ok",
        "forward": "ok",
    }
    assert row["published"]["macs_rule"] == "conv_linear_matmul"


def test_a_mismatch_exits_with_1(hvnas, tmp_path: Path) -> None:
    arch = load_arch("efficientvit_b0")
    path = tmp_path / "net.yaml"
    save_arch(replace(arch, name="net", published={"params": 3_000_000}), path)
    result = hvnas("verify", path)
    assert result.exit_code == 1
    assert "net  params: 3,410,008 against 3,000,000 (+13.67 %)" in result.stdout


def test_an_unknown_model(hvnas) -> None:
    result = hvnas("verify", "efficientvit_b9")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "nearest of 92: efficientvit_b" in result.stderr
