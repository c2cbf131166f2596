"""``hvnas latency export-suite``: the models to time on a device of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas.cli._progress import Steps
from hvnas.cli._screen import JsonOption, Screen, print_json

if TYPE_CHECKING:
    from hvnas.latency.remote.suite import Exported, Suite

EXAMPLE = "hvnas latency export-suite --space hybrid-mobile --format onnx --out suite"


def run(
    space: Annotated[str, typer.Option(metavar="NAME|FILE", help="The search space: see hvnas spaces.")],
    format_: Annotated[
        str, typer.Option("--format", metavar="coreml|onnx|tflite", help="What the device's runtime reads.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; run again to continue.")],
    networks: Annotated[int, typer.Option(help="Number of random networks, of 0.1 to 3 GMACs.")] = 40,
    blocks: Annotated[int, typer.Option(help="Number of blocks, two models each; 0 for none.")] = 100,
    depth: Annotated[int, typer.Option(help="Copies of a block in the larger of its models, >= 3.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the networks drawn and of the weights.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write models to time on a device, with instructions.

    Fixed points of the space of at most 5 GMACs, random networks, and blocks that cover the space. The
    README.md in the folder says which tool to run on the device and how its results become a device here.
    Run again after a stop, it continues where it was.
    """
    from hvnas.latency.remote.suite import export_suite, plan_suite
    from hvnas.space import load_space

    suite = plan_suite(
        load_space(space), format=format_, networks=networks, blocks=blocks, depth=depth, seed=seed
    )
    with Steps("models", len(suite.entries)) as steps:
        done = export_suite(suite, out, on_step=steps.at)
    if as_json:
        print_json(_facts(suite, done, out))
    else:
        _print(Screen(), suite, done, out)


def _facts(suite: Suite, done: Exported, out: Path) -> dict[str, Any]:
    return {
        "folder": str(out),
        **asdict(suite.settings),
        "models": len(suite.entries),
        "written": done.written,
        "kept": done.kept,
        "uncovered": list(suite.uncovered),
    }


def _print(screen: Screen, suite: Suite, done: Exported, out: Path) -> None:
    kinds = [entry.kind for entry in suite.entries]
    kept = f", {done.kept} of them already written" if done.kept else ""
    screen.line(f"{out}: {kinds.count('model')} networks and {kinds.count('block')} block models{kept}")
    if suite.uncovered:
        shown = "; ".join(suite.uncovered[:3])
        screen.line(
            f"{suite.settings.blocks} blocks leave out {len(suite.uncovered)} of the values that were to be "
            f"covered ({shown}, ...): ask for more with --blocks"
        )
    screen.line(f"Next: {out / 'README.md'}")
