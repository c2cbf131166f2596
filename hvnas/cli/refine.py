"""``hvnas refine``: the best networks of a search timed on a device elsewhere, and chosen by those times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hvnas.cli._failure import Failure
from hvnas.cli._progress import Steps
from hvnas.cli._request import SearchDir
from hvnas.cli._screen import JsonOption, Screen, print_json
from hvnas.cli._searching import run_search

if TYPE_CHECKING:
    from hvnas.latency.remote.suite import Exported
    from hvnas.search import SearchResult
    from hvnas.search.timed import TimedFront

Unit = Literal["us", "ms", "s"] | None

EXAMPLE = "hvnas refine runs/phone --out to-time"


def run(
    folder: SearchDir,
    out: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel="Output", metavar="DIR", help="The folder of models to write. Default: DIR-suite."
        ),
    ] = None,
    networks: Annotated[
        int, typer.Option(rich_help_panel="Networks", min=1, help="How many networks to time.")
    ] = 20,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            rich_help_panel="Networks",
            metavar="FORMAT",
            help="onnx, coreml or tflite. Default: what the device's runtime reads.",
        ),
    ] = None,
    measurements: Annotated[
        list[Path] | None,
        typer.Option(
            rich_help_panel="Measuring",
            metavar="FILE",
            help="A CSV of measured times, as hvnas latency import writes; may be repeated.",
        ),
    ] = None,
    force_protocol: Annotated[
        bool,
        typer.Option(
            "--force-protocol",
            rich_help_panel="Measuring",
            help="Accept another compute unit, precision, batch or threads than the device's.",
        ),
    ] = False,
    unit: Annotated[
        Unit,
        typer.Option(
            rich_help_panel="Measuring",
            help="Unit of the times. Default: ms; refused where the device would be implausible then.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose the best network of a search by times measured on the device.

    Without --measurements it writes the most promising networks of the front as models to time, with
    instructions. With them, it orders the front by what was measured, corrects what was not, and says which
    network keeps the budget; exits with 3 where none of those timed does. May be repeated: times add up.
    """
    from hvnas.latency.remote.suite import check_format
    from hvnas.search import resume
    from hvnas.search.runs.folder import BEST, SearchFolder

    if format_ is not None:
        check_format(format_)
    if SearchFolder(folder).config and not (folder / BEST).is_file():
        raise Failure(f"{folder}: its search has not ended; hvnas resume {folder} ends it")
    if measurements:
        _take(folder, measurements, unit, force_protocol=force_protocol)
        run_search(
            lambda watcher, stop: resume(folder, progress=watcher, stop=stop), folder=folder, as_json=as_json
        )
    elif unit is not None or force_protocol:
        given = "--unit" if unit is not None else "--force-protocol"
        raise Failure(f"{given} is for what was measured: give --measurements FILE as well, or leave it out")
    else:
        _write(folder, resume(folder), out, networks=networks, format_=format_, as_json=as_json)


def _take(folder: Path, files: list[Path], unit: Unit, *, force_protocol: bool) -> None:
    """Keep measured times in the folder of the run. Raises ValueError before anything is kept."""
    from hvnas.latency import load_device
    from hvnas.latency.calibration.recalibrate import check_protocol, check_unit, in_milliseconds
    from hvnas.latency.remote.measurements import read_models
    from hvnas.search.making import problem_of
    from hvnas.search.runs.folder import SearchFolder
    from hvnas.search.timed import check_timed, known_timings

    run = SearchFolder(folder)
    device, problem = load_device(run.config.device[0]), problem_of(run.config)
    check_timed(problem)
    found = [(path, model) for path in files for model in in_milliseconds(read_models(path), unit or "ms")]
    for path, model in found:
        try:
            if not force_protocol:
                check_protocol(device, model.row)
        except ValueError as error:
            raise Failure(f"{path}: {error}, or give --force-protocol") from None
        try:
            if unit is None:
                check_unit(device, [model])
        except ValueError as error:
            raise Failure(f"{path}: {model.name}: {error}") from None
        known_timings(problem, [model], path)
    with run.locked():
        run.add_measurements([(model.arch, model.row) for _, model in found])


def _write(
    folder: Path, result: SearchResult, out: Path | None, *, networks: int, format_: str | None, as_json: bool
) -> None:
    """The suite of the most promising networks."""
    from hvnas.latency.remote.suite import export_suite, plan_networks
    from hvnas.search.timed import TimedFront, check_timed
    from hvnas.space import Space

    front = result.timed
    if front is None:
        check_timed(result.problem)
        front = TimedFront.of(result.problem, result.archive, {})
    space = result.problem.space
    assert isinstance(space, Space)
    suite = plan_networks(
        [space.decode(front.rows[place]) for place in front.spread(networks)],
        run=str(folder),
        space=space,
        format=format_ or _usual_format(front),
    )
    target = out or folder.with_name(f"{folder.resolve().name}-suite")
    with Steps("models", len(suite.entries)) as steps:
        done = export_suite(suite, target, on_step=steps.at)
    _told(folder, target, len(suite.entries), done, as_json=as_json)


def _usual_format(front: TimedFront) -> str:
    """Core ML for devices that were timed with it, else ONNX."""
    runtime = front.device.info.runtime.casefold().replace(" ", "")
    return "coreml" if "coreml" in runtime else "onnx"


def _told(folder: Path, target: Path, models: int, done: Exported, *, as_json: bool) -> None:
    following = f"hvnas refine {folder} --measurements {target / 'measurements.csv'}"
    if as_json:
        facts = {"folder": str(target), "networks": models, "written": done.written, "kept": done.kept}
        print_json({**facts, "next": following})
        return
    screen = Screen()
    kept = f", {done.kept} of them already written" if done.kept else ""
    screen.line(f"{target}: {models} networks of {folder} to time{kept}")
    screen.line(f"Next: {target / 'README.md'}, then {following}")
