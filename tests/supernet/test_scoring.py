"""Scores of many members at once: those of each by itself, and equal beginnings are computed once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from hvnas.space import load_space
from hvnas.supernet import Supernet
from hvnas.supernet.scoring import inherited_scores, member_scores
from hvnas.supernet.weights.slots import Sliced
from hvnas.train.data import Data, load_data


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data("digits", train_size=70, test_size=60)


@pytest.mark.parametrize("name", ["nas-bench-macro", "hybrid-tiny", "metaformer-tiny"])
@pytest.mark.parametrize("bn_calib", [0, 70])
def test_they_are_those_of_each_member_by_itself(
    name: str, bn_calib: int, data: Data, randomise: Callable[[nn.Module], None]
) -> None:
    """To the bit, the statistics of the supernet left as they were."""
    net = Supernet(load_space(name), classes=data.classes, resolution=data.resolution)
    randomise(net)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    archs = [net.sample(np.random.default_rng(seed)) for seed in range(4)]
    found = dict(inherited_scores(net, archs, data, bn_calib=bn_calib))
    assert sorted(found) == list(range(len(archs)))
    for place, arch in enumerate(archs):
        assert found[place] == member_scores(net, arch, data, bn_calib=bn_calib)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


def test_equal_beginnings_are_computed_once(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    space = load_space("nas-bench-macro")
    net = Supernet(space, classes=data.classes, resolution=data.resolution)
    row = np.zeros(len(space.genes), dtype=np.int16)
    last = max(i for i, gene in enumerate(space.genes) if len(gene.values) > 1)
    rows = np.repeat(row[None], 3, axis=0)
    rows[:, last] = [2, 0, 1]
    calls = []
    run = Sliced.__call__
    monkeypatch.setattr(Sliced, "__call__", lambda part, x: calls.append(part.name) or run(part, x))
    split = load_data("digits", train_size=60, test_size=30).val
    places = [
        place for place, _ in inherited_scores(net, [*map(space.decode, rows)], data, bn_calib=0, split=split)
    ]
    assert sorted(places) == [0, 1, 2]
    parts = len(net.active)
    assert len(calls) == parts - 2 + 3 * 2  # all but the last layer and the head once
