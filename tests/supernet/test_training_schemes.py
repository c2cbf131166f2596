"""Which members are trained: by seed and step alone, as each scheme promises; and gradients in conflict."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hvnas.space import load_space
from hvnas.supernet import Supernet
from hvnas.supernet.schemes import Fair, Shrinking, list_schemes, make_scheme, project, taken


@pytest.fixture(scope="module")
def net(repo_root: Path) -> Supernet:
    return Supernet(load_space(repo_root / "tests/supernet/small.yaml"), classes=16, resolution=32)


@pytest.mark.parametrize("name", list_schemes())
def test_draws_depend_on_seed_and_step_alone(net: Supernet, name: str) -> None:
    scheme = make_scheme(name, net, seed=3)
    forward = [scheme.draw(step, steps=6) for step in range(6)]
    again = make_scheme(name, net, seed=3)
    backward = [again.draw(step, steps=6) for step in reversed(range(6))]
    assert forward == backward[::-1]
    other = make_scheme(name, net, seed=4)
    assert forward != [other.draw(step, steps=6) for step in range(6)]
    assert all(net.encode(arch) is not None for draw in forward for arch in draw.members)


def test_the_number_of_random_members_can_be_asked_for(net: Supernet) -> None:
    counts = {name: len(make_scheme(name, net).draw(0, steps=1).members) for name in list_schemes()}
    assert counts == {
        "single-path": 1,
        "fair": 4,
        "sandwich": 4,
        "conflict-aware": 4,
        "shrinking": 3,
        "spreading": 1,
        "widening": 4,
    }
    more = {name: len(make_scheme(name, net, paths=5).draw(0, steps=1).members) for name in list_schemes()}
    assert more == {
        "single-path": 5,
        "fair": 5,
        "sandwich": 7,
        "conflict-aware": 7,
        "shrinking": 6,
        "spreading": 5,
        "widening": 7,
    }
    with pytest.raises(ValueError, match="paths: must be >= 1, got 0"):
        make_scheme("fair", net, paths=0)
    with pytest.raises(ValueError, match="unknown scheme 'sandwhich'"):
        make_scheme("sandwhich", net)


def test_the_sandwich_is_taught_by_the_largest(net: Supernet) -> None:
    draw = make_scheme("sandwich", net).draw(0, steps=1)
    assert draw.taught
    assert draw.members[:2] == (net.largest, net.smallest)


def test_fair_draws_have_every_value_of_a_gene_equally_often(net: Supernet) -> None:
    scheme = make_scheme("fair", net, seed=1)
    assert isinstance(scheme, Fair)
    cardinalities = net.space.cardinalities
    cycle = math.lcm(*map(int, cardinalities))
    rows = np.array([scheme.row(number) for number in range(3 * cycle)])
    for gene, count in enumerate(map(int, cardinalities)):
        for at in range(0, 3 * cycle, count):
            assert sorted(rows[at : at + count, gene]) == list(range(count))


def test_widening_leaves_the_types_of_the_largest_one_by_one(net: Supernet) -> None:
    scheme = make_scheme("widening", net, paths=16)
    choices = [i for i, gene in enumerate(net.space.genes) if gene.name.endswith("type")]
    varied = [i for i in choices if len(net.space.genes[i].values) > 1]
    largest = net.encode(net.largest)

    def others(step: int) -> float:
        """Share of types that are not the largest member's; empty runs have none to compare."""
        rows = [net.encode(arch) for arch in scheme.draw(step, steps=100).members[2:]]
        return float(np.mean([[row[i] != largest[i] for i in varied] for row in rows]))

    assert others(0) <= 0.2, "only of runs that are empty"
    assert others(0) < others(35) < others(99)
    sizes = {net.encode(arch).tobytes() for arch in scheme.draw(0, steps=100).members[2:]}
    assert len(sizes) > 4, "sizes are free from the first step"


def test_spreading_leaves_the_types_of_a_cheap_member_one_by_one(tiny_at_32: Supernet) -> None:
    net = tiny_at_32
    scheme = make_scheme("spreading", net, paths=96)
    genes = net.space.genes
    centre = net.encode(scheme.shown)
    is_down = np.array([gene.name.endswith(".downsample") for gene in genes])
    is_block = np.array([gene.name.endswith("local.type") for gene in genes])
    assert {genes[i].values[centre[i]] for i in np.flatnonzero(is_down)} == {"conv_bn"}

    drawn = {step: scheme.draw(step, steps=100) for step in (0, 15, 99)}

    def others(step: int) -> tuple[float, float]:
        """Share of downsamplings and of types of blocks that are not the centre's."""
        rows = np.array([net.encode(arch) for arch in drawn[step].members])
        return float((rows != centre)[:, is_down].mean()), float((rows != centre)[:, is_block].mean())

    (down, block), (more_down, more_block), (all_down, all_block) = others(0), others(15), others(99)
    assert (down, block) == (0.0, 0.0)
    assert more_down > 0.5 * all_down
    assert more_block < 0.5 * all_block
    assert not any(draw.taught for draw in drawn.values())


def test_shrinking_opens_sizes_in_turn(net: Supernet) -> None:
    scheme = make_scheme("shrinking", net, paths=4)
    assert isinstance(scheme, Shrinking)
    steps = 40

    def smaller(phase: int, suffix: str) -> bool:
        """Whether some member of a phase is below the largest in a kind of gene."""
        for step in range(10 * phase, 10 * phase + 10):
            for arch in scheme.draw(step, steps=steps).members[1:]:
                rows = zip(net.encode(arch), net.encode(net.grown(arch)), net.space.genes, strict=True)
                if any(a < b for a, b, gene in rows if gene.name.endswith(suffix)):
                    return True
        return False

    opened = {suffix: [smaller(phase, suffix) for phase in range(4)] for suffix in (".expand", ".width")}
    assert opened == {".expand": [False, True, True, True], ".width": [False, False, False, True]}


def gradients(s: list[float] | None, g: list[float] | None) -> list[float] | None:
    """What `project` makes of the others' gradient s and the largest's g."""
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = None if g is None else torch.tensor(g)
    largest = taken([weight])
    assert weight.grad is None
    weight.grad = None if s is None else torch.tensor(s)
    project([weight], largest)
    return None if weight.grad is None else weight.grad.tolist()


def test_what_opposes_the_smaller_members_is_projected_away() -> None:
    assert gradients([1.0, 0.0], [0.5, 1.0]) == [1.5, 1.0], "no conflict: the sum"
    assert gradients([1.0, 0.0], [-1.0, 1.0]) == [1.0, 1.0], "g's part along s is gone"
    assert gradients([1.0, 0.0], [-9.0, 1.0]) == [-6.0, 1.0], "at most twice s is added"
    assert gradients([0.0, 0.0], [-9.0, 1.0]) == [-9.0, 1.0]
    assert gradients(None, [1.0, 2.0]) == [1.0, 2.0]
    assert gradients([1.0, 2.0], None) == [1.0, 2.0]
    assert gradients(None, None) is None
