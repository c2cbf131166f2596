"""Published ablations: sourced, what our own lowering gives, and in the regression as differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvnas.accuracy.surrogate.ablations import (
    DATA,
    TRACED,
    ablation_values,
    arch_of,
    load_ablations,
    load_theory,
)
from hvnas.accuracy.surrogate.evidence import ablation_rows, load_evidence, network_name
from hvnas.accuracy.surrogate.features import COLUMNS
from hvnas.accuracy.surrogate.fit import group_codes
from hvnas.ops import evaluate_columns


def test_every_pair_is_sourced_and_has_values() -> None:
    values = ablation_values()
    for row in load_ablations():
        assert row.source
        assert {row.base, row.variant} <= set(values)
        assert row.base != row.variant
        assert abs(row.delta) < 40


@pytest.mark.parametrize("index", range(0, 55, 6))
def test_values_are_what_the_architecture_lowers_to(index: int) -> None:
    row = load_ablations()[index]
    network = row.variant if not row.variant.startswith(TRACED) else "poolformer_s12"
    found = evaluate_columns(COLUMNS, arch_of(network).lower())
    # Sums of fractions depend on the order of the ops in the last digit.
    np.testing.assert_allclose(found, ablation_values()[network], rtol=1e-12)


def test_only_what_sets_networks_of_a_study_apart_is_fitted() -> None:
    evidence = load_evidence()
    families, studies, networks, ablations = group_codes(evidence)
    own = evidence.ablations == ""
    assert (ablations[own] == -1).all()
    assert (ablations[~own] >= 0).all()
    assert len(set(ablations[~own])) == len(set(evidence.ablations[~own]))
    assert min(families.min(), studies.min()) >= 0
    # What is a network's own is the same on both sides of a pair.
    assert (networks[own] >= 0).all()
    assert (networks[~own] == -1).all()


def test_variants_stand_at_their_distance_from_the_base() -> None:
    rows = ablation_rows()
    top1 = dict(zip(zip(rows.ablations, rows.models, strict=True), rows.top1, strict=True))
    for pair in load_ablations():
        if pair.likelihood and pair.study != "stems":
            gap = top1[pair.study, pair.variant] - top1[pair.study, pair.base]
            assert gap == pytest.approx(pair.delta, abs=1e-9)


def test_a_study_takes_along_what_states_the_same() -> None:
    stems = [row for row in load_ablations() if row.study == "stems"]
    assert all(row.leaves_out("early_convs", "vit_c_1gf") for row in stems)
    assert not any(row.leaves_out("vit", "vit_small_patch16_224") for row in stems)


def test_pairs_of_one_training_alone_are_taken() -> None:
    evidence = load_evidence(ablations=False)
    known = {
        (model.split(".")[0], round(float(top1), 3)): tuple(recipe)
        for model, top1, recipe in zip(evidence.models, evidence.top1, evidence.recipes, strict=True)
    }
    for row in load_ablations():
        both = [(row.base, row.base_top1), (row.variant, row.base_top1 + row.delta)]
        if not row.likelihood and all(name.startswith("timm:") for name, _ in both):
            base, variant = (known[network_name(name), round(top1, 3)] for name, top1 in both)
            assert base == variant, row.variant


def test_a_path_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no such field"):
        arch_of("coatnet_2|stages.9.local.depth=2")


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ablations.csv"
    header, first = (DATA / "ablations.csv").read_text(encoding="utf-8").splitlines()[:2]
    path.write_text(f"{header}\n{first.replace(',77.2,', ',high,')}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="row 2: base_top1: must be a number"):
        load_ablations(path)


def test_rows_are_finite() -> None:
    assert np.isfinite(ablation_rows().features).all()


def test_theory_is_in_the_regression_and_never_scored() -> None:
    theory = load_theory()
    assert all(row.delta > 0 and row.likelihood for row in theory)
    # Depth saturates: two blocks more are worth less in a deeper network of the family.
    first = {row.base: row.delta for row in reversed(theory)}
    assert first["efficientformer_l1"] > first["efficientformer_l3"] > first["efficientformer_l7"]
    assert not {row.study for row in theory} & {row.study for row in load_ablations()}
    assert {row.study for row in theory} <= set(load_evidence().ablations)
