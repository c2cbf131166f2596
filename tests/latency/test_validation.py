"""The report of a validation, its store, and which networks are held out."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import hvnas.latency.measure.backends as backends
from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.latency.calibration.validation import (
    backend_of,
    device_file,
    held_out,
    is_in_table,
    known_hashes,
    noise_floor,
    report,
    save_plot,
    store,
)
from hvnas.latency.scores import scores
from hvnas.latency.tables.op_rows import WholeTime, whole_header, whole_line
from hvnas.space import load_space

TABLES = Path(__file__).resolve().parents[2] / "latency_tables"
MEASURED = np.linspace(1, 4, 9)
PREDICTED = MEASURED * np.array([1.0, 1.1, 0.9, 1.2, 1.0, 1.05, 0.95, 1.0, 1.3])
FAMILIES = ["a", "b", "c"] * 3
MACS = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1]) * 1e8


def test_overall_and_by_family() -> None:
    found = report(PREDICTED, MEASURED, FAMILIES, MACS)
    assert found["networks"] == 9
    assert found["overall"] == scores(PREDICTED, MEASURED)
    assert list(found["by_family"]) == ["a", "b", "c"]
    assert found["by_family"]["b"] == scores(PREDICTED[1::3], MEASURED[1::3])
    assert found["noise_floor"] is None and "in_gate" not in found and "not_in_table" not in found


def test_by_size_are_thirds_from_the_smallest() -> None:
    found = report(PREDICTED, MEASURED, FAMILIES, MACS)["by_size"]
    assert list(found) == ["0.10 to 0.30 G MACs", "0.40 to 0.60 G MACs", "0.70 to 0.90 G MACs"]
    assert found["0.10 to 0.30 G MACs"] == scores(PREDICTED[6:][::-1], MEASURED[6:][::-1])


@pytest.mark.parametrize(("n", "bins"), [(1, 1), (5, 1), (6, 2), (9, 3), (40, 3)])
def test_few_networks_make_few_bins(n: int, bins: int) -> None:
    ms = np.arange(1.0, n + 1)
    found = report(ms, ms, ["x"] * n, ms * 1e9)["by_size"]
    assert len(found) == bins and sum(entry["n"] for entry in found.values()) == n


def test_one_factor_takes_a_common_error_out() -> None:
    found = report(MEASURED / 1.7, MEASURED, FAMILIES, MACS)
    assert found["one_factor"] == {"factor": 1.7, "mape": 0.0}
    assert found["overall"]["mape"] == pytest.approx(41.18)


def test_parts_inside_and_not_in_the_table() -> None:
    mask = np.array([True] * 6 + [False] * 3)
    found = report(PREDICTED, MEASURED, FAMILIES, MACS, inside=mask, in_table=mask)
    assert found["in_gate"] == scores(PREDICTED[:6], MEASURED[:6])
    assert found["not_in_table"] == scores(PREDICTED[6:], MEASURED[6:])
    everything = report(PREDICTED, MEASURED, FAMILIES, MACS, inside=~mask & mask, in_table=mask | ~mask)
    assert everything["in_gate"] is None and everything["not_in_table"] is None
    plain = report(PREDICTED, MEASURED, FAMILIES, MACS, inside=mask | ~mask, in_table=mask & ~mask)
    assert "in_gate" not in plain and "not_in_table" not in plain


def test_noise_floor_is_the_difference_over_the_mean() -> None:
    assert noise_floor([(1.0, 1.1), (2.0, 2.0)]) == {"pairs": 2, "mape": 4.76, "max": 9.52}
    assert noise_floor([]) is None


def test_times_that_are_none() -> None:
    with pytest.raises(ValueError, match="measured times must be finite"):
        report([1.0], [math.nan], ["a"], [1e9])


def test_the_report_is_stored_in_the_device(tmp_path: Path) -> None:
    for suffix in (".yaml", ".csv"):
        shutil.copy(TABLES / f"iphone12{suffix}", tmp_path)
    found = report(PREDICTED, MEASURED, FAMILIES, MACS, [(1.0, 1.1)], inside=MACS > 3e8)
    store(found, tmp_path / "iphone12.yaml")
    device = load_device(tmp_path / "iphone12.yaml")
    assert device.report["validation"] == found
    assert device.report["family_left_out"] == load_device("iphone12").report["family_left_out"]


def test_the_scatter_plot(tmp_path: Path) -> None:
    save_plot(list("abcdefghi"), PREDICTED, MEASURED, FAMILIES, tmp_path / "x.html", title="t")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert text.count('"mode":"markers"') >= 3


def test_held_out_networks() -> None:
    space = load_space("hybrid-mobile")
    archs = held_out(space, 6, seed=0)
    hashes = [arch.hash for arch in archs]
    assert len(set(hashes)) == 6 and [a.name for a in archs] == [f"held_out_{h}" for h in hashes]
    assert all(0.1e9 <= arch.lower().macs <= 3e9 for arch in archs)
    assert hashes == [arch.hash for arch in held_out(space, 6, seed=0)]
    assert not set(hashes) & {arch.hash for arch in held_out(space, 6, seed=1)}
    others = held_out(space, 6, seed=0, known=hashes[:2])
    assert not set(hashes[:2]) & {arch.hash for arch in others} and len(others) == 6


def test_held_out_is_apart_from_a_plain_draw_with_the_same_seed() -> None:
    space = load_space("hybrid-mobile")
    rows = space.sample(6, rng=np.random.default_rng(0), macs=(0.1e9, 3e9))
    assert not {space.decode(row).hash for row in rows} & {a.hash for a in held_out(space, 6, seed=0)}


def test_known_hashes(tmp_path: Path) -> None:
    assert known_hashes(None) == known_hashes(tmp_path / "x.yaml") == frozenset()
    lines = [WholeTime("network", "abc", 1.0, 0.1, 5), WholeTime("block", "mb4d-x", 1.0, 0.1, 5)]
    text = whole_header() + "".join(map(whole_line, lines))
    (tmp_path / "x.whole.csv").write_text(text, encoding="utf-8")
    assert known_hashes(tmp_path / "x.yaml") == {"abc"}


def test_networks_in_the_table_are_known_by_their_work() -> None:
    device = load_device("iphone12")
    programs = [load_arch(name).lower() for name in ("efficientformer_l1", "vit_c_4gf")]
    assert is_in_table(device, programs).tolist() == [True, False]
    assert not is_in_table(dataclasses.replace(device, rows=()), programs).any()


def test_device_file(tmp_path: Path) -> None:
    assert device_file("iphone12") == TABLES / "iphone12.yaml"
    assert device_file(tmp_path / "none.yaml") is None
    assert device_file("of_another_package") is None


def test_the_backend_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, *, threads: int) -> SimpleNamespace:
        if name == "absent":
            raise ValueError("no such hardware")
        runtime = SimpleNamespace(runtime=name, compute_unit="CPU", precision="float32", threads=threads)
        return SimpleNamespace(runtime=runtime)

    monkeypatch.setattr(backends, "make_backend", make)
    monkeypatch.setattr(backends, "list_backends", lambda: ("absent", "eager", "compiled"))
    device = load_device("iphone12")
    like = {"runtime": "compiled", "compute_unit": "CPU", "precision": "float32", "threads": 2}
    device = dataclasses.replace(device, info=dataclasses.replace(device.info, **like))
    assert backend_of(device) == "compiled"
    half = dataclasses.replace(device, info=dataclasses.replace(device.info, precision="float16"))
    with pytest.raises(ValueError, match=r"no backend of this host measures as .*float16, 2 threads"):
        backend_of(half)
