"""``hvnas supernet rank``: whether supernets order networks as their own training does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas import _numbers as numbers
from hvnas._records import csv_text
from hvnas._request import Option, Request
from hvnas.cli._progress import in_steps
from hvnas.cli._request import answers, takes
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    from hvnas.studies.alone import Interval
    from hvnas.studies.rank import Ranked, RankOptions, RankReport

EXAMPLE = "hvnas supernet rank supernet --archs 30 --seeds 2 --out ranks"


@dataclass(frozen=True, kw_only=True)
class RankRequest(Request):
    """What is asked of a ranking; see `hvnas.studies.rank.RankOptions`, which checks it."""

    supernets: Annotated[
        tuple[Path, ...],
        Option(argument=True, metavar="SUPERNET", help="Folders of hvnas supernet train."),
    ]
    archs: Annotated[int, Option(group="Networks", help="Networks, spread evenly over the bins.")] = 30
    bins: Annotated[int, Option(group="Networks", help="Bins of about equal MACs.")] = 3
    centres: Annotated[
        tuple[float, ...],
        Option(
            name="macs",
            group="Networks",
            metavar="MACS",
            help="The middle of a bin, in MACs; may be repeated. Default: from random networks.",
        ),
    ] = ()
    spread: Annotated[
        float, Option(group="Networks", help="Half the width of a bin, as a share of its middle.")
    ] = 0.2
    seed: Annotated[int, Option(group="Networks", help="Seed of the networks drawn.")] = 0
    seeds: Annotated[int, Option(group="Training", help="Stand-alone trainings of each network.")] = 2
    recipe: Annotated[str, Option(group="Training", help="Recipe of those trainings.")] = "brief"
    epochs: Annotated[
        int | None, Option(group="Training", help="Epochs of those trainings. Default: the recipe's.")
    ] = None
    train_size: Annotated[
        int | None, Option(group="Training", help="Their training images. Default: the supernet's.")
    ] = None
    test_size: Annotated[
        int | None, Option(group="Training", help="Their test images. Default: the supernet's.")
    ] = None
    device: Annotated[
        str | None, Option(group="Training", help="cpu or cuda. Default: cuda where there is one.")
    ] = None
    top: Annotated[int, Option(group="Comparison", help="Networks of a bin that a score would choose.")] = 3
    rivals: Annotated[
        tuple[str, ...],
        Option(
            name="rival",
            group="Comparison",
            metavar="ESTIMATOR",
            help="An estimator to compare; may be repeated. Default: counts to proxies.",
        ),
    ] = ()


@takes(RankRequest)
@answers
def run(
    request: RankRequest,
    *,
    out: Annotated[
        Path,
        typer.Option(rich_help_panel="Output", help="The folder for results; a second call continues."),
    ],
) -> Answer:
    """Rank members of a space by inherited weights.

    The ranks are compared with those of training each member by itself.
    Several supernets of one space are ranked side by side, on the same networks.
    """
    from hvnas.studies.rank import RankOptions, facts

    given = request.given - {"supernets"}
    options = RankOptions(**{name: getattr(request, name) for name in given})
    report = _rank(request.supernets, out, options)
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


def _rank(supernets: Sequence[Path], out: Path, options: RankOptions) -> RankReport:
    from hvnas.studies.rank import rank

    return in_steps(
        "steps",
        lambda progress, stop: rank(supernets, out=out, options=options, progress=progress, stop=stop),
        again=f"continue with the same command and --out {out}",
    )


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
