"""The error that is claimed is the error that the shipped evidence gives."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.accuracy import Estimate, Surrogate
from hvnas.accuracy.evaluate import FAMILIES, SPACE_FAMILIES, leave_one_family_out, report, scores
from hvnas.accuracy.surrogate.fit import Fit


@pytest.fixture(scope="module")
def recomputed(surrogate: Surrogate, evaluated) -> dict:
    """The report again, each family left out of the regression and of the shipped hyperparameters."""
    return report(surrogate.evidence, evaluated.left_out)


def test_scores_by_hand() -> None:
    top1, families = np.array([70.0, 72.0, 80.0, 81.0]), np.array(["a", "a", "b", "b"])
    estimate = Estimate(np.array([71.0, 74.0, 79.0, 79.0]), np.full(4, 1.0))
    found = scores(top1, estimate, families, np.ones(4, dtype=bool))
    assert (found.n, found.mae, found.bias) == (4, 1.5, 0.0)
    assert found.within == 0.5
    assert found.coverage80 == 0.5


def test_left_out_families_are_never_fitted(surrogate: Surrogate) -> None:
    seen: list[set[str]] = []
    folds: list[str] = []

    def spy(fold, others):
        folds.append(fold)
        seen.append(set(others.families))
        return Fit.of(others, surrogate.thetas, inducing=32)

    estimate = leave_one_family_out(surrogate.evidence, spy, ("coatnet", "vit"))
    assert folds == ["family:coatnet", "family:vit"]
    assert [{"coatnet", "vit"} - families for families in seen] == [{"coatnet"}, {"vit"}]
    assert np.isfinite(estimate.mean).sum() == np.isin(surrogate.evidence.families, ("coatnet", "vit")).sum()


def test_unseen_families_are_placed_as_well_as_claimed(recomputed: dict) -> None:
    overall, space = recomputed["overall"], recomputed["space_families"]
    assert overall["mae"] <= 0.85
    assert overall["tau"] >= 0.78
    assert 0.76 <= overall["coverage80"] <= 0.84
    assert space["mae"] <= 0.75


def test_networks_of_one_unseen_family_are_placed_closely(recomputed: dict) -> None:
    assert recomputed["space_families"]["within"] <= 0.45


def test_it_beats_counting(recomputed: dict) -> None:
    assert recomputed["overall"]["tau"] > max(recomputed["baselines"].values()) + 0.05


def test_the_recorded_report_is_of_this_evidence(surrogate: Surrogate, recomputed: dict) -> None:
    recorded = surrogate.error
    assert set(recorded["families"]) == set(FAMILIES) >= set(SPACE_FAMILIES)
    assert recorded["baselines"] == recomputed["baselines"]
    assert {f: row["n"] for f, row in recorded["families"].items()} == {
        f: row["n"] for f, row in recomputed["families"].items()
    }
    for name, value in recorded["overall"].items():
        assert value == pytest.approx(recomputed["overall"][name], abs=2e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("family", ["coatnet", "poolformer"])
def test_the_recorded_error_comes_out_again(surrogate: Surrogate, family: str, repo_root) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("fit_surrogate", repo_root / "scripts" / "fit_surrogate.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    parts = script.folds_of(surrogate.evidence)
    assert {fold.families for fold in surrogate.folds} == set(parts)
    thetas = script.left_out(surrogate.evidence, frozenset([family])).thetas
    found = report(
        surrogate.evidence,
        leave_one_family_out(
            surrogate.evidence,
            lambda fold, rest: Fit.of(rest, thetas, sd_scale=surrogate.sd_scale),
            (family,),
        ),
    )
    assert found["families"][family]["mae"] == pytest.approx(
        surrogate.error["families"][family]["mae"], abs=0.02
    )
