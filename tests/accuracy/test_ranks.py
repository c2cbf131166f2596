"""Ranks of scores, ties and failures among them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvnas.accuracy.ranks import mean_rank, normalised_ranks, places, settled

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
