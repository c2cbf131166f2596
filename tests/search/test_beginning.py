"""Searches begin with random networks of the papers' sizes, or with what a smaller space has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hvnas.ops import MACS
from hvnas.search.rows import random_rows
from hvnas.space import FastPath, load_space


def test_sizes_of_the_papers_where_there_are_any() -> None:
    space = load_space("efficientformer")
    rows = random_rows(space, 50, rng=np.random.default_rng(0))
    macs = FastPath(space, [MACS])(rows)[:, 0]
    assert len(rows) == 50
    assert ((macs >= 0.1e9) & (macs <= 5e9)).all()


def test_a_space_of_small_networks_has_a_beginning_too(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text("schema: hvnas.space/1\nparent: hybrid-tiny\nname: small\nlimits: {macs: 3.0e+7}\n")
    space = load_space(path)
    with pytest.raises(ValueError, match="too few networks"):
        space.sample(50, rng=np.random.default_rng(0), macs=(0.1e9, 5e9))
    rows = random_rows(space, 50, rng=np.random.default_rng(0))
    assert len(rows) == 50
    assert (FastPath(space, [MACS])(rows) <= 3e7).all()
