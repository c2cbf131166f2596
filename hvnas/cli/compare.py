"""``hvnas compare``: the fronts of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas import _numbers as numbers
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, written, written_answer

if TYPE_CHECKING:
    from hvnas.report import Comparison, Measures, Run

# Of the papers' models within the limits, the best by the first objective.
_MODELS = 12


@answers
def run(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of hvnas search.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE", help="Write figures and a table: a folder, or .html, .png, .svg or .csv."
        ),
    ] = None,
) -> Answer:
    """Compare the Pareto fronts of several runs.

    The runs must agree in objectives, devices, estimator, recipe and scenario; spaces, strategies, seeds,
    budgets and evaluations may differ.
    """
    from hvnas.report import check_out, compare_folders, to_csv, to_json, write_comparison

    if out is not None:
        check_out(out)
    found = compare_folders(runs)
    return written_answer(
        written(out, partial(write_comparison, found)),
        text=lambda screen: _print(screen, found),
        data=lambda: to_json(found),
        csv=lambda: to_csv(found),
    )


def _print(screen: Screen, found: Comparison) -> None:
    config = found.runs[0].config
    screen.line(f"{len(found.runs)} runs: {' against '.join(config.objectives)}", style="bold")
    screen.fields(
        [
            ("device", ", ".join(config.device)),
            ("accuracy", f"{config.estimator}, trained as {config.recipe}, {config.scenario}"),
            ("reference", _reference(found)),
            *(("note", difference) for difference in found.differences),
            *(("note", note) for note in _notes(found)),
        ]
    )
    _print_runs(screen, found)
    _print_fronts(screen, found)
    _print_coverage(screen, found)
    _print_fixed_points(screen, found)


def _reference(found: Comparison) -> str:
    return "; ".join(f"{c.objective} {c.value:.6g} ({c.why})" for c in found.reference)


def _notes(found: Comparison) -> list[str]:
    notes = [f"{run.name} was stopped before its end" for run in found.runs if run.stopped]
    if found.limit_ms < float("inf"):
        notes.append(f"compared are networks up to {found.limit_ms:.3f} ms, which every run was allowed")
    return notes


def _print_runs(screen: Screen, found: Comparison) -> None:
    from hvnas.report.runs import run_lines
    from hvnas.report.tables import COUNTS

    first = found.runs[0]
    what = first.objectives[0]
    # Accuracy and latency are told of every best network.
    best = () if what.metric in ("top1", "latency_ms") else (f">best {what}",)
    accuracy = ">best score" if first.unit == "score" else ">best top-1"
    screen.heading("Searches, and the best network of each")
    screen.table(
        ("run", "strategy", ">seed", ">evaluated", ">s", *COUNTS, *best, accuracy, ">ms", ">5–95 %"),
        [_run_cells(run, with_objective=bool(best)) for run in found.runs],
    )
    for run in found.runs:
        for line in run_lines(run):
            screen.line(f"  {run.name}: {line}")


def _run_cells(run: Run, *, with_objective: bool) -> tuple[object, ...]:
    from hvnas.search.evaluations import guesses

    i = run.best
    objective = f"{run.objectives[0].sign * run.costs[i, 0]:.6g}"
    return (
        run.name,
        run.config.strategy,
        run.config.seed,
        f"{run.evaluated:,}" + (" (stopped)" if run.stopped else ""),
        numbers.seconds(run.seconds),
        len(run.members),
        int(run.written.sum()),
        int(guesses(run.sd).sum()),
        *((objective,) if with_objective else ()),
        numbers.accuracy(float(run.top1[i]), float(run.sd[i]), unit=run.unit),
        numbers.ms(float(run.ms[i])),
        numbers.interval(float(run.low[i]), float(run.high[i])),
    )


def _print_fronts(screen: Screen, found: Comparison) -> None:
    from hvnas.report.panels import volume_unit

    unit = volume_unit(found.runs[0])
    screen.heading(
        f"Fronts; that of all together has {found.union_size} networks "
        f"and a hypervolume of {found.union_hypervolume:.6g} {unit}"
    )
    screen.table(
        ("run", ">compared", f">hypervolume {unit}", ">of all's", ">of all's networks", ">models dominated"),
        [_front_cells(each, models=len(found.fixed_points)) for each in found.measures],
    )


def _front_cells(each: Measures, *, models: int) -> tuple[object, ...]:
    return (
        each.run.name,
        each.members,
        f"{each.hypervolume:.6g}",
        _share(each.relative, digits=2),
        _share(each.union_share),
        f"{each.dominates.sum()} of {models}" if models else None,
    )


def _share(share: float, *, digits: int = 1) -> str | None:
    return f"{100 * share:.{digits}f} %" if share == share else None


def _print_coverage(screen: Screen, found: Comparison) -> None:
    screen.heading("Coverage: the share of a column's front that the row's front dominates or equals")
    names = [run.name for run in found.runs]
    screen.table(
        ("run", *(f">{name}" for name in names)),
        [
            (name, *(None if i == k else _share(share) for k, share in enumerate(each.coverage)))
            for i, (name, each) in enumerate(zip(names, found.measures, strict=True))
        ],
    )


def _print_fixed_points(screen: Screen, found: Comparison) -> None:
    if found.no_fixed_points is not None:
        screen.line()
        screen.line(f"The papers' models are left out: {found.no_fixed_points}.")
        return
    feasible = [i for i, point in enumerate(found.fixed_points) if point.feasible]
    feasible.sort(key=lambda i: float(found.fixed_points[i].costs[0]))
    shown = feasible[:_MODELS]
    screen.heading(
        f"Models of papers within the limits: {len(shown)} of {len(feasible)}, "
        f"of {len(found.fixed_points)} in the spaces"
    )
    names = [run.name for run in found.runs]
    accuracy = ">score" if found.runs[0].unit == "score" else ">top-1"
    screen.table(("model", ">ms", accuracy, *names), [_model_cells(found, i) for i in shown])


def _model_cells(found: Comparison, i: int) -> Sequence[object]:
    point = found.fixed_points[i]
    said = ["dominated" if m.dominates[i] else "on its front" if m.holds[i] else None for m in found.measures]
    accuracy = numbers.accuracy(point.top1, point.sd, unit=found.runs[0].unit)
    return point.name, numbers.ms(point.ms), accuracy, *said
