"""NAS-Bench-Macro as a space: its networks have the params and FLOPs that its table prints.

All 6,561 of them with NAS_BENCH_MACRO=…/nas-bench-macro_cifar10.json (github.com/xiusu/NAS-Bench-Macro).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hvnas import build, trace
from hvnas.accuracy.table import Members, read_table
from hvnas.ops import MACS, PARAMS
from hvnas.search.rows import Rows
from hvnas.space import FastPath, Space, load_space

# Params and FLOPs as printed, of networks of each kind of block in each stage.
PRINTED = {
    "00000000": (387_882, 7_713_280),
    "10000000": (396_298, 12_128_768),
    "01000000": (415_082, 14_447_104),
    "00000001": (791_594, 14_115_328),
    "02012100": (890_666, 47_327_744),
    "11111111": (1_588_874, 53_246_464),
    "11111221": (2_181_386, 65_012_224),
    "22222222": (2_932_586, 105_660_928),
}


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("nas-bench-macro")


def row_of(space: Space, key: str) -> Rows:
    row = np.zeros(len(space.genes), dtype=np.int16)
    row[[len(gene.values) > 1 for gene in space.genes]] = [int(digit) for digit in key]
    return row


def test_it_holds_every_network_once(space: Space) -> None:
    assert space.size == 3**8
    rows = np.array([row_of(space, f"{np.base_repr(i, 3):0>8}") for i in range(3**8)])
    assert np.array_equal(space.canonicalise(rows), rows)


@pytest.mark.parametrize("key", PRINTED)
def test_counts_are_those_printed(space: Space, key: str) -> None:
    arch = space.decode(row_of(space, key))
    program = arch.lower()
    assert (program.params, program.macs) == PRINTED[key]
    assert np.array_equal(space.encode(arch), row_of(space, key))


@pytest.mark.parametrize("key", ["00000000", "02012100", "22222222"])
def test_what_is_built_is_what_is_lowered(space: Space, key: str) -> None:
    arch = space.decode(row_of(space, key))
    assert trace(build(arch), resolution=32) == arch.lower()


def test_counts_of_the_whole_table(space: Space) -> None:
    path = os.environ.get("NAS_BENCH_MACRO")
    if not path or not Path(path).exists():
        pytest.skip("NAS_BENCH_MACRO names no nas-bench-macro_cifar10.json")
    table = read_table(path)
    rows = np.array([row_of(space, "".join(map(str, indices))) for indices in table.rows])
    assert len(rows) == space.size
    assert np.array_equal(Members.of(table, space).places(rows), np.arange(len(table)))
    found = FastPath(space, (PARAMS, MACS))(rows)
    assert np.array_equal(found[:, 0], table.counts["params"])
    assert np.array_equal(found[:, 1], table.counts["macs"])
