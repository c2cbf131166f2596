"""From an Arch back to a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import Arch, Run, Stage
from hvnas.blocks import Block
from hvnas.space.layout import Layout, SlotColumns, per_block
from hvnas.space.spec import SAME, Preset


def encode_arch(layout: Layout, arch: Arch) -> NDArray[np.int64]:
    """Indices of the values that `arch` has. Raises ValueError naming one that the space does not have."""
    row = np.zeros(len(layout.genes), dtype=np.int64)
    _put(layout, row, layout.resolution, arch.resolution)
    _put(layout, row, layout.count, len(arch.stages))
    _put(layout, row, layout.stem, _preset(layout.spec.stems, arch.stem, "stem").name)
    _put(layout, row, layout.head, _preset(layout.spec.heads, arch.head, "head").name)
    _put(layout, row, layout.tokens, arch.tokens)
    for i, stage in enumerate(arch.stages):
        _stage(layout, row, i, stage)
    _put(layout, row, layout.stem_width, _stem_width(layout, row, arch))
    return row


def _stem_width(layout: Layout, row: NDArray[np.int64], arch: Arch) -> Any:
    """The explicit width where there is one: where the rules want ``same`` they turn it into that."""
    widths = layout.spec.stem_width
    if arch.stem.out in widths:
        return arch.stem.out
    if arch.stem.out != layout.stage_width(row, 0):
        raise ValueError(
            f"not in space {layout.spec.name}: stem.width {arch.stem.out} is not among {list(widths)}"
        )
    return SAME


def _put(layout: Layout, row: NDArray[np.int64], column: int, value: Any) -> None:
    gene = layout.genes[column]
    if value not in gene.values:
        shown = ", ".join(str(v) for v in gene.values)
        raise ValueError(f"not in space {layout.spec.name}: {gene.name} {value} is not among {shown}")
    row[column] = gene.values.index(value)


def _differs(preset: Preset, block: Block) -> list[str]:
    """Fields besides width and genes in which `block` is not the preset; ``type`` for another type."""
    template = preset.block
    if type(template) is not type(block):
        return ["type"]
    free = {"out", "stride", *preset.reads} if block.role != "stem" else {"out"}
    return [
        f.name
        for f in dataclasses.fields(block)
        if f.name not in free and getattr(template, f.name) != getattr(block, f.name)
    ]


def _preset(presets: Sequence[Preset], block: Block, what: str) -> Preset:
    closest: list[str] | None = None
    for preset in presets:
        differs = _differs(preset, block)
        if not differs:
            return preset
        if differs != ["type"]:
            closest = differs
    reason = (
        f"no preset has its {', '.join(closest)}"
        if closest
        else f"{block.type} is not among those of the space"
    )
    raise ValueError(f"not in this space: {what}: {reason}")


def _stage(layout: Layout, row: NDArray[np.int64], i: int, stage: Stage) -> None:
    columns = layout.stages[i]
    _put(layout, row, columns.downsample, _downsample_name(layout, i, stage))
    first = stage.runs[0][1]
    _put(layout, row, columns.width, first.width)
    for slot, run in (("local", stage.local), ("global", stage.global_)):
        if run is None:
            _put(layout, row, columns.slots[slot].depth, 0)
        else:
            _run(layout, row, columns.slots[slot], run, f"stages.{i}.{slot}")
    if stage.local and stage.global_ and stage.local.width != stage.global_.width:
        _put(layout, row, columns.global_width, stage.global_.width)
    else:
        _put(layout, row, columns.global_width, SAME)


def _downsample_name(layout: Layout, i: int, stage: Stage) -> str:
    names = layout.spec.stages[i].downsample
    presets = [layout.spec.downsamples[name] for name in names]
    down = stage.downsample
    if isinstance(down, Block):
        candidates = [p for p in presets if isinstance(p.block, Block)]
        if down.out != stage.runs[0][1].width:
            raise ValueError(f"not in this space: stages.{i}.downsample is not as wide as the run after it")
        return _preset(candidates, down, f"stages.{i}.downsample").name
    for preset in presets:
        if preset.block == down:
            return preset.name
    raise ValueError(
        f"not in space {layout.spec.name}: stages.{i}.downsample {down or 'none'} is not among {names}"
    )


def _run(layout: Layout, row: NDArray[np.int64], columns: SlotColumns, run: Run, at: str) -> None:
    preset = _preset(columns.types, run.block, at)
    _put(layout, row, columns.type, preset.name)
    _put(layout, row, columns.depth, run.depth)
    varied = dict(run.vary)
    if set(varied) - set(preset.reads):
        raise ValueError(f"not in space {layout.spec.name}: {at}: {', '.join(varied)} cannot differ by block")
    for gene in preset.reads:
        wanted = tuple(varied.get(gene, (getattr(run.block, gene),) * run.depth))
        values = layout.genes[columns.genes[gene]].values
        matching = [k for k, value in enumerate(values) if per_block(value, run.depth) == wanted]
        if not matching:
            shown = wanted[0] if len(set(wanted)) == 1 else list(wanted)
            raise ValueError(
                f"not in space {layout.spec.name}: {at}.{gene} {shown} is not among those of the space"
            )
        row[columns.genes[gene]] = matching[0]
