"""``hvnas search``: the best networks within a latency budget on a device."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvnas.cli._failure import Failure
from hvnas.cli._options import RECIPE, given
from hvnas.cli._searching import carry_out

if TYPE_CHECKING:
    from hvnas.cli._progress import Watcher
    from hvnas.search import SearchResult

_RUNS = Path("runs")


def run(
    device: Annotated[
        list[str],
        typer.Option(
            metavar="NAME|FILE", help="The device: see hvnas devices. Several: one front over all of them."
        ),
    ],
    budget_ms: Annotated[
        float | None,
        typer.Option(
            help="The latency in milliseconds that must not be exceeded. Default: the slowest network's."
        ),
    ] = None,
    space: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The networks to choose among: see hvnas spaces.")
    ] = "hybrid-mobile",
    strategy: Annotated[
        str, typer.Option(help="auto picks by what an estimate costs; or a name: a wrong one lists them.")
    ] = "auto",
    estimator: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="What tells accuracy: see hvnas accuracy.")
    ] = "surrogate",
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC",
            help="Traded against each other; the first decides what is best. Default: top1, latency_ms.",
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(metavar="BOUND", help="Such as params<=6e6 or latency@NAME<=20; any number of them."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(help="Classes of the head in all that is counted and written. Default: the space's."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="The training that top-1 is estimated for.")] = RECIPE,
    evals: Annotated[
        int | None, typer.Option(help="How many networks to evaluate. Default: what suits the strategy.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.")] = 0,
    margin: Annotated[
        float | None,
        typer.Option(help="Reserve, as a share of the latency. Default: for a 90 % chance of the budget."),
    ] = None,
    outside: Annotated[
        Literal["forbid", "allow"],
        typer.Option(help="Networks outside the device's gate, of which its model knows less."),
    ] = "forbid",
    throughput: Annotated[
        bool,
        typer.Option("--throughput", help="The budget is ms per image of a batch, as the device's table is."),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where networks are evaluated: here, or on Ray.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(metavar="auto|HOST:PORT", help="The Ray cluster. Default: one for this run.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Trials at once. Default: what Ray has room for.")
    ] = None,
    cpus_per_trial: Annotated[float, typer.Option(help="CPUs that Ray keeps for a trial.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(help="GPUs that Ray keeps for a trial.")] = 0.0,
    max_retries: Annotated[int, typer.Option(help="How often Ray tries a trial that failed again.")] = 2,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="A journal file or database: searches that name the same one share a study.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder to write. Default: a new one in runs/."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, if any.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find networks that meet a latency budget.

    Prints the Pareto front of latency and top-1, the best network stage by stage, the models of papers
    nearest to it, and the files written. Exits with 3 where no network meets the budget.
    """
    from hvnas.search import Engine, search
    from hvnas.search import resume as go_on

    if resume and out is None:
        raise Failure("--resume goes on with the run in a folder: name it with --out")
    folder = out or _new_folder(device[0], budget_ms)
    where = Engine(
        name=engine,
        address=address,
        workers=workers,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        max_retries=max_retries,
        storage=storage,
    )

    def start(watcher: Watcher, stop: Event) -> SearchResult:
        return search(
            space,
            device,
            budget_ms=budget_ms,
            strategy=strategy,
            estimator=estimator,
            objectives=objective or (),
            constraints=constraint or (),
            classes=classes,
            recipe=recipe,
            evals=evals,
            seed=seed,
            margin=margin,
            outside=outside,
            throughput=throughput,
            engine=where,
            out=folder,
            progress=watcher,
            stop=stop,
        )

    def continue_(watcher: Watcher, stop: Event) -> SearchResult:
        return go_on(folder, engine=where, progress=watcher, stop=stop)

    if resume and _holds_run(folder):
        asked = given(evals=evals, margin=margin, outside=outside, recipe=recipe, seed=seed, space=space)
        asked |= given(budget_ms=budget_ms, device=device[0], estimator=estimator, classes=classes)
        if strategy != "auto":
            asked["strategy"] = strategy
        _check_unchanged(folder, asked)
        _check_same_bounds(folder, device, objective or [], constraint or [])
        carry_out(continue_, folder=folder, as_json=as_json)
    else:
        carry_out(start, folder=folder, as_json=as_json)


def _new_folder(device: str, budget_ms: float | None) -> Path:
    """A folder in runs/ that is not there yet, named by device and budget."""
    name = Path(device).stem + ("" if budget_ms is None else f"-{budget_ms:g}ms")
    number = 1
    while (folder := _RUNS / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def _holds_run(folder: Path) -> bool:
    from hvnas.search.folder import CONFIG

    return (folder / CONFIG).is_file()


def _check_unchanged(folder: Path, asked: dict[str, Any]) -> None:
    """Raise ValueError where an option differs from what the run in `folder` was begun with."""
    from hvnas.search.folder import RunFolder

    config = RunFolder(folder).config()
    for name, value in asked.items():
        begun = getattr(config, name)
        if begun not in (value, str(Path(str(value)).resolve())):
            raise ValueError(
                f"{name}: the run in {folder} was begun with {begun}, not {value}; "
                f"give the same options again, or choose another folder"
            )


def _check_same_bounds(
    folder: Path, device: list[str], objectives: list[str], constraints: list[str]
) -> None:
    """Raise ValueError where objectives or constraints mean others than those the run was begun with.

    Each may be written in another way: ``params<=6M`` and ``params<=6e6`` are one. Objectives have an order,
    constraints have none.
    """
    from hvnas.search.folder import RunFolder
    from hvnas.search.making import DeviceSet
    from hvnas.search.objectives import parse_constraint, parse_objective

    if not objectives and not constraints:
        return
    config, devices = RunFolder(folder).config(), DeviceSet(device)
    wanted = [str(devices.settled(parse_objective(text))) for text in objectives]
    kept = [str(devices.settled_constraint(parse_constraint(text))) for text in constraints]
    for name, begun, now in (
        ("objectives", list(config.objectives), wanted),
        ("constraints", sorted(config.constraints), sorted(kept)),
    ):
        if now and now != begun:
            raise ValueError(
                f"{name}: the run in {folder} was begun with {', '.join(begun) or 'none'}, not "
                f"{', '.join(now)}; give the same options again, or choose another folder"
            )
