"""``hvnas accuracy proxies``: scores of untrained networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._names import MOST_SEED
from hvnas._records import Column, Table, csv_text
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    from hvnas.accuracy.proxies.estimators import ProxyColumn

EXAMPLE = "hvnas accuracy proxies mobilevit_xxs efficientvit_b0 --proxy free"


@answers
def run(
    archs: Annotated[list[str], typer.Argument(metavar="ARCH", help="Models by name, or YAML files.")],
    proxy: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A proxy; repeat it for several. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and images.", min=0, max=MOST_SEED)] = 0,
) -> Answer:
    """Score untrained networks with zero-cost proxies.

    Higher is better; the scores are not points of top-1, and those of different proxies do not compare. The
    place is among the networks given. A score that cannot be computed comes last.
    """
    from hvnas.accuracy.proxies.estimators import score_table
    from hvnas.arch import load_arch

    networks = [load_arch(name) for name in archs]
    names = [network.name for network in networks]
    table = score_table(networks, proxies=proxy, seed=seed)
    scores = list(_scores(names, table))

    def text(screen: Screen) -> None:
        screen.show(Table.of(_columns(len(names)), scores))
        failed = sum(column.failed for column in table)
        if failed:
            screen.line(f"{failed} of {len(scores)} scores could not be computed; they come last.")
        screen.line(f"Higher is better; weights and images are drawn from seed {seed}.")

    return Answer(
        text=text, data=lambda: _to_json(names, table, seed), csv=lambda: csv_text(map(asdict, scores))
    )


@dataclass(frozen=True)
class _Score:
    """One network's by one proxy; `score` is None where it could not be computed."""

    proxy: str
    network: str
    score: float | None
    place: int
    seconds: float


def _scores(names: Sequence[str], table: Sequence[ProxyColumn]) -> Iterator[_Score]:
    for column in table:
        for name, score, place, seconds in zip(
            names, column.scores.tolist(), column.places, column.seconds.tolist(), strict=True
        ):
            yield _Score(column.proxy, name, score if math.isfinite(score) else None, place, seconds)


def _columns(networks: int) -> tuple[Column[_Score], ...]:
    return (
        Column("proxy", "proxy"),
        Column("network", "network"),
        Column(">score", "score", "{:.6g}".format),
        Column(">place", "place", lambda place: f"{place} of {networks}"),
        Column(">seconds", "seconds", "{:.3f}".format),
    )


def _to_json(names: Sequence[str], table: Sequence[ProxyColumn], seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "networks": list(names),
        "proxies": {
            column.proxy: {
                "scores": column.scores.tolist(),
                "places": column.places,
                "failed": column.failed,
                "seconds": [round(value, 4) for value in column.seconds.tolist()],
            }
            for column in table
        },
    }
