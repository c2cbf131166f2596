"""A refit to a few networks: finds another device's speed, stays at the base where there is only noise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hvnas.latency import LinearModel, Term
from hvnas.latency.calibration.recalibrate import STRENGTHS, choose_prior_strength, leave_one_out, refit

BASE = LinearModel(
    0.5,
    (Term("weight_bytes", 0.03), Term("act_bytes", 0.004), Term("act_bytes_over_2mb", 0.015)),
    (Term("macs", 0.0002),),
)


def networks(count: int, seed: int = 0) -> np.ndarray:
    """Columns of plausible networks: MACs, weights and activations grow together, but not in step."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(0, 2.5, count))
    columns = {
        "weight_bytes": 5e6 * size * rng.uniform(0.7, 1.4, count),
        "act_bytes": 15e6 * size**0.7 * rng.uniform(0.7, 1.4, count),
        "act_bytes_over_2mb": 5e6 * size**0.7 * rng.uniform(0, 2, count),
        "macs": 4e8 * size,
    }
    return np.stack([columns[c.name] for c in BASE.columns], axis=1)


def slower(model: LinearModel, factor: float) -> LinearModel:
    terms = tuple(dataclasses.replace(t, ms_per_mega=t.ms_per_mega * factor) for t in model.terms)
    return LinearModel(model.fixed_ms * factor, terms, model.floor)


@pytest.mark.parametrize("factor", [0.5, 2.0, 8.0])
def test_a_slower_device_is_recovered_from_five_networks(factor: float) -> None:
    values, unseen = networks(5), networks(50, seed=1)
    device = slower(BASE, factor)
    found = refit(BASE, values, device.predict(values))
    assert found.predict(unseen) == pytest.approx(device.predict(unseen), rel=0.02)
    assert found.floor[0].ms_per_mega == pytest.approx(factor * BASE.floor[0].ms_per_mega, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_a_slower_device_is_recovered_through_noise(seed: int) -> None:
    values, unseen = networks(6, seed), networks(50, seed=99)
    noise = np.exp(0.04 * np.random.default_rng(seed).standard_normal(6))
    device = slower(BASE, 2)
    found = refit(BASE, values, device.predict(values) * noise)
    off = np.abs(found.predict(unseen) / device.predict(unseen) - 1)
    assert off.mean() < 0.06


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_leaves_the_base(seed: int) -> None:
    values, unseen = networks(8, seed), networks(50, seed=99)
    noise = np.exp(0.1 * np.random.default_rng(seed).standard_normal(8))
    found = refit(BASE, values, BASE.predict(values) * noise)
    assert np.abs(found.predict(unseen) / BASE.predict(unseen) - 1).mean() < 0.07


def test_one_slow_part_is_found_with_enough_networks() -> None:
    """Weights at a third of the speed, everything else as it was."""
    values, unseen = networks(20), networks(50, seed=1)
    terms = (dataclasses.replace(BASE.terms[0], ms_per_mega=0.09), *BASE.terms[1:])
    device = dataclasses.replace(BASE, terms=terms)
    found = refit(BASE, values, device.predict(values))
    assert found.predict(unseen) == pytest.approx(device.predict(unseen), rel=0.03)


@pytest.mark.parametrize("seed", range(10))
def test_parameters_are_never_negative(seed: int) -> None:
    values = networks(5, seed)
    ms = np.exp(np.random.default_rng(seed).normal(0, 1, 5))  # times that follow nothing
    for strength in (0.0, *STRENGTHS):
        found = refit(BASE, values, ms, prior_strength=strength)
        assert found.fixed_ms >= 0
        assert all(term.ms_per_mega >= 0 for term in (*found.terms, *found.floor))
        assert np.isfinite(found.predict(networks(50))).all()


def test_an_infinite_prior_is_the_base() -> None:
    values = networks(5)
    assert refit(BASE, values, 3 * BASE.predict(values), prior_strength=float("inf")) == BASE


def test_a_term_that_costs_nothing_stays_so() -> None:
    spill = dataclasses.replace(BASE.terms[2], ms_per_mega=0.0)
    free = dataclasses.replace(BASE, terms=(*BASE.terms[:2], spill))
    values = networks(8)
    assert refit(free, values, 2 * BASE.predict(values)).terms[2].ms_per_mega == 0


def test_leave_one_out_sees_no_time_of_the_network_it_predicts() -> None:
    values = networks(8)
    ms = 2 * BASE.predict(values)
    first = leave_one_out(BASE, values, ms)
    ms[3] *= 5
    second = leave_one_out(BASE, values, ms)
    assert second.after[3] == first.after[3]
    assert first.before == pytest.approx(BASE.predict(values))
    assert np.abs(first.after / (2 * BASE.predict(values)) - 1).max() < 0.05


def test_the_prior_is_weaker_where_the_device_differs_in_one_part() -> None:
    values = networks(20)
    terms = (dataclasses.replace(BASE.terms[0], ms_per_mega=0.09), *BASE.terms[1:])
    differs, same = dataclasses.replace(BASE, terms=terms).predict(values), BASE.predict(values)
    assert choose_prior_strength(BASE, values, differs) < choose_prior_strength(BASE, values, same)


@pytest.mark.parametrize(
    ("ms", "says"),
    [(np.ones(4), "at least 5"), (np.zeros(5), "> 0"), (np.full(5, np.nan), "finite")],
)
def test_refuses(ms: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        refit(BASE, networks(len(ms)), ms)


def test_refuses_columns_that_are_not_the_models() -> None:
    with pytest.raises(ValueError, match="values must be"):
        refit(BASE, networks(5)[:, :2], np.ones(5))
