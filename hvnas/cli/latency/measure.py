"""``hvnas latency measure``: a latency table of this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli._progress import Steps
from hvnas.cli._screen import JsonOption, Screen, print_json
from hvnas.cli.latency.plan import BACKEND, BLOCKS, NETWORKS, OPS, RESOLUTION, SEED, SPACE, THREADS, planned

if TYPE_CHECKING:
    from hvnas.latency.measure.table import Built

EXAMPLE = "hvnas latency measure --space hybrid-mobile --out my-cpu"


def run(
    out: Annotated[
        Path, typer.Option(rich_help_panel="Output", metavar="NAME[.yaml]", help="The device file to write.")
    ],
    space: SPACE = "hybrid-mobile",
    resolution: RESOLUTION = None,
    backend: BACKEND = "torch-cpu",
    threads: THREADS = 1,
    ops: OPS = 12000,
    blocks: BLOCKS = None,
    networks: NETWORKS = 100,
    seed: SEED = 0,
    noise: Annotated[
        float,
        typer.Option(
            rich_help_panel="Measuring",
            min=0.01,
            max=1.0,
            help="Rows whose rounds differ by more than this are not used.",
        ),
    ] = 0.25,
    as_json: JsonOption = False,
) -> None:
    """Measure a latency table of this host.

    The table is of networks as large as those of the space at that resolution, and knows little of others.
    Stopped at any time, the same command continues; what is measured by then can be loaded.
    """
    from hvnas.latency.measure.run import count_steps
    from hvnas.latency.measure.table import build_table

    path = _target(out)
    timer, plan = planned(
        space,
        backend,
        threads,
        resolution=resolution,
        ops=ops,
        blocks=blocks,
        networks=networks,
        seed=seed,
    )
    with Steps("steps", count_steps(plan)) as steps:
        built = build_table(plan, timer, path, bound=noise, on_step=steps.at)
    if as_json:
        print_json({"device": str(built.path), **built.report})
    else:
        _print(Screen(), built)


def _target(out: Path) -> Path:
    from hvnas._files import check_parent

    path = out if out.suffix in (".yaml", ".yml") else out.with_name(out.name + ".yaml")
    check_parent(path)
    return path


def _print(screen: Screen, built: Built) -> None:
    rows, errors = built.report["rows"], built.report["network_left_out"]
    screen.line(
        f"{built.path}: {rows['ops']:,} ops ({rows['noisy']:,} too noisy to use), {rows['blocks']} blocks, "
        f"{rows['networks']} networks"
    )
    screen.fields(
        [
            ("error", f"{errors['mape']:.1f} % mean over networks left out of the fit, one at a time"),
            ("", f"{errors['within_10']:.0f} % within ±10 %, Kendall tau {errors['kendall_tau']}"),
        ]
    )
    groups: dict[str, Any] = built.report["op_left_out"]
    worst = sorted(groups.items(), key=lambda item: -item[1])[:3]
    listed = ", ".join(f"{name} {error:.0f} %" for name, error in worst)
    screen.line(
        f"Ops that were not measured are interpolated; left out, the worst groups are off by {listed}."
    )
    screen.line(f"Next: hvnas latency validate --device {built.path}")
