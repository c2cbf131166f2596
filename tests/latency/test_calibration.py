"""The iPhone 12 file says of itself what its rows say: errors, parameters, intervals, recomputed here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.optimize import nnls

from hvnas.arch import load_arch
from hvnas.latency import Device, load_device
from hvnas.latency.columns import clean, list_columns
from hvnas.latency.rows import write_rows
from hvnas.ops import evaluate_columns

TERMS = ("weight_bytes", "act_bytes", "act_bytes_over_2mb")
BASE = TERMS[:2]


@pytest.fixture(scope="module")
def device() -> Device:
    return load_device("iphone12")


@pytest.fixture(scope="module")
def measured(device: Device) -> dict[str, np.ndarray]:
    """Cohort A, a network once, computed without hvnas.latency.calibrate."""
    names = sorted({row.network for row in device.rows if row.cohort == "A"})
    groups = [[r for r in device.rows if r.network == n and r.cohort == "A"] for n in names]
    data = {name: np.array([g[0].values[name] for g in groups]) for name in list_columns()}
    columns = [c.name for c in device.columns]
    data["inside"] = device.latency_columns(np.stack([data[n] for n in columns], axis=1)).inside
    data["ms"] = np.array([np.mean([r.ms for r in g]) for g in groups])
    data["family"] = np.array([g[0].family for g in groups])
    data["name"] = np.array(names)
    return data


def left_out(data: dict[str, np.ndarray], terms: tuple[str, ...], by: str) -> np.ndarray:
    design = np.column_stack([np.ones(len(data["ms"]))] + [data[t] / 1e6 for t in terms])
    out = np.empty(len(data["ms"]))
    for group in set(data[by]):
        train = data["inside"] & (data[by] != group)
        weights = nnls(design[train] / data["ms"][train, None], np.ones(train.sum()))[0]
        out[data[by] == group] = design[data[by] == group] @ weights
    return out


def mape(data: dict[str, np.ndarray], predicted: np.ndarray, mask: np.ndarray) -> float:
    return float(100 * np.mean(np.abs(predicted - data["ms"])[mask] / data["ms"][mask]))


@pytest.mark.parametrize(
    ("key", "terms", "by"),
    [
        ("family_left_out", TERMS, "family"),
        ("model_left_out", TERMS, "name"),
        ("family_left_out_without_the_further_term", BASE, "family"),
        ("family_left_out_macs_alone", ("macs",), "family"),
        ("model_left_out_macs_alone", ("macs",), "name"),
    ],
)
def test_recorded_errors(
    device: Device, measured: dict[str, np.ndarray], key: str, terms: tuple[str, ...], by: str
) -> None:
    predicted = left_out(measured, terms, by)
    everything = np.ones(len(predicted), bool)
    recorded = device.report[key]
    for where, mask in (("in_gate", measured["inside"]), ("without_gate", everything)):
        assert recorded[where]["mape"] == pytest.approx(mape(measured, predicted, mask), abs=0.006)


def test_errors_are_as_low_as_the_reference_and_below_macs_alone(device: Device) -> None:
    """Three parameters on published rows, family left out: 10.2 % in the gate, 16.2 % without it."""
    ours, macs = device.report["family_left_out"], device.report["family_left_out_macs_alone"]
    chosen = device.report["family_left_out_choice_of_term_included"]
    for error in (ours, chosen):
        assert error["in_gate"]["mape"] <= 10.2
        assert error["without_gate"]["mape"] <= 16.2
    for where in ("in_gate", "without_gate"):
        assert ours[where]["mape"] < macs[where]["mape"]
        assert ours[where]["kendall_tau"] > macs[where]["kendall_tau"]


def test_a_further_term_enters_only_where_it_lowers_the_error(device: Device) -> None:
    base = device.report["family_left_out_without_the_further_term"]
    entered = [c for c in device.report["candidates"] if c["enters"]]
    better = [
        c
        for c in device.report["candidates"]
        if c["in_gate"] < base["in_gate"]["mape"] and c["without_gate"] < base["without_gate"]["mape"]
    ]
    assert entered == [min(better, key=lambda c: c["without_gate"])]
    assert [term.column for term in device.model.terms] == [*BASE, entered[0]["column"]]


def test_shipped_parameters_are_the_fit(device: Device, measured: dict[str, np.ndarray]) -> None:
    inside = measured["inside"]
    design = np.column_stack([np.ones(inside.sum())] + [measured[t][inside] / 1e6 for t in TERMS])
    weights = nnls(design / measured["ms"][inside, None], np.ones(inside.sum()))[0]
    shipped = [device.model.fixed_ms, *(term.ms_per_mega for term in device.model.terms)]
    assert shipped == pytest.approx(weights, rel=1e-3)


def single_errors(device: Device, measured: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """e = ln(measured / predicted) of every measurement, family left out, and whether it is in the gate."""
    predicted = dict(zip(measured["name"], left_out(measured, TERMS, "family"), strict=True))
    gate = dict(zip(measured["name"], measured["inside"], strict=True))
    rows = [row for row in device.rows if row.cohort == "A"]
    e = np.array([np.log(row.ms / predicted[row.network]) for row in rows])
    return e, np.array([gate[row.network] for row in rows])


def test_interval_covers_nine_in_ten_in_the_gate(device: Device, measured: dict[str, np.ndarray]) -> None:
    e, inside = single_errors(device, measured)
    low, high = np.log([device.inside_error.factor(0.05), device.inside_error.factor(0.95)])
    assert np.mean(((e >= low) & (e <= high))[inside]) >= 0.9


def test_interval_outside_misses_one_network_at_most(device: Device, measured: dict[str, np.ndarray]) -> None:
    """Of the seven outside."""
    ratio = measured["ms"] / left_out(measured, TERMS, "family")
    low, high = (device.outside_error.factor(p) for p in (0.05, 0.95))
    assert np.sum(((ratio < low) | (ratio > high)) & ~measured["inside"]) <= 1


def test_margin_keeps_nine_in_ten(device: Device, measured: dict[str, np.ndarray]) -> None:
    """Of the measurements in the gate, and of its networks."""
    e, inside = single_errors(device, measured)
    assert np.mean((e <= np.log(1 + device.default_margin()))[inside]) >= 0.9
    kept = measured["ms"] <= left_out(measured, TERMS, "family") * (1 + device.default_margin())
    assert np.mean(kept[measured["inside"]]) >= 0.9


def test_noise_floor(device: Device) -> None:
    groups: dict[tuple[str, int], list[float]] = {}
    for row in device.rows:
        if row.cohort == "A":
            groups.setdefault((row.network, row.resolution), []).append(row.ms)
    gaps = [abs(a - b) / ((a + b) / 2) for g in groups.values() for a, b in combinations(g, 2)]
    recorded = device.report["noise_floor"]
    assert recorded["pairs"] == len(gaps)
    assert recorded["mape"] == pytest.approx(100 * np.mean(gaps), abs=0.006)
    assert recorded["mape"] < device.report["family_left_out"]["in_gate"]["mape"]


def test_cohort(device: Device) -> None:
    """One tool chain: protocols P4 to P7 on an iPhone 12; nothing else was fitted."""
    rows = [row for row in device.rows if row.cohort == "A"]
    assert {row.protocol[:3] for row in rows} == {"P4-", "P5-", "P6-", "P7-"}
    assert {row.device for row in rows} == {"iPhone 12"}
    assert device.report["measurements"] == len(rows)
    assert device.report["networks_in_gate"] >= 24
    assert max(row.resolution for row in rows) <= 300


@pytest.mark.parametrize("name", ["efficientformer_l1", "efficientformer_l7", "poolformer_s36"])
def test_fixed_points_are_the_measured_networks(device: Device, name: str) -> None:
    """Their own lowering gives what the model and the gate read off a trace of timm's network."""
    row = next(row for row in device.rows if row.network == name)
    values = clean(evaluate_columns(device.columns, load_arch(name).lower()))
    assert values.tolist() == [row.values[c.name] for c in device.columns]


@pytest.fixture
def script(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))
    yield importlib.import_module("calibrate_iphone12")
    sys.modules.pop("calibrate_iphone12", None)


def test_the_file_is_what_the_script_writes(device: Device, script: ModuleType, repo_root: Path) -> None:
    text, _ = script.device_text(device.rows)
    assert text == (repo_root / "latency_tables" / "iphone12.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_rows_are_what_the_script_traces(script: ModuleType, repo_root: Path) -> None:
    pytest.importorskip("timm")
    text = write_rows(script.traced_rows())
    assert text == (repo_root / "latency_tables" / "iphone12.csv").read_text(encoding="utf-8")
