"""Ranks of scores, ties and failures among them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvnas.accuracy.ranks import RankScale, mean_rank, normalised_ranks, places, settled

SCORES = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=30)


def test_ranks_by_hand() -> None:
    assert normalised_ranks(np.array([10.0, 30.0, 20.0, 30.0])).tolist() == [0.125, 0.75, 0.375, 0.75]


def test_what_is_not_finite_comes_last_together() -> None:
    scores = np.array([math.nan, 1.0, math.inf, -1e300, -math.inf])
    assert settled(scores).tolist() == [-math.inf, 1.0, -math.inf, -1e300, -math.inf]
    assert normalised_ranks(scores).tolist() == pytest.approx([0.3, 0.9, 0.3, 0.7, 0.3])
    assert places(scores) == [3, 1, 3, 2, 3]


@given(SCORES)
def test_ranks_lie_within_zero_and_one_around_a_half(scores: list[float]) -> None:
    ranks = normalised_ranks(np.array(scores))
    assert ((ranks > 0) & (ranks < 1)).all()
    assert ranks.mean() == pytest.approx(0.5)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_an_increasing_map_changes_no_rank(scores: list[int]) -> None:
    values = np.array(scores, dtype=np.float64)
    assert normalised_ranks(values).tolist() == normalised_ranks(np.exp(values / 10) - 7).tolist()


def test_opposite_scores_cancel() -> None:
    score = np.array([3.0, 1.0, 2.0])
    assert mean_rank([score, -score]).tolist() == [0.5, 0.5, 0.5]


FINITE = st.floats(-1e6, 1e6, width=32)


def test_scale_by_hand() -> None:
    scale = RankScale.of(np.array([30.0, 10.0, 20.0, 20.0]), name="x")
    # Normalised ranks: 10 has 1/8, both 20 share 1/2, 30 has 7/8.
    np.testing.assert_allclose(scale(np.array([10.0, 20.0, 30.0])), [1 / 8, 1 / 2, 7 / 8])
    np.testing.assert_allclose(scale(np.array([15.0, 25.0])), [5 / 16, 11 / 16])


def test_scale_goes_on_beyond_its_ends() -> None:
    references = np.arange(64.0)
    scale = RankScale.of(references, name="x")
    np.testing.assert_allclose(scale(np.array([-64.0, 63.0 + 64.0])), [0.5 / 64 - 1, 63.5 / 64 + 1])


def test_one_reference_far_out_makes_the_end_flatter() -> None:
    references = np.arange(64.0)
    far = references.copy()
    far[-1] = 1e6
    plain, flat = (RankScale.of(values, name="x") for values in (references, far))
    assert 0 < flat.above < plain.above
    assert flat.below == plain.below


def test_failed_references_stand_below_all_others() -> None:
    scale = RankScale.of(np.array([math.nan, -math.inf, 1.0, 2.0]), name="x")
    np.testing.assert_allclose(scale(np.array([1.0, 2.0])), [5 / 8, 7 / 8])


def test_a_scale_needs_something_finite() -> None:
    with pytest.raises(ValueError, match=r"^estimator: zico fails on all of 3"):
        RankScale.of(np.array([math.nan, math.inf, -math.inf]), name="zico")


@given(st.lists(FINITE, min_size=1, max_size=20), st.lists(FINITE, min_size=2, max_size=20))
def test_scale_is_monotone_everywhere(references: list[float], scores: list[float]) -> None:
    scale = RankScale.of(np.array(references), name="x")
    ordered = np.unique(scores)
    positions = scale(np.array([-math.inf, *ordered]))
    assert (np.diff(positions) >= 0).all()
    # What lies closer together than 1 of 2 million may meet in rounding.
    clear = np.diff(ordered) > 1
    assert (np.diff(positions)[1:][clear] > 0).all()
    assert np.isneginf(positions[0])


def test_equal_references_still_tell_scores_apart() -> None:
    positions = RankScale.of(np.full(5, 3.0), name="x")(np.array([2.0, 3.0, 4.0]))
    assert positions[0] < positions[1] == 0.5 < positions[2]
