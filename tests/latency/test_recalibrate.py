"""A device of one's own: found again from few measurements, honest about its error, loadable."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.latency import Device, load_device
from hvnas.latency.calibration.recalibrate import (
    MIN_SCALE,
    check_protocol,
    check_unit,
    in_milliseconds,
    recalibrate,
)
from hvnas.latency.files import write_device
from hvnas.latency.remote.measurements import MeasuredModel, ModelMeasurement
from hvnas.latency.scores import StudentT

NAMES = "efficientformer_l1 efficientformer_l3 efficientformerv2_s0 efficientformerv2_s1 \
efficientformerv2_s2 poolformer_s12 poolformer_s24".split()
OUTSIDE = "mobilevit_xs"


@pytest.fixture
def base(device: Device) -> Device:
    return device


def row(name: str, ms: float) -> ModelMeasurement:
    return ModelMeasurement(
        kind="model",
        key=name,
        resolution=load_arch(name).resolution,
        ms=ms,
        spread=None,
        n=50,
        statistic="median",
        device="iPhone SE",
        os="iOS 17",
        runtime="Core ML",
        runtime_version="7",
        compute_unit="ALL",
        precision="fp16",
        threads=None,
        batch=1,
        protocol="report",
        source="me",
    )


def measured(
    base: Device, names: list[str], *, factor: float = 1.0, noise: float = 0.0
) -> list[MeasuredModel]:
    rng = np.random.default_rng(0)
    models = []
    for name in names:
        arch = load_arch(name)
        ms = base.latency(arch.lower()).ms * factor * float(np.exp(rng.normal(0, noise)))
        models.append(MeasuredModel(name, name.partition("_")[0], arch, arch.lower(), row(name, ms)))
    return models


def test_a_slower_device_is_found(base: Device) -> None:
    made = recalibrate(base, measured(base, NAMES, factor=1.7, noise=0.03), name="mine")
    assert made.improved
    assert made.device.report["base_device"]["in_gate"]["mape"] > 35
    assert made.device.report["model_left_out"]["in_gate"]["mape"] < 5
    unseen = load_arch("efficientformer_l7").lower()
    assert made.device.latency(unseen).ms == pytest.approx(1.7 * base.latency(unseen).ms, rel=0.05)


def test_the_interval_is_of_left_out_networks_with_few_degrees_of_freedom(base: Device) -> None:
    made = recalibrate(base, measured(base, NAMES, factor=1.7, noise=0.05), name="mine")
    e = np.log(made.measured / made.after)
    error = made.device.inside_error
    assert error.df == len(NAMES) - 1
    assert error.loc == pytest.approx(e.mean(), rel=1e-3)
    assert error.scale == pytest.approx(e.std(ddof=1) * np.sqrt(1 + 1 / 7), rel=1e-3)
    assert made.device.outside_error.loc == pytest.approx(base.outside_error.loc + error.loc)


def test_errors_that_agree_by_luck_claim_no_certainty(base: Device) -> None:
    made = recalibrate(base, measured(base, NAMES), name="mine")
    assert made.device.inside_error.scale == MIN_SCALE
    assert not made.improved


def test_networks_outside_the_gate_are_named_and_not_fitted(base: Device) -> None:
    models = measured(base, NAMES)
    wild = dataclasses.replace(measured(base, [OUTSIDE])[0], row=row(OUTSIDE, 900.0))
    made = recalibrate(base, [*models, wild], name="mine")
    assert made.outside == (OUTSIDE,) and len(made.names) == len(NAMES)
    assert made.device.model == recalibrate(base, models, name="mine").device.model
    assert {r.network for r in made.device.rows} == {*NAMES, OUTSIDE}


def test_four_in_the_gate_are_too_few(base: Device) -> None:
    with pytest.raises(ValueError, match=r"at least 5 .* got 4; 1 lie outside its gate: mobilevit_xs"):
        recalibrate(base, measured(base, [*NAMES[:4], OUTSIDE]), name="mine")


def test_a_table_is_no_base(base: Device) -> None:
    with pytest.raises(ValueError, match="is a table"):
        recalibrate(dataclasses.replace(base, model=object()), measured(base, NAMES), name="mine")


def test_it_is_written_and_loads(base: Device, tmp_path: Path) -> None:
    made = recalibrate(base, measured(base, NAMES, factor=1.7, noise=0.03), name="mine")
    write_device(made.device, tmp_path / "mine.yaml")
    device = load_device(tmp_path / "mine.yaml")
    for name in [*NAMES, OUTSIDE]:
        program = load_arch(name).lower()
        assert device.latency(program) == made.device.latency(program)
    info = device.info
    assert (info.device, info.os, info.method, info.soc) == (
        "iPhone SE",
        "iOS 17",
        "calibrated",
        "not stated",
    )
    assert f"iphone12 ({base.hash})" in info.source
    again = recalibrate(device, measured(base, NAMES, factor=3.0), name="again")
    assert again.improved


def test_what_is_comparable(base: Device) -> None:
    fine = row(NAMES[0], 1.0)
    check_protocol(base, fine)  # ALL is all (CPU, GPU, Neural Engine); fp16 is float16
    check_protocol(base, dataclasses.replace(fine, threads=4))  # the base names no number of threads
    one = dataclasses.replace(base, info=dataclasses.replace(base.info, threads=1))
    for device, changed, says in (
        (base, {"batch": 8}, "batch: the measurements have 8, iphone12 has 1"),
        (base, {"precision": "int8"}, "precision: .* int8, iphone12 has float16"),
        (base, {"compute_unit": "cpu", "threads": 1}, "compute_unit: .* cpu"),
        (one, {"threads": 4}, "threads: .* 4, iphone12 has 1"),
        (one, {}, "threads: .* none, iphone12 has 1"),
    ):
        with pytest.raises(ValueError, match=says):
            check_protocol(device, dataclasses.replace(fine, **changed))


@pytest.mark.parametrize("factor", [1e-3, 0.05, 0.2, 0.3, 1.7, 1e3])
@pytest.mark.parametrize("names", [NAMES[:5], NAMES, [*NAMES, "poolformer_s36", "efficientformerv2_l"]])
def test_a_common_factor_is_found_exactly(base: Device, factor: float, names: list[str]) -> None:
    made = recalibrate(base, measured(base, names, factor=factor), name="mine")
    assert made.after == pytest.approx(made.measured, rel=1e-9)
    for name in ("efficientformer_l7", "poolformer_m48", "efficientformerv2_l"):
        program = load_arch(name).lower()
        assert made.device.latency(program).ms == pytest.approx(factor * base.latency(program).ms, rel=1e-9)


def test_noise_is_no_reason_to_lose_the_base(base: Device) -> None:
    for seed_factor in (0.2, 1.0, 5.0):
        made = recalibrate(base, measured(base, NAMES, factor=seed_factor, noise=0.05), name="mine")
        assert made.device.report["model_left_out"]["in_gate"]["mape"] < 8


def test_the_point_lies_in_its_interval(base: Device) -> None:
    one_sided = replace(base, inside_error=StudentT(6.0, 0.4, 0.05), outside_error=StudentT(6.0, -0.4, 0.05))
    for name in ("efficientformer_l1", OUTSIDE):
        estimate = one_sided.latency(load_arch(name).lower())
        assert estimate.low <= estimate.ms <= estimate.high


def test_times_of_another_unit_are_asked_about(base: Device) -> None:
    check_unit(base, measured(base, NAMES, factor=0.03))
    check_unit(base, measured(base, NAMES, factor=40.0))
    micro = measured(base, NAMES, factor=870.0)
    with pytest.raises(ValueError, match="870 times what iphone12 predicts: are they microseconds"):
        check_unit(base, micro)
    with pytest.raises(ValueError, match="1/1e\\+03 of what iphone12 predicts: are they seconds"):
        check_unit(base, measured(base, NAMES, factor=1e-3))
    converted = in_milliseconds(micro, "us")
    assert [m.ms for m in converted] == pytest.approx([m.ms / 1000 for m in micro])
