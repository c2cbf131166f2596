"""``hvnas compare``: the fronts of several runs side by side."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas import _numbers as numbers
from hvnas._records import Column, Table
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, written, written_answer

if TYPE_CHECKING:
    from hvnas.report import Comparison, Measures, Run

EXAMPLE = "hvnas compare runs/phone runs/phone-2 --out fronts.html"


@answers
def run(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of hvnas search.")],
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
    from hvnas.report.tables import run_columns

    first = found.runs[0]
    of_run = run_columns(found.runs)
    told = [of_run[name] for name in ("run", "strategy", ">seed", ">evaluated", ">s")]
    told += [of_run[name] for name in (">front", ">files", ">guesses")]
    what = first.objectives[0]
    # Accuracy and latency are told of every best network.
    if what.metric not in ("top1", "latency_ms"):
        told.append(
            Column(f">best {what}", lambda each: f"{what.sign * each.run.costs[each.run.best, 0]:.6g}")
        )
    told += [column for name, column in of_run.items() if name.startswith(">best")]
    told.append(Column(">ms", lambda each: numbers.ms(float(each.run.ms[each.run.best]))))
    told.append(Column(">5–95 %", lambda each: _interval(each.run)))
    screen.heading("Searches, and the best network of each")
    screen.show(Table.of(told, found.measures))
    for run in found.runs:
        for line in run_lines(run):
            screen.line(f"  {run.name}: {line}")


def _interval(run: Run) -> str:
    return numbers.interval(float(run.low[run.best]), float(run.high[run.best]))


def _print_fronts(screen: Screen, found: Comparison) -> None:
    from hvnas.report.panels import volume_unit
    from hvnas.report.tables import coverage_table, shares_table

    for table in (shares_table(found, unit=volume_unit(found.runs[0])), coverage_table(found)):
        screen.heading(table.title)
        screen.show(table)


def _print_fixed_points(screen: Screen, found: Comparison) -> None:
    from hvnas.report.tables import model_columns, nearest_models

    if found.no_fixed_points is not None:
        screen.line()
        screen.line(f"The papers' models are left out: {found.no_fixed_points}.")
        return
    shown, title = nearest_models(found)
    screen.heading(f"{title}, of {len(found.fixed_points)} in the spaces")
    screen.show(Table.of([*model_columns(found), *map(_against, found.measures)], shown))


def _against(each: Measures) -> Column[int]:
    """How a run's front stands to the papers' models."""

    def said(i: int) -> str | None:
        return "dominated" if each.dominates[i] else "on its front" if each.holds[i] else None

    return Column(each.run.name, said)
