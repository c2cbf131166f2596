"""A network rebuilt with other numbers in its blocks and other depths, its structure as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from hvnas.arch.arch import Arch, Run, Stage
from hvnas.blocks import Block

WIDTHS = frozenset({"out", "dim", "hidden", "channels"})  # fields that hold a number of channels

# The name of a field and its value to its new value; a run's label and depth to its new depth.
Values = Callable[[str, Any], Any]
Depths = Callable[[str, int], int]


def transformed(arch: Arch, *, values: Values, depths: Depths) -> Arch:
    """`arch` with every block's fields put through `values` and every run's depth through `depths`.

    Labels of runs are ``stages.2.local``. The classes and the global tokens stay. Where a run has one value
    per block, a shorter one keeps the first and a longer one repeats the last. Published facts go.
    """
    return replace(
        arch,
        stem=_block(arch.stem, values),
        stages=tuple(_stage(stage, f"stages.{i}", values, depths) for i, stage in enumerate(arch.stages)),
        head=replace(_block(arch.head, values), out=arch.head.out),
        published=None,
        found=None,
    )


def _stage(stage: Stage, label: str, values: Values, depths: Depths) -> Stage:
    down = stage.downsample
    return Stage(
        downsample=_block(down, values) if isinstance(down, Block) else down,
        local=_run(stage.local, f"{label}.local", values, depths),
        global_=_run(stage.global_, f"{label}.global", values, depths),
    )


def _run(run: Run | None, label: str, values: Values, depths: Depths) -> Run | None:
    if run is None:
        return None
    depth = depths(label, run.depth)
    vary = tuple((name, tuple(values(name, v) for v in _fitted(own, depth))) for name, own in run.vary)
    return Run(block=_block(run.block, values), depth=depth, vary=vary)


def _fitted(values: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
    return (*values[:depth], *values[-1:] * (depth - len(values)))


def _block(block: Block, values: Values) -> Block:
    own = {field.name: getattr(block, field.name) for field in fields(block)}
    return replace(block, **{name: values(name, value) for name, value in own.items()})
