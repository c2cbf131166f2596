"""The predictor that corrects a supernet: it reads size, blocks and inherited scores."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hvnas.arch import Arch
from hvnas.space import load_space
from hvnas.studies.rank import tau

KNOWN = 30


@pytest.fixture
def script(repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repo_root / "scripts"))
    return import_module("_corrected")


@pytest.fixture(scope="module")
def archs() -> list[Arch]:
    space = load_space("hybrid-tiny").at(32, 10)
    return [space.decode(row) for row in space.sample(KNOWN + 12, rng=np.random.default_rng(0))]


def test_sizes_and_blocks_are_counted(script: Any, archs: list[Arch]) -> None:
    assert np.exp(script.sizes(archs[:2])[:, 0]) == pytest.approx([a.lower().macs for a in archs[:2]])
    counts = script.block_counts(archs)
    assert counts.sum(1).tolist() == [len(list(arch.parts())) for arch in archs]


def test_it_learns_what_blocks_are_worth_and_what_a_supernet_adds(script: Any, archs: list[Arch]) -> None:
    rng, counts = np.random.default_rng(1), script.block_counts(archs)
    blocks, rest = counts @ rng.normal(size=counts.shape[1]), 2 * rng.normal(size=len(archs))
    known, others = archs[:KNOWN], archs[KNOWN:]
    assert tau(script.corrected(known, blocks[:KNOWN], others, inherited=None), blocks[KNOWN:]) > 0.8
    truth = blocks + rest
    alone = script.corrected(known, truth[:KNOWN], others, inherited=None)
    told = script.corrected(known, truth[:KNOWN], others, inherited=np.stack([rest, -rest], 1))
    assert tau(told, truth[KNOWN:]) > max(0.7, tau(alone, truth[KNOWN:]))
