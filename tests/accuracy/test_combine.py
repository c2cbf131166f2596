"""Estimators combined by ranks."""

from __future__ import annotations

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import load_estimator
from hvnas.accuracy.combine import RankMean

MODELS = ("mobilevit_xxs", "poolformer_s12", "efficientformer_l1", "coatnet_0")


def test_mean_of_ranks_by_hand() -> None:
    archs = [hvnas.load_arch(name) for name in MODELS]
    params, macs = (load_estimator(name).estimate(archs).mean for name in ("params", "macs"))
    expected = (params.argsort().argsort() + macs.argsort().argsort() + 1) / 2 / len(archs)
    found = load_estimator("params+macs").estimate(archs)
    np.testing.assert_allclose(found.mean, expected)
    assert found.unit == "score"
    assert found.failed == 0


def test_points_and_scores_go_together() -> None:
    archs = [hvnas.load_arch(name) for name in MODELS]
    found = load_estimator("surrogate+free").estimate([arch.lower() for arch in archs])
    assert ((found.mean > 0) & (found.mean < 1)).all()
    assert found.mean.argmax() == MODELS.index("coatnet_0")
    assert found.mean.argmin() == MODELS.index("mobilevit_xxs")


def test_parts_keep_their_own_refusals() -> None:
    with pytest.raises(ValueError, match=r"^zico: needs a network to run"):
        load_estimator("free+zico").estimate([hvnas.load_arch("poolformer_s12").shrunk().lower()])


@pytest.mark.parametrize("name", ["surrogate+", "+zico", "free++zico"])
def test_empty_parts_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="empty part"):
        RankMean.of(name)


def test_unknown_and_repeated_parts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"zicoo.*zico"):
        load_estimator("free+zicoo")
    with pytest.raises(ValueError, match="twice"):
        load_estimator("free+free")
