"""``hvnas latency predict``: the parts add up to the whole, and what is calibrated is called so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hvnas.arch import load_arch
from hvnas.latency import load_device

ASK = ("latency", "predict", "--device", "iphone12")


def test_json_adds_up(hvnas) -> None:
    facts = json.loads(hvnas(*ASK, "--arch", "efficientformer_l1", "--json").stdout)
    found = facts["latency"]["iphone12"]
    expected = load_device("iphone12").latency(load_arch("efficientformer_l1").lower())
    assert (found["ms"], found["low"], found["high"]) == (expected.ms, expected.low, expected.high)
    for way in ("stages", "kinds"):
        parts = found["breakdown"]
        assert parts["fixed"] + sum(parts[way].values()) == pytest.approx(found["ms"], rel=1e-9)
    assert found["method"] == "calibrated" and "calibrated, not measured" in found["said"]
    assert (facts["name"], facts["resolution"]) == ("efficientformer_l1", 224)


def test_the_table(hvnas) -> None:
    result = hvnas(*ASK, "--arch", "efficientformer_l1")
    assert result.exit_code == 0
    out = result.stdout
    assert "ms at batch 1, calibrated, not measured" in out
    assert "5–95 %" in out and "inside" in out and "█" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("  s")}
    assert {"stem", "stages.0", "stages.3"} <= rows.keys()
    shares = [float(share) for share in re.findall(r"  ([\d.]+) %  ", out.replace("\n", "  \n"))]
    assert sum(shares) == pytest.approx(200, abs=1)


def test_reasons_of_the_gate(hvnas) -> None:
    out = hvnas(*ASK, "--arch", "mobilevit_xs").stdout
    assert "outside: " in out and "leaves the Neural Engine" in out


def test_several_devices_and_a_resolution(hvnas, iphone12_copy: Path) -> None:
    text = iphone12_copy.read_text(encoding="utf-8").replace("name: iphone12\n", "name: other\n", 1)
    iphone12_copy.write_text(text, encoding="utf-8")
    args = ("--device", iphone12_copy, "--arch", "efficientformer_l1", "--resolution", "192", "--json")
    facts = json.loads(hvnas(*ASK, *args).stdout)
    assert facts["resolution"] == 192
    assert facts["latency"]["other"]["ms"] == facts["latency"]["iphone12"]["ms"]


def test_a_module_of_torchs_own(hvnas) -> None:
    result = hvnas(*ASK, "--module", "torchvision.models:resnet18", "--resolution", 64, "--json")
    facts = json.loads(result.stdout)
    assert facts["params"] == 11_689_512
    assert list(facts["latency"]["iphone12"]["breakdown"]["stages"])[:2] == ["conv1", "maxpool"]


@pytest.mark.parametrize("suffix", ["html", "png"])
def test_a_plot(hvnas, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    assert hvnas(*ASK, "--arch", "efficientformer_l1", "--plot", path).exit_code == 0
    assert path.stat().st_size > 3000


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "either --arch or --module"),
        (("--arch", "efficientformer_l1", "--module", "a:b"), "either --arch or --module"),
        (("--arch", "efficientformer_l"), "unknown model 'efficientformer_l'; nearest of"),
        (("--arch", "efficientformer_l1", "--resolution", "0"), "resolution must be 1 to 4096"),
        (("--arch", "efficientformer_l1", "--plot", "x.pdf"), "x.pdf: a figure's name ends in"),
        (("--module", "no_such_module_here:make"), "importing no_such_module_here failed"),
        (("--module", "math:sqrt"), "math:sqrt: calling it without arguments failed: TypeError"),
        (("--arch", "efficientformer_l1", "--device", "iphone"), "unknown device 'iphone'; did you mean"),
    ],
)
def test_one_line(hvnas, args: tuple[str, ...], says: str) -> None:
    result = hvnas(*ASK, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hvnas: error: ") and result.stderr.count("\n") == 1
    assert says in result.stderr
