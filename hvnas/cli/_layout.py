"""A network part by part: as rows of a table and as plain data for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvnas.arch import Arch, Run, Stage
    from hvnas.cli._screen import Screen
    from hvnas.ops import State

COLUMNS = ("part", "downsample", "local run", "global run", ">width", ">expand", "map")


def print_layout(screen: Screen, arch: Arch) -> None:
    """The network stage by stage: blocks with their depth, widths, expansions, and the map each leaves."""
    from hvnas.arch.outline import outline, sampled

    leaves = {part.label: _extent(part.leaves) for part in outline(arch) if part.leaves}
    stem, head = arch.stem, arch.head
    rows: list[tuple[object, ...]] = [("stem", sampled(stem), None, None, stem.out, None, leaves["stem"])]
    for i, stage in enumerate(arch.stages):
        rows.append((f"stage {i + 1}", *_stage_cells(stage), leaves[f"stages.{i}"]))
    rows.append(("head", head.type, None, None, f"{head.out} classes", None, None))
    screen.table(COLUMNS, rows)


def stages_to_json(arch: Arch) -> list[dict[str, Any]]:
    """The stages as in the network's file, each with the `map` [C, H, W] and `tokens` [N, d] it leaves."""
    from hvnas.arch import to_dict
    from hvnas.arch.outline import outline

    leaves = {part.label: part.leaves for part in outline(arch) if part.leaves}
    stages = []
    for i, stage in enumerate(to_dict(arch)["stages"]):
        state = leaves[f"stages.{i}"]
        stages.append({**stage, "map": _listed(state.map), "tokens": _listed(state.tokens)})
    return stages


def _listed(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)


def _extent(state: State) -> str:
    parts = []
    if state.map is not None:
        parts.append(f"{state.map[1]}×{state.map[2]}")
    if state.tokens is not None:
        parts.append(f"{state.tokens[0]} tokens of {state.tokens[1]}")
    return ", ".join(parts)


def _stage_cells(stage: Stage) -> tuple[object, ...]:
    from hvnas.arch.outline import sampled
    from hvnas.blocks import Block

    down = stage.downsample
    shown = sampled(down) if isinstance(down, Block) else {"inner": "in the first block"}.get(str(down))
    runs = dict(stage.runs)
    return (
        shown,
        _run(runs.get("local")),
        _run(runs.get("global")),
        _joined(run.width for run in runs.values()),
        _joined(_expand(run) for run in runs.values()),
    )


def _run(run: Run | None) -> str | None:
    return None if run is None else f"{run.block.type} × {run.depth}"


def _expand(run: Run) -> str:
    from hvnas.arch.outline import expansions

    return ",".join(f"{value:g}" for value in expansions(run))


def _joined(values: Any) -> str:
    """Both runs' values, or one where they agree."""
    return " / ".join(dict.fromkeys(str(value) for value in values if value != ""))
