"""Which column of an encoding holds which gene, and how values become blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import INNER, Arch, Run
from hvnas.blocks import Block
from hvnas.blocks.limits import Values
from hvnas.space.spec import SAME, Preset, SpaceSpec

SLOTS = ("local", "global")


@dataclass(frozen=True)
class Gene:
    """One position of an encoding: a name and the ordered values that its index points into."""

    name: str
    values: Values


class Encoded(Protocol):
    """What sampling, the fast path and `around` read of a `Space`."""

    @property
    def name(self) -> str: ...
    @property
    def spec(self) -> SpaceSpec: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def genes(self) -> tuple[Gene, ...]: ...
    @property
    def cardinalities(self) -> NDArray[np.int64]: ...
    @property
    def limits(self) -> dict[str, float]: ...
    def encode(self, arch: Arch) -> NDArray[np.int16]: ...
    def canonicalise(self, rows: NDArray[Any]) -> NDArray[np.int16]: ...


@dataclass(frozen=True)
class SlotColumns:
    """Columns of one run of one stage."""

    type: int
    depth: int
    genes: Mapping[str, int]
    types: tuple[Preset, ...]
    depths: tuple[int, ...]


@dataclass(frozen=True)
class StageColumns:
    """Columns of one stage."""

    downsample: int
    width: int
    global_width: int
    slots: Mapping[str, SlotColumns]
    all: tuple[int, ...]


class Layout:
    """The genes of a space in order."""

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self.genes: list[Gene] = []
        self.resolution = self._add("resolution", spec.resolution)
        self.count = self._add("stages", spec.counts)
        self.stem = self._add("stem", tuple(p.name for p in spec.stems))
        self.stem_width = self._add("stem.width", spec.stem_width)
        self.head = self._add("head", tuple(p.name for p in spec.heads))
        self.tokens = self._add("tokens", spec.tokens)
        self.stages = tuple(self._stage(i) for i in range(len(spec.stages)))

    def _add(self, name: str, values: Values) -> int:
        self.genes.append(Gene(name, values))
        return len(self.genes) - 1

    def _stage(self, i: int) -> StageColumns:
        stage, start = self.spec.stages[i], len(self.genes)
        downsample = self._add(f"stages.{i}.downsample", stage.downsample)
        width = self._add(f"stages.{i}.width", stage.width)
        slots = {
            "local": self._slot(f"stages.{i}.local", stage.local, stage.local_depth),
            "global": self._slot(f"stages.{i}.global", stage.global_, stage.global_depth),
        }
        # Index 0 is that of genes without a say, here of stages that lack one of the runs.
        own = (SAME, *(width for width in stage.global_width if width != SAME))
        global_width = self._add(f"stages.{i}.global.width", own)
        return StageColumns(downsample, width, global_width, slots, tuple(range(start, len(self.genes))))

    def _slot(self, name: str, types: tuple[str, ...], depths: tuple[int, ...]) -> SlotColumns:
        presets = tuple(self.spec.blocks[t] for t in types)
        read = [g for g in self.spec.genes if any(g in p.reads for p in presets)]
        return SlotColumns(
            type=self._add(f"{name}.type", types),
            depth=self._add(f"{name}.depth", depths),
            genes={g: self._add(f"{name}.{g}", self.spec.genes[g]) for g in read},
            types=presets,
            depths=depths,
        )

    @cached_property
    def columns(self) -> dict[str, int]:
        """Column of each gene by name."""
        return {gene.name: i for i, gene in enumerate(self.genes)}

    # from indices to blocks; `row` is anything indexable by column

    def value(self, row: Any, column: int) -> Any:
        """The value that the index in `column` points to."""
        return self.genes[column].values[row[column]]

    def stage_width(self, row: Any, i: int) -> int:
        """Width of stage i (of its local run, where it has one)."""
        return int(self.value(row, self.stages[i].width))

    def run_width(self, row: Any, i: int, slot: str) -> int:
        """Width of a run: the stage's, unless the global run has its own."""
        own = self.value(row, self.stages[i].global_width)
        return int(own) if slot == "global" and own != SAME else self.stage_width(row, i)

    def stem_block(self, row: Any) -> Block:
        """The stem."""
        width = self.value(row, self.stem_width)
        preset = self.spec.stems[row[self.stem]]
        return preset.make(self.stage_width(row, 0) if width == SAME else int(width))

    def head_block(self, row: Any) -> Block:
        """The head."""
        block = self.spec.heads[row[self.head]].block
        assert isinstance(block, Block)
        return block

    def downsample(self, row: Any, i: int) -> Block | str | None:
        """The downsample of stage i: a block of the first run's width, ``inner`` or None."""
        preset = self.spec.downsamples[self.value(row, self.stages[i].downsample)]
        if not isinstance(preset.block, Block):
            return preset.block
        return preset.make(self.stage_width(row, i))

    def run(self, row: Any, i: int, slot: str, *, width: int | None = None) -> Run | None:
        """A run of stage i, None where its depth is 0; of `width` where that is given."""
        columns = self.stages[i].slots[slot]
        depth = columns.depths[row[columns.depth]]
        if depth == 0:
            return None
        preset = columns.types[row[columns.type]]
        fixed, vary = {}, []
        for gene in preset.reads:
            value = self.value(row, columns.genes[gene])
            if is_profile(value):
                vary.append((gene, profile(value, depth)))
            else:
                fixed[gene] = value
        uniform = {name: values[0] for name, values in vary}
        varied = tuple((name, values) for name, values in vary if len(set(values)) > 1)
        block = preset.make(width or self.run_width(row, i, slot), **fixed, **uniform)
        return Run(block=block, depth=depth, vary=varied)

    def is_inner(self, row: Any, i: int) -> bool:
        """Whether the first block of stage i strides by itself."""
        return self.spec.downsamples[self.value(row, self.stages[i].downsample)].block == INNER


def is_profile(value: Any) -> bool:
    """Whether a gene's value is a list with one entry per block."""
    return isinstance(value, tuple)


def profile(values: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
    """A profile stretched or shrunk to `depth` blocks: entry i is the one nearest in relative position."""
    return tuple(values[int((i + 0.5) * len(values) / depth)] for i in range(depth))


def per_block(value: Any, depth: int) -> tuple[Any, ...]:
    """The values that a gene's value means for `depth` blocks, constant or profile."""
    return profile(value, depth) if is_profile(value) else (value,) * depth
