"""Members that train all of a supernet about alike; blocks that stride have weights of their own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hvnas.arch import load_arch
from hvnas.ops import MACS
from hvnas.space import FastPath, Space, load_space
from hvnas.supernet.schemes import EvenDraws
from hvnas.supernet.weights.memory import plan

NUMBER = 640


@pytest.fixture(scope="module")
def tiny() -> Space:
    return load_space("hybrid-tiny")


@pytest.fixture(scope="module")
def draws(tiny: Space) -> EvenDraws:
    return EvenDraws(tiny, seed=0)


@pytest.fixture(scope="module")
def rows(draws: EvenDraws) -> np.ndarray:
    return np.stack([draws.row(number) for number in range(NUMBER)])


def test_members_are_small_and_large_alike(tiny: Space, rows: np.ndarray) -> None:
    log = np.log(FastPath(tiny, (MACS,))(rows)[:, 0])
    uniform = np.log(FastPath(tiny, (MACS,))(tiny.sample(NUMBER, rng=np.random.default_rng(1)))[:, 0])
    low, high = np.quantile(uniform, (0.01, 0.9))
    shares = np.histogram(log, bins=np.linspace(low, high, 4))[0] / NUMBER
    assert shares.min() > 0.2


def test_rare_branches_are_drawn_more_often_than_a_search_draws_them(
    tiny: Space, draws: EvenDraws, rows: np.ndarray
) -> None:
    def rare(drawn: np.ndarray) -> float:
        """The share of members that have a branch, at the tenth of the branches that is rarest."""
        seen = Counter(branch for row in drawn for branch in draws._branches(row))
        return float(np.quantile([seen[branch] for branch in draws._shares], 0.1)) / len(drawn)

    assert rare(rows) > 1.5 * rare(tiny.sample(NUMBER, rng=np.random.default_rng(1)))


def test_a_member_depends_on_seed_and_number_alone(tiny: Space, rows: np.ndarray) -> None:
    again = EvenDraws(tiny, seed=0)
    for number in (639, 0, 100):
        assert (again.row(number) == rows[number]).all()
    assert not (EvenDraws(tiny, seed=1).row(0) == rows[0]).all()


def test_a_space_of_one_size_is_drawn_from_too(repo_root: Path) -> None:
    around = load_space("hybrid").around(load_arch("efficientformer_l1"))
    assert around.encode(around.decode(EvenDraws(around, seed=0).row(3))) is not None


def test_first_blocks_that_stride_have_branches_of_their_own(tiny: Space) -> None:
    branches = plan(tiny, classes=16, resolution=32)
    assert ("stages.1.local.0", "mbconv_hardswish") in branches
    assert ("stages.1.local.0", "mbconv_hardswish_strided") in branches
    assert ("stages.1.local.1", "mbconv_hardswish_strided") not in branches
    projecting = branches["stages.2.local.0", "coat_mbconv_strided"].layouts
    plain = branches["stages.2.local.0", "coat_mbconv_strided_same"].layouts
    assert set(projecting) - set(plain) == {"shortcut.1.weight", "shortcut.1.bias"}
