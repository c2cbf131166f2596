"""Rows and architectures: one is the other, and anything can be made canonical."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvnas.arch import list_models, load_arch
from hvnas.space import Space, list_spaces, load_space
from hvnas.space.encode import encode_arch


def random_rows(space: Space, n: int, *, seed: int = 0) -> np.ndarray:
    """Canonical rows, every gene drawn by itself. Shape [n, genes]."""
    draws = np.random.default_rng(seed).random((n, len(space.genes)))
    return space.canonicalise((draws * space.cardinalities).astype(np.int64))


@pytest.mark.parametrize("name", list_models())
def test_every_fixed_point_is_a_member(hybrid: Space, name: str) -> None:
    arch = load_arch(name)
    row = hybrid.encode(arch)
    assert row.shape == (len(hybrid.genes),)
    assert np.array_equal(hybrid.canonicalise(row[None])[0], row)
    assert hybrid.decode(row) == arch
    assert arch in hybrid
    assert name in hybrid.fixed_points()


def test_ten_thousand_random_rows_round_trip(hybrid: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = random_rows(hybrid, 10_000)
    with monkeypatch.context() as patch:
        # These rows are canonical: making each so again, one by one, is most of the time.
        patch.setattr(hybrid, "canonicalise", lambda canonical: canonical)
        again = np.stack([encode_arch(hybrid.layout, hybrid.decode(row)) for row in rows])
    assert np.array_equal(hybrid.canonicalise(again), rows)


def test_random_architectures_are_members(hybrid: Space) -> None:
    for row in random_rows(hybrid, 300, seed=1):
        arch = hybrid.decode(row)
        assert np.array_equal(hybrid.encode(arch), row)
        assert np.array_equal(hybrid.encode(arch.with_(classes=10)), row)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_anything_becomes_canonical_once(hybrid: Space, data: st.DataObject) -> None:
    genes = len(hybrid.genes)
    any_whole = st.integers(-(2**40), 2**40) | st.integers(0, 50)
    row = np.array(data.draw(st.lists(any_whole, min_size=genes, max_size=genes)))
    once = hybrid.canonicalise(row[None])
    assert once.dtype == np.int16
    assert ((once >= 0) & (once < hybrid.cardinalities)).all()
    assert np.array_equal(hybrid.canonicalise(once), once)
    assert np.array_equal(hybrid.encode(hybrid.decode(once[0])), once[0])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_canonical_rows_can_be_built(hybrid: Space, seed: int) -> None:
    program = hybrid.decode(random_rows(hybrid, 1, seed=seed)[0]).lower()
    assert program.params > 0
    assert program.macs > 0


@pytest.mark.parametrize("name", list_spaces())
def test_canonicalising_twice_changes_nothing(name: str) -> None:
    space = load_space(name)
    rows = random_rows(space, 2000)
    assert np.array_equal(space.canonicalise(rows), rows)
    # A row by itself is what it is among others.
    assert np.array_equal(np.concatenate([space.canonicalise(row[None]) for row in rows[:50]]), rows[:50])


def test_members_stay_as_they_are(hybrid: Space) -> None:
    """The nearest valid row of a valid row is itself: no fixed point is moved."""
    names = hybrid.fixed_points()
    rows = np.stack([hybrid.encode(load_arch(name)) for name in names])
    assert np.array_equal(hybrid.canonicalise(rows), rows)
    assert len(np.unique(rows, axis=0)) == len({load_arch(name) for name in names})


def test_choices_are_named(hybrid: Space) -> None:
    choices = hybrid.choices(hybrid.encode(load_arch("efficientformer_l1")))
    assert len(choices) == len(hybrid.genes)
    wanted = {
        "resolution": 224,
        "stages": 4,
        "stem": "conv_relu",
        "head": "ln_distilled",
        "tokens": None,
        "stages.0.downsample": "none",
        "stages.2.width": 224,
        "stages.2.local.type": "mb4d",
        "stages.2.local.depth": 6,
        "stages.3.global.type": "mb3d",
        "stages.3.global.depth": 1,
        "stages.3.global.expand": 4,
    }
    assert {name: choices[name] for name in wanted} == wanted


def test_genes_are_ordered_lists(hybrid: Space) -> None:
    assert [len(gene.values) for gene in hybrid.genes] == hybrid.cardinalities.tolist()
    names = [gene.name for gene in hybrid.genes]
    assert len(set(names)) == len(names)
    for gene in hybrid.genes:
        assert len(set(map(repr, gene.values))) == len(gene.values)


def test_inactive_genes_are_zero(hybrid: Space) -> None:
    rows = random_rows(hybrid, 500)
    counts = [gene.name for gene in hybrid.genes].index("stages")
    for i, columns in enumerate(hybrid.layout.stages):
        beyond = np.array(hybrid.genes[counts].values)[rows[:, counts]] <= i
        assert not rows[np.ix_(beyond, np.array(columns.all))].any()
