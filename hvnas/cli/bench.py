"""``hvnas bench``: strategies on a table of published results, against the best that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._records import Column, Table, csv_text
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    from hvnas.studies.bench import Bench, Outcome

EXAMPLE = "hvnas bench nas-bench-macro_cifar10.json --strategy tpe --evals 50"


@answers
def run(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            help="A CSV with a column for each choice, and top1; or JSON, keys to {test_acc: [top-1, …]}.",
        ),
    ],
    strategy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A strategy; may be repeated. Default: auto and random."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="The space whose networks the table holds. Default: strategies know its columns alone.",
        ),
    ] = None,
    value: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Where top-1 stands. Default: top1, or acc1, acc2, …")
    ] = None,
    evals: Annotated[int, typer.Option(help="Networks evaluated in each run.")] = 100,
    seeds: Annotated[int, typer.Option(help="Runs of each strategy, with different seeds.")] = 5,
    target: Annotated[float, typer.Option(help="Points below the best that are to be reached.")] = 0.3,
) -> Answer:
    """Run strategies on a table of published results.

    Shows the regret: by how many points the best network that was found falls short of the best of the table.
    Strategies are told what they would be told of an estimator that takes minutes.
    """
    from hvnas.studies.bench import bench

    steps = Screen(errors=True)
    found = bench(
        table,
        strategy or ("auto", "random"),
        space=space,
        value=value,
        evals=evals,
        seeds=seeds,
        target=target,
        on_strategy=lambda name: steps.remark(f"{name}: {seeds} runs"),
    )
    return Answer(
        text=lambda screen: _print(screen, found),
        data=lambda: _to_json(found),
        csv=lambda: csv_text(line for each in found.outcomes for line in _lines(each)),
    )


def _print(screen: Screen, found: Bench) -> None:
    shown = f"{found.target:g}"
    known = f"as {found.space}" if found.space else "by its columns"
    screen.line(f"{found.table.path.name}: {len(found.table):,} networks, searched {known}", style="bold")
    screen.fields(
        [
            ("best top-1", f"{found.best:.2f}"),
            ("sd of a mean", f"{found.table.sd:.2f}"),
            (f"to {shown} points", f"{found.random:.0f} random networks (median)"),
        ]
    )
    steps = list(found.outcomes[0].regret)
    columns: list[Column[Outcome]] = [Column("strategy", "strategy"), Column(">runs", "runs")]
    columns += [Column(f">after {n}", _regret(n)) for n in steps]
    columns += [
        Column(f">to {shown}", "needed", "{:g}".format),
        Column(">seconds", "seconds", "{:.1f}".format),
    ]
    screen.heading("Median regret in points, with quartiles, and evaluations that bring it to the target")
    screen.show(Table.of(columns, found.outcomes))


def _regret(n: int) -> Any:
    return lambda each: f"{each.regret[n]:.2f} ({each.low[n]:.2f}–{each.high[n]:.2f})"


def _lines(each: Outcome) -> list[dict[str, Any]]:
    """A line for each number of evaluations."""
    return [
        {
            "strategy": each.strategy,
            "runs": each.runs,
            "evaluations": n,
            "regret": regret,
            "low": each.low[n],
            "high": each.high[n],
            "needed": "" if each.needed is None else each.needed,
            "seconds": each.seconds,
        }
        for n, regret in each.regret.items()
    ]


def _to_json(found: Bench) -> dict[str, Any]:
    return {
        "table": str(found.table.path),
        "networks": len(found.table),
        "space": found.space,
        "best": found.best,
        "sd": found.table.sd,
        "target": found.target,
        "random_needed": found.random,
        "evals": found.evals,
        "strategies": [vars(each) for each in found.outcomes],
    }
