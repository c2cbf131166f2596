"""patterns: what EfficientFormer's layouts have in common, and how far layouts are apart."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.arch import Arch, load_arch
from hvnas.space import Space, load_space
from hvnas.studies.rediscovery.patterns import LayoutOf, distance, patterns_of, shares

MODELS = ("efficientformer_l1", "efficientformer_l3", "efficientformer_l7")


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("metaformer")


def changed(space: Space, model: str, **genes: object) -> Arch:
    row = space.encode(load_arch(model)).copy()
    names = [gene.name for gene in space.genes]
    for name, value in genes.items():
        at = names.index(name.replace("__", "."))
        row[at] = space.genes[at].values.index(value)
    return space.decode(row)


@pytest.mark.parametrize("name", MODELS)
def test_the_paper_s_models_lie_in_the_space_and_have_all_four(name: str, space: Space) -> None:
    arch = load_arch(name)
    assert arch in space
    assert all(patterns_of(LayoutOf.of(arch)).values())


def test_the_space_forces_none_of_the_patterns(space: Space) -> None:
    for stage in space.spec.stages:
        assert "mb3d" in stage.global_ and 0 in stage.global_depth and max(stage.global_depth) > 0
        assert "mb4d" in stage.local and 0 in stage.local_depth
    assert {preset.name for preset in space.spec.stems} == {"conv_relu", "patch7"}
    rows = space.sample(200, rng=np.random.default_rng(0), macs=(0.3e9, 5e9))
    found = shares([LayoutOf.of(space.decode(row)) for row in rows])
    assert all(share < 1 for share in found.values())


@pytest.mark.parametrize(
    ("genes", "lost"),
    [
        ({"stages__1__global__depth": 1}, {"stages 1-2 local", "attention at the end", "4D before 3D"}),
        ({"stages__2__global__depth": 8}, {"attention at the end", "4D before 3D"}),
        ({"stages__2__global__depth": 8, "stages__3__local__depth": 0}, {"attention at the end"}),
        ({"stages__2__global__depth": 4, "stages__3__local__depth": 0}, set()),
        ({"stages__3__global__depth": 0}, {"attention at the end", "4D before 3D"}),
        ({"stem": "patch7"}, {"convolutional stem"}),
    ],
)
def test_each_pattern_is_lost_by_what_breaks_it(genes: dict, lost: set, space: Space) -> None:
    found = patterns_of(LayoutOf.of(changed(space, "efficientformer_l1", **genes)))
    assert {name for name, has in found.items() if not has} == lost


def test_layouts_of_other_families_are_read_as_well() -> None:
    assert LayoutOf.of(load_arch("poolformer_s12")).attending == (0, 0, 0, 0)
    assert LayoutOf.of(load_arch("poolformer_s12_ppaa")).attending == (0, 0, 6, 2)
    assert LayoutOf.of(load_arch("coatnet_0")).attending == (0, 0, 5, 2)
    assert LayoutOf.of(load_arch("efficientformerv2_s0")).attending == (0, 0, 2, 2)


def test_where_attention_begins() -> None:
    assert LayoutOf.of(load_arch("efficientformer_l1")).place == "stage 4, block 4 of 4"
    assert LayoutOf.of(load_arch("efficientformer_l7")).place == "stage 4, block 1 of 8"
    assert LayoutOf.of(load_arch("poolformer_s12")).place == "none"


def test_distance_counts_blocks_and_compares_widths() -> None:
    l1, l3 = (LayoutOf.of(load_arch(name)) for name in MODELS[:2])
    assert distance(l1, l1).depth == 0 and distance(l1, l1).width == pytest.approx(1)
    found = distance(l1, l3)
    assert (found.depth, found.attention) == (1 + 2 + 6 + 2, 3)
    factor = (64 / 48) * (128 / 96) * (320 / 224) * (512 / 448)
    assert found.width == pytest.approx(factor**0.25)
