"""A network part by part: as rows of a table and as plain data for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvnas.arch import Arch, Run, Stage
    from hvnas.blocks import Block
    from hvnas.cli._screen import Screen
    from hvnas.ops import State

COLUMNS = ("part", "downsample", "local run", "global run", ">width", ">expand", "map")


@dataclass(frozen=True)
class _Part:
    """Stem, a stage or head, and the state that it leaves."""

    label: str
    leaves: State


def print_layout(screen: Screen, arch: Arch) -> None:
    """The network stage by stage: blocks with their depth, widths, expansions, and the map each leaves."""
    leaves = {part.label: _extent(part.leaves) for part in _parts(arch)}
    stem, head = arch.stem, arch.head
    rows: list[tuple[object, ...]] = [("stem", _sampled(stem), None, None, stem.out, None, leaves["stem"])]
    for i, stage in enumerate(arch.stages):
        rows.append((f"stage {i + 1}", *_stage_cells(stage), leaves[f"stages.{i}"]))
    rows.append(("head", head.type, None, None, f"{head.out} classes", None, None))
    screen.table(COLUMNS, rows)


def stages_to_json(arch: Arch) -> list[dict[str, Any]]:
    """The stages as in the network's file, each with the `map` [C, H, W] and `tokens` [N, d] it leaves."""
    from hvnas.arch import to_dict

    leaves = {part.label: part.leaves for part in _parts(arch)}
    stages = []
    for i, stage in enumerate(to_dict(arch)["stages"]):
        state = leaves[f"stages.{i}"]
        stages.append({**stage, "map": _listed(state.map), "tokens": _listed(state.tokens)})
    return stages


def _listed(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)


def _parts(arch: Arch) -> Iterator[_Part]:
    """Every part before the head, with what the next part is given."""
    before = ""
    for label, _, state in arch.states():
        part = ".".join(label.split(".")[:2]) if label.startswith("stages.") else label
        if before and part != before:
            yield _Part(before, state)
        before = part


def _extent(state: State) -> str:
    parts = []
    if state.map is not None:
        parts.append(f"{state.map[1]}×{state.map[2]}")
    if state.tokens is not None:
        parts.append(f"{state.tokens[0]} tokens of {state.tokens[1]}")
    return ", ".join(parts)


def _stage_cells(stage: Stage) -> tuple[object, ...]:
    from hvnas.blocks import Block

    down = stage.downsample
    shown = _sampled(down) if isinstance(down, Block) else {"inner": "in the first block"}.get(str(down))
    runs = dict(stage.runs)
    return (
        shown,
        _run(runs.get("local")),
        _run(runs.get("global")),
        _joined(run.width for run in runs.values()),
        _joined(_expand(run) for run in runs.values()),
    )


def _sampled(block: Block) -> str:
    """A stem or downsample with its kernels and strides."""
    kernels = getattr(block, "kernels", None) or (getattr(block, "kernel", None),)
    strides = getattr(block, "strides", None) or (getattr(block, "stride", None),)
    steps = [f"{k}×{k}/{s}" for k, s in zip(kernels, strides, strict=False) if k and s]
    return " ".join([block.type, *steps])


def _run(run: Run | None) -> str | None:
    return None if run is None else f"{run.block.type} × {run.depth}"


def _expand(run: Run) -> str:
    """The expansion of a run's blocks, in order where they differ; empty where the blocks have none."""
    values = dict(run.vary).get("expand") or (getattr(run.block, "expand", None),)
    distinct = dict.fromkeys(values)
    shown = values if len(distinct) > 1 else tuple(distinct)
    return ",".join(f"{value:g}" for value in shown if value is not None)


def _joined(values: Any) -> str:
    """Both runs' values, or one where they agree."""
    return " / ".join(dict.fromkeys(str(value) for value in values if value != ""))
