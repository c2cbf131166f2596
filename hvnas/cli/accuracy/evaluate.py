"""``hvnas accuracy evaluate``: how far an estimator can be trusted on what it has not seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from hvnas._records import csv_text
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen

EXAMPLE = "hvnas accuracy evaluate --families efficientformer,coatnet"

_SCORES = ("n", "mae", "bias", "rmse", "within", "tau", "rho", "coverage80")


@answers
def run(
    estimator: Annotated[str, typer.Option(help="The estimator to evaluate.")] = "surrogate",
    families: Annotated[
        str, typer.Option(help="all, space (those of the search spaces), or families joined by commas.")
    ] = "all",
) -> Answer:
    """Show an estimator's error on networks that it was not fitted on.

    Published networks are estimated with their family left out, ablations with their study left out.

    Errors are in points of top-1. Intervals in brackets are 5-95 % over families drawn with replacement.
    """
    from hvnas.accuracy.evaluate import GROUPS, evaluate

    report = evaluate(estimator, families if families in GROUPS else families.split(","))
    return Answer(
        text=lambda screen: _print(screen, report),
        data=lambda: report,
        csv=lambda: csv_text(_lines(report)),
    )


def _lines(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each part of the evidence, each family and each band."""
    parts = {"all": {"": report["overall"]}, "family": report["families"], "band": report["bands"]}
    for part, rows in parts.items():
        for name, row in rows.items():
            scores = {key: value for key, value in row.items() if not isinstance(value, (dict, list))}
            yield {"part": part, "name": name, **scores}


def _print(screen: Screen, report: Mapping[str, Any]) -> None:
    overall = report["overall"]
    screen.line(f"{report['estimator']}: each family left out in turn, {overall['n']} published results")
    screen.fields(
        (
            ("mean absolute error", _between(overall, "mae")),
            ("within a family", overall["within"]),
            ("bias", overall["bias"]),
            ("root mean square", overall["rmse"]),
            ("Kendall tau", _between(overall, "tau")),
            ("Spearman rho", overall["rho"]),
            ("80 % intervals cover", _between(overall, "coverage80")),
        )
    )
    screen.heading("Counts on the same networks")
    rows = [(name, _between(row, "tau"), row["rho"]) for name, row in report["baselines"].items()]
    screen.table(("count", "Kendall tau", ">Spearman rho"), rows)
    screen.heading("Families")
    screen.table(("family", *(f">{name}" for name in _SCORES)), _scored(report["families"]))
    screen.heading("Bands of about equal MACs")
    counts = list(report["baselines"])
    screen.table(
        ("band", ">n", ">mae", ">tau", *(f">tau {name}" for name in counts)),
        [
            (band, row["n"], row["mae"], row["tau"], *(row["baselines"][name] for name in counts))
            for band, row in report["bands"].items()
        ],
    )
    _print_ablations(screen, report["ablations"])


def _print_ablations(screen: Screen, found: Mapping[str, Any]) -> None:
    screen.heading("Ablations of more than half a point, each study left out in turn")
    seen = found["seen"]
    screen.line(
        f"  {seen['right']} of {seen['n']} signs right where a feature tells the networks apart, "
        f"{found['right']} of {found['n']} in all"
    )
    groups = {name.replace("_", " "): row for name, row in found["contrasts"].items() if row["n"]}
    screen.table(
        ("what the pair varies", ">pairs", ">signs right", ">half to double the size", ">mean error"),
        [(name, row["n"], row["right"], row["near"], row["mae"]) for name, row in groups.items()],
    )
    rows = [row for row in found["rows"] if row["right"] is not None]
    screen.table(
        ("study", "variant", ">published", ">estimated", "sign", "no feature sees it, since"),
        [
            (
                row["study"],
                _short(row["variant"]),
                row["published"],
                row["estimated"],
                "right" if row["right"] else "wrong",
                row["blind"],
            )
            for row in rows
        ],
    )


def _short(network: str) -> str:
    """A network without its longest changes."""
    return network if len(network) <= 44 else f"{network[:43]}…"


def _scored(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(name, *(row[score] for score in _SCORES)) for name, row in rows.items()]


def _between(row: Mapping[str, Any], name: str) -> str | None:
    if row[name] is None:
        return None
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
