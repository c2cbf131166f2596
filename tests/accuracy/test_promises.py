"""What is said of networks that were chosen: cross-fitted numbers, chances of being better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hvnas
from hvnas.accuracy import ColumnEstimator, Estimate, Surrogate
from hvnas.accuracy.estimator import chances, values_of
from hvnas.accuracy.evaluate import Z80
from hvnas.accuracy.surrogate.fit import LOG_MACS, Calibration, transform, untransform
from hvnas.ops import MACS, PARAMS

CASES = ("efficientformer_l1", "efficientformer_l3", "poolformer_s12", "coatnet_0")


@pytest.fixture(scope="module")
def values(surrogate: Surrogate) -> np.ndarray:
    return values_of(surrogate.columns, [hvnas.load_arch(name) for name in CASES])


def test_a_calibration_finds_the_line_that_results_lie_on() -> None:
    rng = np.random.default_rng(0)
    estimate, log_macs = rng.uniform(70, 85, 300), rng.normal(20, 1, 300)
    top1 = untransform(-0.5 + 0.8 * transform(estimate) + 0.01 * log_macs)
    found = Calibration.of(estimate, log_macs, top1, np.array(["a", "b", "c"] * 100))
    assert (found.intercept, found.slope, found.log_macs) == pytest.approx((-0.5, 0.8, 0.01))
    assert found(estimate, log_macs) == pytest.approx(top1)


def test_a_family_weighs_as_the_root_of_its_networks() -> None:
    """Two families a point apart, with nothing else to tell: the offset is their weighted mean."""
    rng = np.random.default_rng(0)
    estimate, log_macs = rng.uniform(70, 85, 500), rng.normal(20, 1, 500)
    families = np.array(["large"] * 400 + ["small"] * 100)
    top1 = untransform(transform(estimate) + 0.1 * (families == "large"))
    found = Calibration.of(estimate, log_macs, top1, families)
    shift = transform(found(estimate, log_macs)) - transform(estimate)
    assert shift.mean() == pytest.approx(0.1 * 20 / (20 + 10), abs=0.01)


def test_what_is_estimated_high_for_its_size_is_brought_down(surrogate: Surrogate) -> None:
    found = surrogate.calibration
    assert 0.7 < found.slope < 1.0
    log_macs = np.full(2, np.log(2e9))
    low, high = found(np.array([76.0, 84.0]), log_macs)
    assert low > 76.0 and high < 84.0


def test_every_network_gets_the_same_formula(surrogate: Surrogate, values: np.ndarray) -> None:
    found = surrogate.cross_fitted_estimate(values)
    assert found is not None
    alone = [surrogate.cross_fitted_estimate(values[i : i + 1]) for i in range(len(values))]
    assert [each.mean[0] for each in alone if each] == pytest.approx(found.mean.tolist())
    mean = surrogate.cross_fitted(values).mean(axis=1)
    log_macs = surrogate._features(values, "modern300")[:, LOG_MACS]
    assert found.mean.tolist() == surrogate.calibration(mean, log_macs).tolist()
    assert found.sd.tolist() == surrogate.estimate_columns(values).sd.tolist()


def test_large_data_shifts_the_cross_fitted_number_too(surrogate: Surrogate, values: np.ndarray) -> None:
    here, there = (surrogate.cross_fitted_estimate(values, scenario=s) for s in ("imagenet1k", "large-data"))
    assert here is not None and there is not None
    estimates = [surrogate.estimate_columns(values, scenario=s).mean for s in ("imagenet1k", "large-data")]
    assert there.mean - here.mean == pytest.approx(estimates[1] - estimates[0])
    assert (there.sd > here.sd).all()
    with pytest.raises(ValueError, match="scenario"):
        surrogate.cross_fitted_estimate(values, scenario="none")


def test_the_surrogate_of_the_rest_has_seen_nothing_of_a_family(surrogate: Surrogate) -> None:
    rest = surrogate.of_rest(["coatnet"])
    assert "coatnet" not in set(rest.evidence.families)
    assert len(rest.folds) == len(surrogate.folds)
    kept = surrogate.evidence.families != "coatnet"
    by_fold = [len(fold.rest(rest.evidence)) for fold in rest.folds]
    assert by_fold == [len(fold.weights["whole"]) for fold in rest.folds]
    assert len(rest.evidence) == kept.sum()
    assert rest.calibration != surrogate.calibration


def test_chances_by_hand() -> None:
    mean, covariance = np.array([81.0, 80.0, 81.0]), np.diag([0.5, 0.5, 2.0])
    found = chances(mean, covariance)
    assert found == pytest.approx([0.8413447, 0.5])
    # What two networks share cancels: errors that go together tell them apart more surely.
    covariance[0, 1] = covariance[1, 0] = 0.4
    assert chances(mean, covariance)[0] > found[0] + 0.05
    certain = chances(mean, np.full((3, 3), 1.0))
    assert certain == pytest.approx([1.0, 0.5])


def test_chances_are_joint_and_turn_round(surrogate: Surrogate, values: np.ndarray) -> None:
    forth = surrogate.chances_of_better(values[[1, 0]])[0]
    back = surrogate.chances_of_better(values[[0, 1]])[0]
    assert forth + back == pytest.approx(1.0)
    assert forth > 0.95
    features = surrogate._features(values, "modern300")
    covariance = surrogate.fit.covariance_across_families(features)
    assert np.allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0
    independent = np.diag(np.diag(covariance))
    found = surrogate.cross_fitted_estimate(values)
    assert found is not None
    # L1 and L3 are much alike: what is not known of one is not known of the other either.
    assert abs(covariance[0, 1]) > 0.01
    assert chances(found.mean, covariance)[0] != pytest.approx(chances(found.mean, independent)[0], abs=1e-9)


def test_estimators_that_say_no_more_have_independent_errors() -> None:
    class Plain(ColumnEstimator):
        columns = (PARAMS, MACS)

        def estimate_columns(self, values: np.ndarray, **_: str) -> Estimate:
            return Estimate(values[:, 0], np.full(len(values), 1.0))

    plain = Plain()
    values = np.array([[80.0, 1.0], [79.0, 1.0]])
    assert plain.cross_fitted_estimate(values) is None
    assert plain.chances_of_better(values) == pytest.approx([0.7602499])


@pytest.fixture
def scripts(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))


@pytest.mark.usefixtures("scripts")
def test_halves_share_no_family_and_no_relatives(surrogate: Surrogate) -> None:
    from study_halves import halves

    one, other = (set(half.families) for half in halves(surrogate.evidence, seed=0))
    assert not one & other and one | other == set(surrogate.evidence.families)
    for families in (one, other):
        assert {"poolformer", "poolformerv2"} & families in (set(), {"poolformer", "poolformerv2"})
    sizes = [len(half) for half in halves(surrogate.evidence, seed=1)]
    assert abs(sizes[0] - sizes[1]) < 0.2 * len(surrogate.evidence)
    assert {*halves(surrogate.evidence, seed=1)[0].families} != one


@pytest.mark.usefixtures("scripts")
def test_what_halves_say_of_each_other_by_hand() -> None:
    from study_halves import Case, lines

    inside = Case(2.0, 82.0, 81.5, 0.5, 81.0, 80.0, 79.9, 79.8)
    outside = Case(3.0, 83.0, 82.5, 0.5, 81.5, 80.0, 79.9, 79.8)
    assert (inside.within, outside.within) == (True, False)
    said = "\n".join(lines([inside, outside]))
    assert "+1.25 (rms" in said and "+0.75 (rms" in said and "number: 50 %" in said
    assert "2.50 by the estimate, 2.10 cross-fitted, 1.45 by the other half" in said


@pytest.mark.usefixtures("scripts")
def test_the_network_that_is_picked_is_the_one_with_the_highest_estimate(surrogate: Surrogate) -> None:
    """An estimate that is the result itself is never off, and one that is a point too high by just that."""
    from study_selection import biases

    evidence = surrogate.evidence
    rows = np.flatnonzero((evidence.ablations == "") & ~evidence.papers)[::8]
    top1 = evidence.top1[rows]
    found = biases(evidence, rows, {"estimate": top1, "above": top1 + 1.0})
    assert set(found) == {5, 10, 20, 40}
    assert all(told == pytest.approx({"estimate": 0.0, "above": 1.0}) for told in found.values())


@pytest.mark.slow
@pytest.mark.usefixtures("scripts")
def test_what_is_picked_is_hardly_overrated_by_its_cross_fitted_number(
    surrogate: Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study_selection import biases, numbers_of

    monkeypatch.setenv("HVNAS_CACHE", "off")
    rows, numbers = numbers_of(surrogate)
    found = biases(surrogate.evidence, rows, numbers)
    assert all(abs(told["cross-fitted"]) <= 0.2 for told in found.values())
    assert max(told["estimate"] for told in found.values()) > 0.3
    assert abs((numbers["cross-fitted"] - numbers["estimate"]).mean()) <= 0.1


def test_intervals_of_left_out_families_keep_what_they_say(surrogate: Surrogate) -> None:
    """Of the results whose fold no fit has seen, four in five lie within the cross-fitted interval."""
    evidence = surrogate.evidence
    own = evidence.ablations == ""
    estimate, sd = np.full(len(evidence), np.nan), np.full(len(evidence), np.nan)
    for fold, fit in zip(surrogate.folds, surrogate.crossed, strict=True):
        judged = own & np.isin(evidence.families, list(fold.families))
        estimate[judged] = fit.mean(evidence.features[judged])
        rest = surrogate.refit(fold.rest(evidence))
        sd[judged] = rest.predict(evidence.features[judged]).sd
    judged = np.isfinite(estimate)
    mean = surrogate.calibration(estimate[judged], evidence.features[judged, LOG_MACS])
    within = np.abs(mean - evidence.top1[judged]) <= Z80 * sd[judged]
    assert 0.74 <= within.mean() <= 0.86
