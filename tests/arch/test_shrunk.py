"""Shrunk architectures: the same structure, small enough for a test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvnas.arch import Arch, Run, Stage, list_models, load_arch
from hvnas.blocks.head import Classifier
from hvnas.blocks.metaformer import MB4D, PoolFormer
from hvnas.blocks.stem import ConvStem


def structure(arch: Arch) -> list[tuple[str, ...]]:
    """Block types and downsamples stage by stage."""
    stages = []
    for stage in arch.stages:
        down = stage.downsample if isinstance(stage.downsample, str | None) else stage.downsample.type
        stages.append((str(down), *(f"{slot} {run.block.type}" for slot, run in stage.runs)))
    return [(arch.stem.type,), *stages, (arch.head.type,)]


@pytest.mark.parametrize("name", list_models())
def test_every_fixed_point_shrinks(name: str) -> None:
    arch = load_arch(name)
    small = arch.shrunk()
    assert structure(small) == structure(arch)
    assert small.resolution == arch.resolution
    assert small.head.out == 10
    assert (small.tokens is None) == (arch.tokens is None)
    for stage, before in zip(small.stages, arch.stages, strict=True):
        for (_, run), (_, was) in zip(stage.runs, before.runs, strict=True):
            assert run.depth == min(was.depth, 2)
            # A multiple of what must divide the width: 8, or a head of up to 128 channels.
            assert was.width / 8 <= run.width < was.width / 8 + 128
    assert small.lower().params < min(7e6, arch.lower().params)


def test_widths_are_an_eighth_where_nothing_forbids_it() -> None:
    small = load_arch("poolformer_m36").shrunk()  # 96, 192, 384, 768
    assert [stage.width for stage in small.stages] == [16, 24, 48, 96]
    assert [run.depth for stage in small.stages for _, run in stage.runs] == [2, 2, 2, 2]


def test_profiles_are_cut() -> None:
    small = load_arch("mobileformer_26m").shrunk()
    assert small.tokens == (3, 16)
    assert small.stages[1].local is not None
    assert small.stages[1].local.vary == (("expand", (6, 3)),)


def test_widths_that_vary_and_depths_inside_blocks_shrink() -> None:
    small = load_arch("mobilevit_xs").shrunk()
    assert small.stages[3].global_ is not None
    block = small.stages[3].global_.block
    assert (block.dim, block.layers, block.heads) == (16, 2, 4)  # type: ignore[attr-defined]  # of 120, 4, 4


def test_published_figures_are_not_those_of_the_small_network() -> None:
    small = load_arch("efficientformer_l1").shrunk()
    assert (small.name, small.published, small.found) == ("efficientformer_l1_shrunk", None, None)


def test_what_cannot_be_built_is_refused() -> None:
    arch = Arch(
        stem=ConvStem(out=16), stages=(Stage(local=Run(block=MB4D(out=16), depth=1)),), head=Classifier()
    )
    heads = PoolFormer(out=2048, mixer="attention", head_dim=2048)
    wide = replace(arch, stem=ConvStem(out=2048), stages=(Stage(local=Run(block=heads, depth=1)),))
    assert wide.lower().params
    with pytest.raises(ValueError, match=r"stages\.0\.local\.0 \(poolformer\): head_dim 2048 must divide"):
        wide.shrunk()
