"""accuracy rank: places with their probabilities, and what is assumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hvnas.arch import load_arch, save_arch

LAYOUTS = ("poolformer_s12_id", "poolformer_s12", "poolformer_s12_depthwise")


def test_each_place_has_its_probability(hvnas) -> None:
    found = json.loads(hvnas("accuracy", "rank", *LAYOUTS, "--json").stdout)
    assert set(found["order"]) == set(LAYOUTS)
    for chances in found["probabilities"].values():
        assert sum(chances) == pytest.approx(1.0, abs=1e-3)
    top1 = [found["top1"][name] for name in found["order"]]
    assert top1 == sorted(top1, reverse=True)
    assert found["assumed"] == []

    lines = hvnas("accuracy", "rank", *LAYOUTS).stdout.splitlines()
    assert lines[1].split() == ["place", "network", "probability", "first", "top-1"]
    assert [line.split()[1] for line in lines[2:5]] == found["order"]
    for place, line in enumerate(lines[2:5]):
        name = found["order"][place]
        assert float(line.split()[2]) == pytest.approx(found["probabilities"][name][place], abs=1e-3)
        # JSON has three decimals, of which the first may round another way.
        top1, sign, sd = line.split()[-3:]
        assert sign == "±"
        assert float(top1) == pytest.approx(found["top1"][name], abs=0.051)
        assert float(sd) == pytest.approx(found["top1_sd"][name], abs=0.051)


def test_what_the_evidence_does_not_hold_is_said(hvnas, tmp_path: Path) -> None:
    paths = []
    for name in LAYOUTS[:2]:
        paths.append(tmp_path / f"{name}.yaml")
        save_arch(load_arch(name).with_(classes=10, resolution=512), paths[-1])
    lines = hvnas("accuracy", "rank", *paths).stdout.splitlines()
    assert [line.split(":")[0] for line in lines[-2:]] == ["resolution 512", "10 classes"]


def test_sizes_that_differ_are_refused(hvnas) -> None:
    result = hvnas("accuracy", "rank", "coatnet_0", "coatnet_1")
    assert result.exit_code == 2
    assert "more than 5 %" in result.stderr
    assert len(result.stderr.splitlines()) == 1
