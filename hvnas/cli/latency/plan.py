"""``hvnas latency plan``: what a table of a space takes to measure; options that ``measure`` has too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._records import Column, Table, csv_of
from hvnas.cli._progress import duration
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    from hvnas.latency.measure.backends import Backend
    from hvnas.latency.measure.plan import Plan
    from hvnas.latency.measure.run import Seconds
    from hvnas.space import Space

EXAMPLE = "hvnas latency plan --space hybrid-mobile"


SPACE = Annotated[
    str, typer.Option(rich_help_panel="Networks", metavar="NAME|FILE", help="The space: see hvnas spaces.")
]
RESOLUTION = Annotated[
    int | None,
    typer.Option(
        rich_help_panel="Networks",
        metavar="<int>",
        help="Side of the images that all networks take. Default: the space's.",
    ),
]
BACKEND = Annotated[
    str,
    typer.Option(
        rich_help_panel="Measuring",
        metavar="torch-cpu|torch-cuda|onnxruntime|litert",
        help="What runs the networks.",
    ),
]
THREADS = Annotated[int, typer.Option(rich_help_panel="Measuring", min=1, help="Threads to run on.")]
OPS = Annotated[int, typer.Option(rich_help_panel="Networks", help="About how many distinct ops to measure.")]
BLOCKS = Annotated[
    int | None,
    typer.Option(
        rich_help_panel="Networks",
        min=0,
        help="How many blocks to measure as stacks. Default: 60, for onnxruntime and litert none.",
    ),
]
NETWORKS = Annotated[
    int, typer.Option(rich_help_panel="Networks", help="How many whole networks to measure beside the ops.")
]
SEED = Annotated[
    int, typer.Option(rich_help_panel="Networks", min=0, help="The same seed gives the same plan.")
]


@answers
def run(
    space: SPACE = "hybrid-mobile",
    resolution: RESOLUTION = None,
    backend: BACKEND = "torch-cpu",
    threads: THREADS = 1,
    ops: OPS = 12000,
    blocks: BLOCKS = None,
    networks: NETWORKS = 100,
    seed: SEED = 0,
    probe: Annotated[
        bool,
        typer.Option(
            rich_help_panel="Measuring", help="Time a few of each kind, to estimate how long all takes."
        ),
    ] = True,
) -> Answer:
    """Show what hvnas latency measure would measure, and how long.

    The keys of a space are the distinct ops and blocks of its members. If there are more keys than to be
    measured, those that cover the others are chosen.
    """
    from hvnas.latency.measure.run import estimate

    timer, made = planned(
        space,
        backend,
        threads,
        resolution=resolution,
        ops=ops,
        blocks=blocks,
        networks=networks,
        seed=seed,
    )
    seconds = estimate(made, timer) if probe else None
    return Answer(
        text=lambda screen: _print(screen, made, seconds),
        data=lambda: _facts(made, seconds),
        csv=lambda: csv_of(_columns(made), list(made.distinct_by_group)),
    )


def planned(
    space: str,
    backend: str,
    threads: int,
    *,
    resolution: int | None,
    ops: int,
    blocks: int | None,
    networks: int,
    seed: int,
) -> tuple[Backend, Plan]:
    """What runs the networks, and what of a space it measures."""
    from hvnas.latency.measure.backends import make_backend
    from hvnas.latency.measure.plan import make_plan

    timer = make_backend(backend, threads=threads)
    # Each block must be exported twice for ONNX Runtime, which takes longer than all else.
    usual = 0 if backend in ("onnxruntime", "litert") else 60
    plan = make_plan(
        space_at(space, resolution),
        ops=ops,
        blocks=usual if blocks is None else blocks,
        networks=networks,
        seed=seed,
        fuses_attention=timer.fuses_attention,
    )
    return timer, plan


def space_at(name: str, resolution: int | None) -> Space:
    """The space of a name or file, put to a resolution where one is given."""
    from hvnas.space import load_space

    space = load_space(name)
    return space if resolution is None else space.at(resolution=resolution)


def _columns(plan: Plan) -> tuple[Column[str], ...]:
    return (
        Column("ops", lambda group: group),
        Column(">distinct", lambda group: plan.distinct_by_group[group], "{:,}".format),
        Column(">chosen", lambda group: plan.chosen_by_group.get(group, 0), "{:,}".format),
    )


def _facts(plan: Plan, seconds: Seconds | None) -> dict[str, Any]:
    return {
        "space": plan.space,
        "space_hash": plan.space_hash,
        "resolution": plan.resolution,
        "macs": list(plan.macs),
        "seed": plan.seed,
        "members_looked_at": plan.looked_at,
        "ops": {"distinct": plan.distinct, "chosen": len(plan.ops)},
        "blocks": {"distinct": plan.distinct_blocks, "chosen": len(plan.blocks)},
        "networks": len(plan.networks),
        "groups": {
            name: {"distinct": n, "chosen": plan.chosen_by_group.get(name, 0)}
            for name, n in plan.distinct_by_group.items()
        },
        "seconds": None if seconds is None else seconds.total,
    }


def _print(screen: Screen, plan: Plan, seconds: Seconds | None) -> None:
    at = "" if plan.resolution is None else f" at {plan.resolution}×{plan.resolution}"
    low, high = (f"{macs / 1e9:.3g}" for macs in plan.macs)
    screen.line(
        f"{plan.looked_at} members of {plan.space}{at} and its fixed points hold {plan.distinct:,} distinct "
        f"ops in {plan.distinct_blocks:,} distinct blocks."
    )
    screen.line(f"Members are drawn from {low} to {high} G MACs.")
    screen.heading("To measure")
    screen.show(Table.of(_columns(plan), list(plan.distinct_by_group)))
    screen.line(
        f"In all {len(plan.ops):,} ops, {len(plan.blocks)} blocks at two depths and "
        f"{len(plan.networks)} whole networks."
    )
    if seconds is not None:
        screen.line(f"Time: about {duration(seconds.total)}, by a sample measured here just now.")
