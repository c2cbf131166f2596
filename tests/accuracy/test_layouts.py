"""Layouts of one size, large data, and the guard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import Surrogate
from hvnas.accuracy.surrogate.ablations import arch_of
from hvnas.accuracy.surrogate.evidence import SATURATED, fit_shift, large_data_shift, pairs, saturating
from hvnas.accuracy.surrogate.features import COLUMNS, NAMES, derive
from hvnas.accuracy.surrogate.fit import MAIN, Guard
from hvnas.accuracy.surrogate.surrogate import rank_probabilities
from hvnas.ops import evaluate_columns

# C-C-C-C, C-C-C-T, C-C-T-T and C-T-T-T with CoAtNet-0's widths: as deep as it, and as large.
EQUAL_DEPTHS = ("coatnet_0_cccc", "coatnet_0_ccct", "coatnet_0", "coatnet_0_cttt")
MATCHED = (
    "coatnet_0_cccc|stages.1.local.depth=5|stages.2.local.depth=7",
    "coatnet_0_ccct|stages.1.local.depth=6",
    "coatnet_0",
    "coatnet_0_cttt|stages.1.global.depth=1",
)


def test_ranks_come_with_probabilities_that_add_up(surrogate: Surrogate) -> None:
    archs = [hvnas.load_arch(f"poolformer_s12{end}") for end in ("_id", "", "_depthwise")]
    found = rank_probabilities(archs, surrogate)
    assert found.probabilities.sum(0) == pytest.approx(1.0)
    assert found.probabilities.sum(1) == pytest.approx(1.0)
    assert found.order == (2, 1, 0)
    assert found.probabilities[0, 2] > 0.6
    assert found.sd.tolist() == surrogate.estimate(archs).sd.tolist()


def test_sizes_that_differ_are_not_compared(surrogate: Surrogate) -> None:
    archs = [hvnas.load_arch(name) for name in ("coatnet_0", "coatnet_1")]
    with pytest.raises(ValueError, match="more than 5 %"):
        rank_probabilities(archs, surrogate)
    with pytest.raises(ValueError, match="two networks"):
        rank_probabilities(archs[:1], surrogate)


def test_coatnet_layouts_of_one_size_are_ranked_and_those_of_one_depth_refused(surrogate: Surrogate) -> None:
    with pytest.raises(ValueError, match="params: the largest network has"):
        rank_probabilities([hvnas.load_arch(name) for name in EQUAL_DEPTHS], surrogate)
    archs = [arch_of(network) for network in MATCHED]
    for scenario in ("imagenet1k", "large-data"):
        found = rank_probabilities(archs, surrogate, scenario=scenario)
        assert found.probabilities.sum(0) == pytest.approx(1.0)
        assert (found.sd > 0.3).all()


def test_sizes_are_compared_with_each_other(surrogate: Surrogate) -> None:
    # 3.9 % apart, and 1.9 % off their middle.
    base = hvnas.load_arch("poolformer_s12")
    pair = [base, base.with_(classes=1900)]
    with pytest.raises(ValueError, match="params: the largest network has"):
        rank_probabilities(pair, surrogate, tolerance=0.03)
    assert len(rank_probabilities(pair, surrogate, tolerance=0.04).order) == 2


def test_large_data_is_the_fitted_shift_with_its_sd(surrogate: Surrogate) -> None:
    archs = [hvnas.load_arch(name) for name in ("poolformer_s12", "coatnet_2", "coatnet_3")]
    small, large = (surrogate.estimate(archs, scenario=name) for name in ("imagenet1k", "large-data"))
    values = np.array([evaluate_columns(COLUMNS, arch.lower()) for arch in archs])
    shift, sd = large_data_shift()(values)
    assert large.mean - small.mean == pytest.approx(shift)
    assert large.sd == pytest.approx(np.hypot(small.sd, sd))
    assert shift[0] < shift[1] < shift[2]


def test_each_pair_left_out_lies_within_its_interval() -> None:
    names, values, shift, studies = pairs()
    for i in range(len(names)):
        rest = np.arange(len(names)) != i
        mean, sd = fit_shift(values[rest], shift[rest], studies[rest])(values[i : i + 1])
        assert abs(mean[0] - shift[i]) < 2.0 * sd[0], names[i]


def test_where_attention_saturates_with_large_data_is_anywhere() -> None:
    share = np.array([0.0, 0.1, 0.3, 0.5, SATURATED, 0.9])
    points = np.random.default_rng(0).uniform(0.0, SATURATED, 200_000)
    drawn = np.minimum(share[:, None] / points, 1.0)
    mean, covariance = saturating(share)
    assert mean == pytest.approx(drawn.mean(axis=1), abs=0.003)
    assert covariance == pytest.approx(np.cov(drawn), abs=0.003)


def test_large_data_favours_attention_more(surrogate: Surrogate) -> None:
    archs = [hvnas.load_arch(f"coatnet_0{end}") for end in ("_cccc", "_ccct", "", "_cttt")]
    small, large = (surrogate.estimate(archs, scenario=name).mean for name in ("imagenet1k", "large-data"))
    assert (np.diff(large - small) > 0).all()


def test_inside_the_evidence_the_guard_is_silent(surrogate: Surrogate) -> None:
    guard = surrogate.fit.guard
    features = surrogate.evidence.features
    assert guard.inside(features).mean() > 0.8
    assert (guard.outside(features) >= 0).all()
    archs = [hvnas.load_arch(name) for name in ("efficientformer_l1", "poolformer_s24", "coatnet_0")]
    values = np.array([evaluate_columns(COLUMNS, arch.lower()) for arch in archs])
    assert guard.inside(np.pad(derive(values), ((0, 0), (0, 4)))).all()


@pytest.mark.parametrize("name", MAIN)
def test_leaving_the_range_of_a_main_feature_never_pays(surrogate: Surrogate, name: str) -> None:
    from hvnas.accuracy.surrogate.fit import ALL_FEATURES

    guard: Guard = surrogate.fit.guard
    at = ALL_FEATURES.index(name)
    inside = surrogate.evidence.features[guard.inside(surrogate.evidence.features)][::25]
    for edge, sign in ((guard.high, 1.0), (guard.low, -1.0)):
        steps = []
        for far in (0.0, 0.5, 1.0):
            moved = inside.copy()
            moved[:, at] = edge[MAIN.index(name)] + sign * far * guard.scale[MAIN.index(name)]
            found = surrogate.fit.predict(moved)
            steps.append(found.mean - found.sd)
        assert (np.diff(steps, axis=0) < 0.05).all()


def test_resolution_and_classes_unknown_to_the_evidence_are_named(surrogate: Surrogate) -> None:
    arch = hvnas.load_arch("coatnet_0")
    assert surrogate.assumptions([arch]) == ()
    said = surrogate.assumptions([replace(arch.with_(classes=100), resolution=512)])
    assert [text.split(":")[0] for text in said] == ["resolution 512", "100 classes"]
    assert "params" in NAMES
