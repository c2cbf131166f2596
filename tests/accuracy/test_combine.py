"""Estimators combined by ranks."""

from __future__ import annotations

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import ColumnEstimator, ScoreEstimate, load_estimator
from hvnas.accuracy.combine import RankMean
from hvnas.accuracy.estimator import values_of

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


REFERENCES = ("mobilevit_xxs", "mobilevit_s", "poolformer_s12", "efficientformer_l1", "efficientformerv2_s0")


@pytest.fixture(scope="module")
def references() -> list[hvnas.Arch]:
    return [hvnas.load_arch(name) for name in REFERENCES]


def test_scores_against_references_do_not_depend_on_the_company(references: list[hvnas.Arch]) -> None:
    combined = RankMean.of("params+macs").against(references)
    archs = [hvnas.load_arch(name) for name in MODELS]
    together = combined.estimate(archs)
    apart = [combined.estimate([arch]).mean[0] for arch in archs]
    assert together.mean.tolist() == apart
    assert together.unit == combined.unit == "score"
    assert np.isnan(together.sd).all()


def test_scores_of_the_references_are_their_mean_ranks(references: list[hvnas.Arch]) -> None:
    combination = RankMean.of("params+surrogate")
    found = combination.against(references).estimate(references).mean
    np.testing.assert_allclose(found, combination.estimate(references).mean)


def test_scores_go_on_above_and_below_the_references(references: list[hvnas.Arch]) -> None:
    combined = RankMean.of("params+macs").against(references)
    tiny = hvnas.load_arch("mobilevit_xxs").shrunk()
    large, larger = hvnas.load_arch("coatnet_1"), hvnas.load_arch("coatnet_2")
    scores = combined.estimate([tiny, *references, large, larger]).mean
    assert scores[0] < scores[1:-2].min()
    assert scores[1:-2].max() < scores[-2] < scores[-1]


def test_parts_that_read_columns_make_one_that_does(references: list[hvnas.Arch]) -> None:
    combined = RankMean.of("surrogate+params+free").against(references)
    assert isinstance(combined, ColumnEstimator)
    assert len(set(combined.columns)) == len(combined.columns)
    archs = [hvnas.load_arch(name) for name in MODELS]
    values = values_of(combined.columns, archs)
    np.testing.assert_allclose(combined.estimate_columns(values).mean, combined.estimate(archs).mean)
    assert not isinstance(RankMean.of("surrogate+naswot").against(references), ColumnEstimator)


def test_what_a_part_cannot_score_is_worst(references: list[hvnas.Arch]) -> None:
    class Broken:
        def estimate(self, networks: list[hvnas.Arch], **_: str) -> ScoreEstimate:
            return ScoreEstimate.of(np.array([np.nan if arch == references[0] else 1.0 for arch in networks]))

    parts = (load_estimator("params"), Broken())
    found = RankMean("params+broken", parts).against(references).estimate(references)  # type: ignore[arg-type]
    assert found.failed == 1
    assert np.isneginf(found.mean[0])


def test_the_recipe_moves_references_and_networks_together(references: list[hvnas.Arch]) -> None:
    combined = RankMean.of("surrogate+params").against(references)
    plain, distilled = (
        combined.estimate(references, recipe=name).mean for name in ("modern300", "distilled300")
    )
    np.testing.assert_allclose(plain.mean(), distilled.mean())


def test_references_are_needed() -> None:
    with pytest.raises(ValueError, match="no references"):
        RankMean.of("params+macs").against([])
