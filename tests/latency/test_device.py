"""Estimates, intervals, margins, breakdowns; arrays and single networks agree; no torch is loaded."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import hvnas.latency.registry as registry
from hvnas._registry import Registry
from hvnas.arch import load_arch
from hvnas.latency import (
    Device,
    LatencyArrays,
    Measurement,
    StudentT,
    list_devices,
    load_device,
    register_device,
)
from hvnas.latency.files import write_device
from hvnas.latency.provenance import vendor_of
from hvnas.latency.scores import Pace, fit_student_t, student_chance, student_quantile
from hvnas.ops import evaluate_columns

NAMES = "efficientformer_l1 efficientformer_l7 poolformer_s24 coatnet_0 mobilevit_xs efficientvit_b1".split()


def test_program_and_columns_agree(device: Device) -> None:
    programs = [load_arch(name).lower() for name in NAMES]
    arrays = device.latency_columns(np.stack([evaluate_columns(device.columns, p) for p in programs]))
    for i, program in enumerate(programs):
        one = device.latency(program)
        assert one.ms == pytest.approx(arrays.ms[i], rel=1e-12)
        assert (one.low, one.high) == pytest.approx((arrays.low[i], arrays.high[i]), rel=1e-12)
        assert one.inside == arrays.inside[i]
        assert len(one.reasons) == sum(bool(who[i]) for who in arrays.excluded_by.values())


@pytest.mark.parametrize(
    "name", ["efficientformer_l3", "coatnet_0", "efficientformerv2_s1", "poolformer_s12"]
)
def test_the_model_is_streaming_multiplying_and_the_further_costs(device: Device, name: str) -> None:
    """Written out op by op. CoAtNet-0 attends over 14 x 14 tokens."""
    program = load_arch(name).lower().fused()
    rates = {term.column: term.ms_per_mega / 1e6 for term in device.model.terms}
    expected = device.model.fixed_ms
    for op in program.ops:
        streaming = rates["streamed_weight_bytes"] * op.weight_bytes()
        if op.kind == "conv" and op.kernel != (1, 1) and op.groups == op.shape_in[0]:
            size = "small" if max(op.kernel) <= 5 else "large"
            expected += rates[f"{size}_depthwise_macs"] * op.macs
            expected += rates["depthwise_bytes_beyond_2mb"] * max(0, op.act_bytes() - 2e6)
        elif op.kind in ("conv", "linear", "matmul"):
            kernel = "pointwise" if op.kernel == (1, 1) else "spatial"
            expected += max(streaming, rates[f"computed_{kernel}_macs"] * op.macs)
        if op.kind in ("softmax", "matmul"):
            expected += rates["matmul_bytes"] * op.act_bytes()
            expected += rates["long_attention_bytes"] * op.act_bytes() * (op.shape_in[-2] >= 196)
        if op.kind == "mul":
            expected += rates["gate_bytes"] * op.act_bytes()
        if op.kind == "pool" and op.variant != "mean":
            expected += rates["pool_bytes"] * op.act_bytes()
    assert device.latency(program).ms == pytest.approx(expected, rel=1e-3)


def test_weights_stream_about_as_fast_as_the_memory(device: Device) -> None:
    """LPDDR4X-4266 on 64 bits moves 34.1 GB/s."""
    (weights,) = (term for term in device.model.terms if term.column == "streamed_weight_bytes")
    assert 20 < weights.rate < 1.03 * 34.1


@pytest.mark.parametrize("name", NAMES)
def test_breakdown_sums_to_ms(device: Device, name: str) -> None:
    estimate = device.latency(load_arch(name).lower())
    parts = estimate.breakdown
    assert parts.fixed == device.model.fixed_ms
    assert parts.fixed + sum(parts.stages.values()) == pytest.approx(estimate.ms, rel=1e-12)
    assert parts.fixed + sum(parts.kinds.values()) == pytest.approx(estimate.ms, rel=1e-12)
    assert next(iter(parts.stages)) == "stem" and "stages.0" in parts.stages and "head" in parts.stages
    assert parts.kinds["conv"] > 0


def test_published_latency_lies_in_the_interval(device: Device) -> None:
    """EfficientFormer on iPhone 12, iOS 16: 1.4, 1.42 and 1.5, 2.7 and 2.8, 6.6 ms; of each the mean."""
    for name, ms in {
        "efficientformer_l1": 1.44,
        "efficientformer_l3": 2.75,
        "efficientformer_l7": 6.6,
    }.items():
        estimate = device.latency(load_arch(name).lower())
        assert estimate.low < ms < estimate.high


def test_interval_quantiles_and_chances_are_of_one_distribution(device: Device) -> None:
    estimate = device.latency(load_arch("efficientformer_l1").lower())
    assert device.p_within([estimate.ms], estimate.low)[0] == pytest.approx(0.05)
    assert device.p_within([estimate.ms], estimate.high)[0] == pytest.approx(0.95)
    outside = device.latency(load_arch("coatnet_0").lower())
    chances = device.p_within([outside.ms] * 2, outside.high, inside=np.array([False, True]))
    assert chances[0] == pytest.approx(0.95) and chances[1] > chances[0]


def test_outside_is_wider(device: Device) -> None:
    ms = np.array([2.0])
    inside = device.inside_error.factor(0.95) / device.inside_error.factor(0.05)
    outside = device.outside_error.factor(0.95) / device.outside_error.factor(0.05)
    assert outside > 2 * inside
    assert device.p_within(ms, 2.2, inside=False)[0] < device.p_within(ms, 2.2)[0]


def of_rows(device: Device, rows: Sequence[Measurement]) -> LatencyArrays:
    """What `device` says of measured networks."""
    return device.latency_columns(np.array([[row.values[c.name] for c in device.columns] for row in rows]))


@pytest.mark.parametrize("name", list_devices())
def test_outside_holds_what_it_would_inside(name: str) -> None:
    """And the point, on every device that ships and with errors of any sign."""
    shipped = load_device(name)
    narrow = dataclasses.replace(shipped, outside_error=StudentT(8, -0.2, 0.02))
    for each in (shipped, narrow):
        arrays, free = (
            of_rows(one, shipped.rows[::7]) for one in (each, dataclasses.replace(each, rules=()))
        )
        assert not arrays.inside.all() and free.inside.all()
        assert (arrays.low <= free.low).all() and (arrays.high >= free.high).all()
        assert ((arrays.low <= arrays.ms) & (arrays.ms <= arrays.high)).all()


def test_the_interval_widens_beyond_the_pace_that_was_measured(device: Device) -> None:
    """RepViT-M2.3 computes 1.99 G MACs a millisecond, more than any other in the gate."""
    pace = device.pace
    assert pace and pace.macs_per_ms == pytest.approx(1.99e9, rel=2e-3)
    rows = [row for row in device.rows if row.cohort == "A"]
    before, plain = of_rows(device, rows), of_rows(dataclasses.replace(device, pace=None), rows)
    assert (before.low == plain.low).all() and (before.high == plain.high).all()
    fast = [
        dataclasses.replace(row, values={**row.values, "macs": 1.3 * pace.macs_per_ms * ms})
        for row, ms in zip(rows, before.ms, strict=True)
    ]
    after = of_rows(device, fast)
    assert (after.ms == before.ms).all()
    assert (after.low < before.low).all() and (after.high > before.high).all()
    assert (after.high[after.inside] > 1.05 * before.high[before.inside]).all()


def test_chances_are_of_the_widened_interval(device: Device) -> None:
    assert device.pace
    macs = 1.2 * device.pace.macs_per_ms * 2.0
    more = float(device.pace.spread(macs, 2.0))
    high = 2.0 * float(device.inside_error.factors(0.95, more))
    (chance,) = device.p_within_of([2.0], high, inside=True, macs=[macs])
    assert chance == pytest.approx(0.95) and chance < device.p_within([2.0], high)[0]
    slow = device.p_within_of([2.0], 2.2, inside=True, macs=[1e9])
    assert slow[0] == device.p_within([2.0], 2.2)[0]


@pytest.mark.parametrize("wrong", [{"macs_per_ms": 0.0}, {"growth": 2.0}, {"growth": float("nan")}])
def test_a_pace_that_is_none(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be > 0 and at most"):
        Pace(**{"macs_per_ms": 2e9, "growth": 0.5} | wrong)


def test_default_margin_is_the_smallest(device: Device) -> None:
    margin = device.default_margin(2.0)
    assert margin > 0
    assert device.p_within([2.0 / (1 + margin)], 2.0)[0] == pytest.approx(0.9)
    assert device.p_within([2.0 / (1 + margin - 0.01)], 2.0)[0] < 0.9
    assert device.default_margin(7.0) == margin < device.default_margin(7.0, inside=False)


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), 0.0, -1.0])
def test_no_budget(device: Device, budget: float) -> None:
    with pytest.raises(ValueError, match="finite number of milliseconds > 0"):
        device.p_within([1.0], budget)
    with pytest.raises(ValueError, match="finite number of milliseconds > 0"):
        device.default_margin(budget)


def test_columns_of_another_shape_are_refused(device: Device) -> None:
    with pytest.raises(
        ValueError, match=r"values must be \[n, \d+\], a column each for streamed_weight_bytes"
    ):
        device.latency_columns(np.zeros((2, 3)))


def test_says_that_it_is_calibrated(device: Device) -> None:
    assert device.info.method == "calibrated"
    assert "calibrated" in device.info.description and "not measured" in device.info.description
    assert device.info.batch == 1 and device.info.device == "iPhone 12"
    assert len(device.hash) == 12 and device.hash == load_device("iphone12").hash


def test_student_degrees_of_freedom_are_bounded_by_the_families() -> None:
    rng = np.random.default_rng(0)
    student = fit_student_t(rng.normal(0.1, 0.2, 200), families=6)
    assert student.df == 5
    assert student.loc == pytest.approx(0.1, abs=0.05)
    heavy = fit_student_t(0.1 * rng.standard_t(2, 400), families=50)
    assert 1 < heavy.df < 4
    with pytest.raises(ValueError, match="scale > 0"):
        StudentT(3, 0, 0)


def test_unknown_device() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'iphone21'; did you mean 'iphone12'\? There are: "):
        load_device("iphone21")
    assert "iphone12" in list_devices()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("galaxy-s22", "nearest to it, with chips of Qualcomm: galaxy-s23, galaxy-s23-tflite, galaxy-s24"),
        ("snapdragon-8-gen-3", "nearest to it, with chips of Qualcomm: galaxy-s24, "),
        ("iphone13", "nearest to it, with chips of Apple: iphone12, iphone12-modelbench"),
        ("rtx3090", "nearest to it, with chips of NVIDIA: rtx4090"),
        ("xeon-i9-12900k", "nearest to it, with chips of Intel: cpu-i9-10940x, cpu-i7-12700h"),
        ("pixel-7", "none has a chip of Google"),
    ],
)
def test_an_unknown_device_names_the_nearest(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"unknown device '{name}'") as raised:
        load_device(name)
    assert said in str(raised.value)


def test_an_unknown_device_of_no_vendor() -> None:
    for name in ("toaster", "iphone" * 5000):
        with pytest.raises(ValueError) as raised:
            load_device(name)
        assert "chip" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ("galaxy-s22", "Qualcomm"),
        ("Galaxy S24 (Exynos 2400)", "Samsung"),
        ("Snapdragon 8 Elite", "Qualcomm"),
        ("QCS8550 (Proxy)", "Qualcomm"),
        ("GeForce RTX 4090", "NVIDIA"),
        ("AMD EPYC 7B13", "AMD"),
        ("Intel(R) Xeon(R) Platinum 8375C", "Intel"),
        ("Raspberry Pi 5", "Arm"),
        ("appliance", None),
    ],
)
def test_vendors(text: str, vendor: str | None) -> None:
    assert vendor_of(text) == vendor


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ("2022-12 to 2024-06, when the sources were published", (2024, 6)),
        ("with torch 2.4, which was released in July 2024; the file gives no day", (2024, 7)),
        ("2026-11-22", (2026, 11)),
        ("lately, 2024-99", None),
    ],
)
def test_measured_until(device: Device, said: str, last: tuple[int, int] | None) -> None:
    until = dataclasses.replace(device.info, date=said).measured_until
    assert until == (last and datetime.date(*last, 1))


def test_a_device_file_names_the_vendor(tmp_path: Path, device: Device) -> None:
    made = dataclasses.replace(device, info=dataclasses.replace(device.info, vendor="Acme"))
    write_device(made, tmp_path / "own.yaml")
    assert load_device(tmp_path / "own.yaml").info.chip_vendor == "Acme"
    assert device.info.chip_vendor == "Apple" and load_device("cpu-i7-12700h").info.chip_vendor == "Intel"


def test_registered_device(monkeypatch: pytest.MonkeyPatch, repo_root: Path) -> None:
    monkeypatch.setattr(registry, "_DEVICES", Registry("device"))
    register_device("mine")(lambda: repo_root / "latency_tables" / "iphone12.yaml")
    register_device("made")(lambda: load_device("iphone12"))
    assert {"mine", "made", "iphone12"} <= set(list_devices())
    assert load_device("mine").hash == load_device("made").hash
    with pytest.raises(ValueError, match="exists already"):
        register_device("iphone12")(lambda: "x")


def test_loading_needs_no_torch() -> None:
    code = "from hvnas.latency import load_device as l; d = l('iphone12'); d.p_within([1.0], 2.0)"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hvnas.latency.device" in imported
    assert not {"torch", "timm", "scipy.stats", "pandas"} & imported


@pytest.mark.parametrize("df", [0.5, 1.0, 3.3, 7.4, 11.0, 25.0, 100.0])
def test_student_t_is_scipys(df: float) -> None:
    from scipy.special import stdtr, stdtrit

    t = np.concatenate([np.linspace(-12, 12, 401), [0.0, 1e-3, 1e3, -np.inf, np.inf]])
    np.testing.assert_allclose(student_chance(df, t), stdtr(df, t), rtol=1e-11, atol=1e-15)
    for p in (0.01, 0.05, 0.5, 0.9, 0.95, 0.999):
        assert student_quantile(df, p) == pytest.approx(stdtrit(df, p), rel=1e-12, abs=1e-15)
