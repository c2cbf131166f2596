"""The part of a space where every network has all four patterns of EfficientFormer's layouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hvnas.blocks import Block
from hvnas.space import Space
from hvnas.space.spec import Preset
from hvnas.studies.rediscovery.patterns import CONV_STEM, attends


def forced(space: Space) -> Space:
    """`space` with attention at the end of its last stage and nowhere else, behind convolutional stems.

    Less than all networks with the patterns: none attends in the tail of the last stage but one. Raises
    ValueError where that leaves nothing.
    """
    spec = space.spec
    local = [replace(s, local=_attending(s.local, spec.blocks, False)) for s in spec.stages]
    ends = _attending(local[-1].global_, spec.blocks, True)
    depths = tuple(depth for depth in local[-1].global_depth if depth)
    stems = tuple(p for p in spec.stems if isinstance(p.block, Block) and p.block.type == CONV_STEM)
    if not (ends and depths and stems and all(0 in s.global_depth for s in local[:-1])):
        raise ValueError(f"space {space.name}: no network of it has all four patterns")
    before = (replace(s, global_depth=(0,)) for s in local[:-1])
    last = replace(local[-1], global_=ends, global_depth=depths)
    return Space(replace(spec, name=f"{spec.name}-forced", stages=(*before, last), stems=stems))


def _attending(names: Iterable[str], blocks: Mapping[str, Preset], attend: bool) -> tuple[str, ...]:
    return tuple(name for name in names if attends(blocks[name].block) == attend)
