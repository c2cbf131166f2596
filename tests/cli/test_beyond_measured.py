"""A network that would be faster than all that were measured is named as such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvnas.arch import load_arch, save_arch
from hvnas.cli._outcome import print_outcome
from hvnas.cli._screen import Screen
from hvnas.latency import LatencyDevice, load_device
from hvnas.latency.provenance import beyond_measured
from hvnas.search import search
from hvnas.space import load_space


def test_it_names_the_fastest_that_was_measured() -> None:
    device = load_device("iphone12")
    kept = max(row.values["macs"] / row.ms for row in device.rows)
    at = int(kept * 2.0)
    assert beyond_measured(device, "found", macs=at, ms=2.0) is None
    said = beyond_measured(device, "found", macs=int(at * 1.1), ms=2.0)
    assert said and f"{1.1 * kept / 1e9:.2f} G MACs a millisecond" in said and "(resnet152)" in said


def test_a_device_that_knows_no_networks_says_nothing() -> None:
    class Bare(LatencyDevice):
        name = "bare"

    assert beyond_measured(Bare(), "found", macs=10**12, ms=1.0) is None


@pytest.mark.parametrize(("resolution", "is_named"), [(512, True), (224, False)])
def test_show_and_report_say_it(hvnas, tmp_path: Path, resolution: int, is_named: bool) -> None:
    model, path, page = "poolformer_s12_id", tmp_path / "network.yaml", tmp_path / "report.html"
    save_arch(load_arch(model).with_(resolution=resolution), path)
    shown = hvnas("show", path, "--device", "iphone12")
    reported = hvnas("report", path, "--device", "iphone12", "--out", page)
    assert shown.exit_code == reported.exit_code == 0, reported.output
    for text in (shown.stdout, page.read_text()):
        assert (f"{model} would compute" in text) == is_named


def test_a_search_says_it_of_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    device = load_device("iphone12")
    slow = tuple(replace(row, ms=100.0) for row in device.rows)
    for rows, is_named in ((device.rows, False), (slow, True)):
        found = search(load_space("poolformer"), replace(device, rows=rows), budget_ms=2, evals=200)
        print_outcome(Screen(), found)
        assert (f"{found.best.name} would compute" in capsys.readouterr().out) == is_named
