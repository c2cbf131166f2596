"""leave_out: no row of the family, and no difference that tells of it, is left in either estimator."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.accuracy import Surrogate
from hvnas.accuracy.estimator import values_of
from hvnas.accuracy.surrogate.evidence import large_data_shift
from hvnas.arch import load_arch
from hvnas.latency import Device, load_device
from hvnas.studies.rediscovery.leave_out import (
    DeviceWithout,
    candidate_of,
    device_without,
    surrogate_without,
)

FAMILIES = ("efficientformer", "efficientformerv2")


@pytest.fixture(scope="module")
def without(iphone12: Device) -> DeviceWithout:
    return device_without(iphone12, FAMILIES, cited=("EfficientFormer",))


def test_no_result_of_a_family_left_out_is_left(surrogate: Surrogate) -> None:
    rest = surrogate_without(surrogate, FAMILIES)
    assert not np.isin(rest.evidence.families, FAMILIES).any()
    assert not any("efficientformer" in network for network in rest.evidence.networks)
    gone = np.isin(surrogate.evidence.families, FAMILIES).sum()
    assert gone > 20 and len(rest.evidence) == len(surrogate.evidence) - gone


def test_the_large_data_shift_owes_nothing_to_the_family(surrogate: Surrogate) -> None:
    rest = surrogate_without(surrogate, ("coatnet",))
    values = values_of(rest.columns, [load_arch("coatnet_0"), load_arch("coatnet_0_cccc")])
    assert rest.shift is not None
    assert not np.allclose(rest.shift(values)[0], large_data_shift()(values)[0])
    alone = rest.estimate_columns(values)
    large = rest.estimate_columns(values, scenario="large-data")
    assert large.mean - alone.mean == pytest.approx(rest.shift(values)[0])
    mean, covariance = rest.joint_columns(values, scenario="large-data")
    assert mean == pytest.approx(large.mean) and (np.linalg.eigvalsh(covariance) > 0).all()


def test_an_unknown_family_is_refused(surrogate: Surrogate) -> None:
    with pytest.raises(ValueError, match="the evidence holds no 'nobody'"):
        surrogate_without(surrogate, ("nobody",))


def test_a_device_is_fitted_again_without_the_family(iphone12: Device, without: DeviceWithout) -> None:
    assert without.measurements == sum(
        row.family in FAMILIES and row.cohort == iphone12.report["cohort"] for row in iphone12.rows
    )
    assert without.terms[0] == "streamed_weight_bytes" and "pool_bytes" in without.terms
    # What only the family's ablations and breakdowns tell of has no say in what is left.
    assert "matmul_bytes" not in without.terms
    program = load_arch("efficientformer_l3").lower()
    assert without.device.latency(program).ms == pytest.approx(iphone12.latency(program).ms, rel=0.1)
    assert without.device.latency(program).ms != iphone12.latency(program).ms
    assert without.device.inside_error.scale > 0


def test_rules_that_rest_on_the_family_s_papers_are_named(iphone12: Device, without: DeviceWithout) -> None:
    assert without.device.rules == iphone12.rules
    assert {"attention", "switches", "patch_stem"} <= set(without.gate)
    assert "input" not in without.gate


def test_candidates_are_read_back_from_the_device_s_file(iphone12: Device) -> None:
    names = list(iphone12.report["candidates"])
    assert [candidate_of(name).name for name in names] == names


def test_a_device_without_published_networks_is_refused() -> None:
    with pytest.raises(ValueError, match="choose iphone12"):
        device_without(load_device("rtx4090"), FAMILIES, cited=())
