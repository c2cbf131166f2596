"""The error report: its keys, its baselines, and that what is under test has no part in the fit."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.accuracy import Surrogate
from hvnas.accuracy.evaluate import FAMILIES, evaluate, study_rows
from hvnas.accuracy.surrogate.ablations import load_ablations
from hvnas.accuracy.surrogate.evidence import study_families

OVERALL = {"mae", "mae_low", "mae_high", "rmse", "tau", "tau_low", "tau_high", "rho", "n"}
OVERALL |= {"coverage80", "coverage80_low", "coverage80_high"}


@pytest.fixture
def report(evaluated) -> dict:
    return evaluated.report


def test_keys_and_bars(report: dict) -> None:
    assert set(report) == {"estimator", "overall", "families", "bands", "ablations", "baselines"}
    overall = report["overall"]
    assert set(overall) >= OVERALL
    assert set(report["families"]) == set(FAMILIES)
    assert overall["mae_low"] < overall["mae"] < overall["mae_high"]
    assert overall["tau_low"] < overall["tau"] < overall["tau_high"]
    assert overall["mae"] <= 0.85
    assert overall["tau"] >= 0.78
    assert 0.76 <= overall["coverage80"] <= 0.84
    assert overall["coverage80_low"] < overall["coverage80"] < overall["coverage80_high"]


def test_it_ranks_better_than_every_count_overall_and_inside_bands(report: dict) -> None:
    assert report["overall"]["tau"] > max(row["tau"] for row in report["baselines"].values()) + 0.05
    bands = report["bands"].values()
    own = np.mean([row["tau"] for row in bands])
    assert own > max(np.mean([row["baselines"][name] for row in bands]) for name in report["baselines"])


def test_ablations_are_reported_with_and_without_those_that_no_feature_sees(report: dict) -> None:
    found = report["ablations"]
    clear = [row for row in load_ablations() if abs(row.delta) > 0.5]
    assert found["n"] == len(clear)
    assert found["seen"]["n"] == sum(not row.blind for row in clear)
    assert found["n"] == sum(study["n"] for study in found["studies"].values())
    assert found["seen"]["share"] >= 0.75
    assert sum(row["n"] for row in found["contrasts"].values()) == found["n"]
    late = found["contrasts"]["late_attention"]
    assert late["n"] == sum(row.contrast == "late_attention" for row in clear)
    assert late["near"] <= late["right"]


def test_signs_of_ablations_that_features_see(report: dict) -> None:
    assert report["ablations"]["seen"]["share"] >= 0.85


def test_signs_of_all_ablations(report: dict) -> None:
    assert report["ablations"]["share"] >= 0.85


def test_every_family_is_in_one_fold(surrogate: Surrogate) -> None:
    families = [family for fold in surrogate.folds for family in fold.families]
    assert sorted(families) == sorted(set(surrogate.evidence.families.tolist()))


def test_what_is_left_out_had_no_part_in_the_hyperparameters(surrogate: Surrogate) -> None:
    parts = {part.families: part.thetas for part in surrogate.left_out}
    out = {f"family:{family}": frozenset([family]) for family in FAMILIES}
    for study in {row.study for row in load_ablations()}:
        out[f"study:{study}"] = study_families(surrogate.evidence, study)
    assert set(parts) == set(out.values())
    rest = surrogate.evidence.where(surrogate.evidence.families == "resnet")
    for fold in ("family:vit", "study:pit_pyramid"):
        for member in surrogate.without(fold, rest).members:
            theta = member.posterior.kernel.theta
            assert theta.tolist() == parts[out[fold]][member.view.name].tolist()
    # A family that no report leaves out has hyperparameters that lack its fold.
    fold = next(fold for fold in surrogate.folds if "mixnet" in fold.families)
    found = surrogate.without("family:mixnet", rest).members[0].posterior.kernel.theta
    assert found.tolist() == fold.thetas["whole"].tolist()
    for family in FAMILIES:
        assert surrogate.thetas_without([family]) is not surrogate.thetas


def test_a_study_is_left_out_with_all_that_states_it(surrogate: Surrogate) -> None:
    evidence = surrogate.evidence
    gone = study_rows(evidence, "stems")
    assert (gone == (evidence.families == "early_convs")).all()
    # Both networks of a pair, whichever family they are of.
    gone = study_rows(evidence, "pit_pyramid")
    assert (gone == np.isin(evidence.families, ["deit", "pit"])).all()


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(ValueError, match="needs weights or images"):
        evaluate("zico")
    with pytest.raises(ValueError, match=r"unknown family 'coatnets'; nearest of \d+: coatnet,"):
        evaluate("surrogate", ["coatnets"])
