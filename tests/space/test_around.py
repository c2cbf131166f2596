"""The restriction that surrounds a member."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.arch import list_models, load_arch
from hvnas.space import Space


@pytest.mark.parametrize("name", list_models())
def test_holds_its_member_as_the_largest(hybrid: Space, name: str) -> None:
    arch = load_arch(name)
    space = hybrid.around(arch)
    assert arch in space
    assert space.size > 1
    rng = np.random.default_rng(0)
    rows = space.canonicalise(rng.integers(0, space.cardinalities, (20, len(space.genes))))
    archs = [space.decode(row) for row in rows]
    within = [other for other in archs if other in space]
    assert len(within) >= 5
    assert all(other.lower().macs <= arch.lower().macs for other in within)
    assert all(other in hybrid for other in within[:3])


def test_values_are_the_members_and_a_few_below(hybrid: Space) -> None:
    space = hybrid.around(load_arch("efficientformer_l1"))
    values = {gene.name: gene.values for gene in space.genes}
    assert values["stages.2.local.depth"] == (4, 5, 6)
    assert values["stages.0.local.depth"] == (1, 2, 3)
    assert values["stages.0.global.depth"] == (0,)
    assert values["stages.3.width"] == (384, 448)
    assert values["stages.3.local.type"] == ("mb4d",)
    assert values["stages.3.local.expand"] == (3, 4)
    assert values["resolution"] == (192, 224)
    assert values["stages"] == (4,)


def test_other_blocks_where_they_are_asked_for(hybrid: Space) -> None:
    space = hybrid.around(load_arch("efficientformer_l1"), also=("unified_ffn", "attn4d"))
    values = {gene.name: gene.values for gene in space.genes}
    assert values["stages.1.local.type"] == ("mb4d", "unified_ffn")
    assert values["stages.3.global.type"] == ("mb3d", "attn4d")
    assert values["stages.1.global.depth"] == (0,)


def test_names_what_it_surrounds(hybrid: Space) -> None:
    space = hybrid.around(load_arch("vit_p_1gf"))
    assert space.name == "hybrid around vit_p_1gf"
    assert space.spec.parent == "hybrid"


def test_refuses_what_is_outside(hybrid: Space) -> None:
    with pytest.raises(ValueError, match="resolution 230 is not among"):
        hybrid.around(load_arch("efficientformer_l1").with_(resolution=230))
