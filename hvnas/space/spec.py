"""What a space file says, as plain dataclasses.

A space lists presets (blocks without their width), genes (ordered lists of values), and what each
stage may choose from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hvnas.arch import block_to_dict
from hvnas.blocks import Block
from hvnas.blocks.limits import Values

SAME = "same"
RULES = ("4d_before_3d", "growing_widths")


@dataclass(frozen=True)
class Preset:
    """A block without its width: what is fixed, and the genes that fill in the rest."""

    name: str
    block: Block | str | None
    reads: tuple[str, ...] = ()
    _made: dict[tuple[Any, ...], Block] = field(default_factory=dict, compare=False, repr=False)

    def make(self, width: int, **fields: Any) -> Block:
        """The block of this width. Raises ValueError where the width does not fit."""
        key = (width, *fields.items())
        if key not in self._made:
            assert isinstance(self.block, Block)
            self._made[key] = replace(self.block, out=width, **fields)
        return self._made[key]


@dataclass(frozen=True)
class StageSpec:
    """What one stage may choose from; names refer to presets."""

    downsample: tuple[str, ...]
    width: tuple[int, ...]
    local: tuple[str, ...]
    local_depth: tuple[int, ...]
    global_: tuple[str, ...]
    global_depth: tuple[int, ...]
    global_width: Values


@dataclass(frozen=True)
class SpaceSpec:
    """A space file, resolved: a restriction already holds its parent's presets beside its own.

    `image_size` is the resolution and the number of classes that every network was put to, None where they
    are the file's own; either may be None by itself.
    """

    name: str
    description: str
    parent: str | None
    resolution: tuple[int, ...]
    stages: tuple[StageSpec, ...]
    counts: tuple[int, ...]
    stems: tuple[Preset, ...]
    stem_width: Values
    heads: tuple[Preset, ...]
    tokens: Values
    downsamples: Mapping[str, Preset]
    blocks: Mapping[str, Preset]
    genes: Mapping[str, Values]
    rules: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)
    image_size: tuple[int | None, int | None] | None = None

    def at(self, resolution: int | None = None, classes: int | None = None) -> SpaceSpec:
        """Return the same space with every network at one resolution and with heads for `classes`."""
        before = self.image_size or (None, None)
        return replace(
            self,
            resolution=self.resolution if resolution is None else (resolution,),
            heads=self.heads if classes is None else tuple(_with_classes(h, classes) for h in self.heads),
            image_size=(resolution or before[0], classes or before[1]),
        )

    @property
    def classes(self) -> tuple[int, ...]:
        """The numbers of classes that heads have, each once."""
        return tuple(dict.fromkeys(head.block.out for head in self.heads if isinstance(head.block, Block)))

    def __repr__(self) -> str:
        return f"SpaceSpec({self.name!r}, hash {self.hash})"

    @property
    def hash(self) -> str:
        """12 hexadecimal digits of everything but name, description and parent."""
        presets = (*self.stems, *self.heads, *self.downsamples.values(), *self.blocks.values())
        data = [
            self.resolution,
            [vars(stage) for stage in self.stages],
            self.counts,
            self.stem_width,
            self.tokens,
            [(p.name, _plain(p.block), p.reads) for p in presets],
            dict(self.genes),
            self.rules,
            dict(self.limits),
        ]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _with_classes(head: Preset, classes: int) -> Preset:
    assert isinstance(head.block, Block)
    return Preset(head.name, replace(head.block, out=classes), head.reads)


def _plain(block: Block | str | None) -> Any:
    return block_to_dict(block) if isinstance(block, Block) else block
