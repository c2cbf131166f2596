"""Spaces that the tests share: the shipped ones, and one small enough to list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hvnas.arch import Arch
from hvnas.space import Space, load_space

# Everything that the rules have to deal with: blocks that keep their width and one that changes it, one
# that turns the map into tokens, one that reads global tokens, a profile, stages of their own width.
TINY = """
schema: hvnas.space/1
name: tiny
resolution: [32]
counts: [1, 2]
tokens: [null, [3, 16]]
stems:
  conv: {type: conv_stem}
stem_width: [same, 8]
heads:
  ln: {type: classifier, norm: ln}
  former: {type: mobileformer_head, hidden: 32}
downsamples:
  none: null
  inner: inner
  conv: {type: conv_down}
blocks:
  mb4d: {type: mb4d, reads: [expand]}
  mbconv: {type: mbconv, reads: [expand]}
  mb3d: {type: mb3d}
  mobileformer: {type: mobileformer}
genes:
  expand: [2, 4, [2, 4]]
stage:
  downsample: [inner, conv]
  width: [16, 24]
  local: [mb4d, mbconv]
  local_depth: [0, 1, 2]
  global: [mb3d, mobileformer]
  global_depth: [0, 1]
  global_width: [same, 24]
stages:
  - {downsample: [none, inner], local_depth: [0, 1], global: [mobileformer], global_width: [same]}
  - {}
"""


@pytest.fixture
def tiny_data() -> dict[str, Any]:
    """The tiny space as data."""
    data: dict[str, Any] = yaml.safe_load(TINY)
    return data


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """``write(data, name="space")`` puts a space file into an empty folder."""

    def write(data: dict[str, Any], name: str = "space") -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def tiny(tiny_data: dict[str, Any], write: Callable[..., Path]) -> Callable[..., Space]:
    """``tiny(rules=[...])``: the tiny space with other values at its top."""

    def make(**fields: Any) -> Space:
        return load_space(write(tiny_data | fields))

    return make


@pytest.fixture(scope="session")
def mobile() -> Space:
    """What search uses by default."""
    return load_space("hybrid-mobile")


def _canonical_chunks(space: Space, chunk: int = 100_000) -> Iterator[np.ndarray]:
    radix = np.cumprod([1, *space.cardinalities])
    for start in range(0, int(radix[-1]), chunk):
        numbers = np.arange(start, min(start + chunk, int(radix[-1])))
        rows = numbers[:, None] // radix[:-1] % space.cardinalities
        canonical = space.canonicalise(rows)
        yield canonical[(canonical == rows).all(1)]


@pytest.fixture(scope="session")
def canonical_rows() -> Callable[[Space], np.ndarray]:
    """Every row that is its own canonical form, by trying all products of the genes' values."""
    known: dict[str, np.ndarray] = {}

    def rows(space: Space) -> np.ndarray:
        if space.hash not in known:
            known[space.hash] = np.concatenate(list(_canonical_chunks(space)))
            known[space.hash].flags.writeable = False
        return known[space.hash]

    return rows


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[Space, np.ndarray], list[Arch]]:
    """The architectures of rows that are canonical: making each so again is most of the time."""

    def archs(space: Space, rows: np.ndarray) -> list[Arch]:
        with monkeypatch.context() as patch:
            patch.setattr(space, "canonicalise", lambda canonical: canonical)
            return [space.decode(row) for row in rows]

    return archs
