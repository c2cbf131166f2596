"""``hvnas supernet rank``: whether supernets order networks as their own training does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas._records import csv_text
from hvnas.cli._progress import Steps
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen
from hvnas.cli._signals import until_stopped

if TYPE_CHECKING:
    from hvnas.studies.rank import Interval, Ranked, RankOptions, RankReport


@answers
def run(
    supernets: Annotated[
        list[Path], typer.Argument(metavar="SUPERNET...", help="Folders of hvnas supernet train.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for results; a second call continues.")],
    archs: Annotated[int, typer.Option(help="Networks, spread evenly over the bins.")] = 30,
    bins: Annotated[int, typer.Option(help="Bins of about equal MACs.")] = 3,
    macs: Annotated[
        list[float] | None,
        typer.Option(help="The middle of a bin, in MACs; may be repeated. Default: from random networks."),
    ] = None,
    spread: Annotated[float, typer.Option(help="Half the width of a bin, as a share of its middle.")] = 0.2,
    seeds: Annotated[int, typer.Option(help="Stand-alone trainings of each network.")] = 2,
    recipe: Annotated[str, typer.Option(help="Recipe of those trainings.")] = "brief",
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of those trainings. Default: the recipe's.")
    ] = None,
    train_size: Annotated[
        int | None, typer.Option(help="Their training images. Default: the supernet's.")
    ] = None,
    test_size: Annotated[int | None, typer.Option(help="Their test images. Default: the supernet's.")] = None,
    top: Annotated[int, typer.Option(help="Networks of a bin that a score would choose.")] = 3,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ESTIMATOR", help="An estimator to compare; may be repeated. Default: counts to proxies."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the networks drawn.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: cuda where there is one.")] = None,
) -> Answer:
    """Rank members of a space by inherited weights, and compare with training each by itself.

    Several supernets of one space are ranked side by side, on the same networks.
    """
    from hvnas.studies.rank import RIVALS, RankOptions, facts

    options = RankOptions(
        archs=archs,
        bins=bins,
        centres=tuple(macs) if macs else None,
        spread=spread,
        seeds=seeds,
        seed=seed,
        top=top,
        rivals=tuple(rival) if rival else RIVALS,
        recipe=recipe,
        epochs=epochs,
        train_size=train_size,
        test_size=test_size,
        device=device,
    )
    report = _rank(supernets, out, options)
    return Answer(
        text=lambda screen: show(report, screen),
        data=lambda: facts(report),
        csv=lambda: csv_text(map(_line, report.ranked)),
    )


def _line(ranked: Ranked) -> dict[str, Any]:
    """A score's rank correlations with the networks' own training, and its regret in points."""
    line: dict[str, Any] = {"score": ranked.name}
    for name in ("tau", "tau_within", "rho", "rho_within"):
        of = getattr(ranked, name)
        line |= {name: of.value, f"{name}_low": of.low, f"{name}_high": of.high}
    return line | {"regret": ranked.regret}


def _rank(supernets: list[Path], out: Path, options: RankOptions) -> RankReport:
    from hvnas.studies.rank import rank

    def job(stop: Callable[[], bool]) -> RankReport | None:
        with Steps("steps") as steps:
            return rank(
                supernets,
                out=out,
                options=options,
                progress=lambda done, total, doing: steps.at(done, doing, total=total),
                stop=stop,
            )

    return until_stopped(job, again=f"continue with the same command and --out {out}")


def show(report: RankReport, screen: Screen) -> None:
    """Print what was found."""
    subject = report.subject
    screen.heading("Networks")
    screen.table(
        (">MACs (M)", ">networks", ">lowest top-1", ">median", ">highest"),
        [
            (f"{centre / 1e6:.2f}", len(top1), *(numbers.points(v) for v in _spread(top1)))
            for k, centre in enumerate(subject.centres)
            for top1 in [sorted(subject.mean[subject.bins == k].tolist())]
        ],
    )
    screen.heading("Order, with 5 and 95 % quantiles over networks drawn again")
    screen.table(
        ("score", ">tau", ">tau in bins", ">rho", ">rho in bins", f">regret of {report.top}"),
        [
            *(
                (
                    entry.name,
                    *map(_interval, (entry.tau, entry.tau_within, entry.rho, entry.rho_within)),
                    numbers.points(entry.regret),
                )
                for entry in report.ranked
            ),
            (
                "another seed",
                _interval(report.ceiling),
                _interval(report.ceiling_within),
                None,
                None,
                None,
            ),
        ],
    )
    screen.line()
    for name in report.supernets:
        verdict = "orders" if report.holds(name) else "does not surely order"
        screen.line(f"{name} {verdict} networks of one size at least half as well as another seed does")


def _spread(top1: list[float]) -> tuple[float, float, float]:
    return top1[0], top1[len(top1) // 2], top1[-1]


def _interval(of: Interval) -> str:
    return f"{of.value:.2f} [{of.low:.2f}, {of.high:.2f}]"
