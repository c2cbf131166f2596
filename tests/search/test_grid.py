"""Exhaustive search: every canonical row once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from hvnas.search.problem import Problem
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.grid import Grid, Listed, coprime_near, number_rows, refuse_if_large
from hvnas.space import Space, load_space
from hvnas.space.canonical.enumerate import Enumeration
from hvnas.testing.strategies import LANDSCAPES, Landscape, ToySpace

# Inactive genes, two kinds of blocks in each run, widths of their own: a few hundred networks.
SMALL = {
    "schema": "hvnas.space/1",
    "name": "small",
    "parent": "hybrid-mobile",
    "resolution": [128, 160],
    "counts": [3],
    "stems": ["conv_relu"],
    "stem_width": ["same"],
    "heads": ["ln", "former_1024"],
    "tokens": [None],
    "genes": {"expand": [2, 4]},
    "stage": {
        "downsample": ["conv"],
        "width": [32, 48],
        "local": ["poolformer", "mb4d"],
        "local_depth": [0, 1],
        "global": ["mb3d"],
        "global_depth": [0, 1],
        "global_width": ["same", 48],
    },
    "stages": [{"downsample": ["none"], "local_depth": [1], "global_depth": [0]}, {}, {}],
}


@pytest.fixture(scope="module", params=["free", "growing"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Space:
    rules = ["growing_widths"] if request.param == "growing" else []
    path = tmp_path_factory.mktemp("space") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | {"rules": rules}, sort_keys=False), encoding="utf-8")
    return load_space(Path(path))


def test_enumeration_lists_every_canonical_row_once(small: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    enumeration = Enumeration(small)
    rows = enumeration.rows(np.arange(len(enumeration)))
    assert len(rows) == small.size > 100
    assert len(np.unique(rows, axis=0)) == small.size
    assert np.array_equal(small.canonicalise(rows), rows)
    # They are canonical: making each so again, one by one, is most of the time.
    monkeypatch.setattr(small, "canonicalise", lambda canonical: canonical)
    assert len({small.decode(row) for row in rows}) == small.size


def test_enumeration_gives_rows_by_number_in_any_order(small: Space) -> None:
    enumeration = Enumeration(small)
    numbers = np.random.default_rng(0).permutation(len(enumeration))
    assert np.array_equal(enumeration.rows(numbers), enumeration.rows(np.arange(len(enumeration)))[numbers])


def test_a_shipped_space_is_enumerated() -> None:
    space = load_space("vit")
    enumeration = Enumeration(space)
    rows = enumeration.rows(np.arange(len(enumeration)))
    assert len(np.unique(rows, axis=0)) == space.size
    assert np.array_equal(space.canonicalise(rows), rows)


def test_spaces_of_others_are_listed() -> None:
    space = ToySpace(count=4, choices=3)
    numbered = number_rows(space)
    assert isinstance(numbered, Listed)
    rows = numbered.rows(np.arange(len(numbered)))
    assert np.array_equal(np.unique(rows, axis=0), space.everything())


def search(problem: Problem, *, evals: int, seed: int = 0):
    return Grid().run(problem, evals=evals, seed=seed, progress=Silent(), checkpoint=Checkpoint())


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=lambda each: each.name)
def test_it_finds_the_whole_front(landscape: Landscape) -> None:
    small = Landscape(landscape.name, landscape.couplings, landscape.gated, ToySpace(count=6, choices=4))
    problem = small.problem()
    rows = small.space.everything()
    found = search(problem.with_seeds(rows[100:103]), evals=10**6)
    assert found.evaluated == small.space.size
    everything = problem.evaluate(rows)
    best = everything.objective[everything.feasible].max()
    assert found.best is not None
    assert found.best.objective[0] == best


def test_evaluations_cap_it_and_the_seed_decides_where_it_starts() -> None:
    problem = LANDSCAPES[0].problem()
    first, other = (search(problem, evals=50, seed=seed) for seed in (0, 1))
    assert first.evaluated == other.evaluated == 50
    assert not np.array_equal(first.rows, other.rows)


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 1024, 10_368])
def test_steps_visit_every_number(size: int) -> None:
    stride = coprime_near(round(0.618 * size), size)
    assert len(set((stride * np.arange(size)) % size)) == size


def test_large_spaces_are_refused_with_their_size() -> None:
    with pytest.raises(ValueError, match=r"at most 10,000,000 .* hybrid-mobile holds 3\.5e\+49; narrow"):
        refuse_if_large(load_space("hybrid-mobile"))
    with pytest.raises(ValueError, match=r"poolformer holds [\d,]+;"):
        refuse_if_large(load_space("poolformer"))


def test_products_that_are_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot list toy"):
        Listed(ToySpace(count=12, choices=6))
