"""``hvnas accuracy proxies``: scores of untrained networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvnas._names import MOST_SEED
from hvnas.cli._screen import Screen, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hvnas.accuracy.proxies.estimators import ProxyColumn


def run(
    archs: Annotated[list[str], typer.Argument(metavar="ARCH...", help="Models by name, or YAML files.")],
    proxy: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A proxy; repeat it for several. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and images.", min=0, max=MOST_SEED)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score untrained networks with zero-cost proxies.

    Higher is better; the scores are not points of top-1, and those of different proxies do not compare. The
    place is among the networks given. A score that cannot be computed comes last.
    """
    from hvnas.accuracy.proxies.estimators import score_table
    from hvnas.arch import load_arch

    networks = [load_arch(name) for name in archs]
    names = [network.name for network in networks]
    table = score_table(networks, proxies=proxy, seed=seed)
    if as_json:
        print_json(_to_json(names, table, seed))
    else:
        _print(Screen(), names, table, seed)


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


def _print(screen: Screen, names: Sequence[str], table: Sequence[ProxyColumn], seed: int) -> None:
    screen.table(
        ("proxy", "network", ">score", ">place", ">seconds"),
        [
            (column.proxy, name, _shown(score), f"{place} of {len(names)}", f"{seconds:.3f}")
            for column in table
            for name, score, place, seconds in zip(
                names, column.scores.tolist(), column.places, column.seconds.tolist(), strict=True
            )
        ],
    )
    failed = sum(column.failed for column in table)
    if failed:
        screen.line(f"{failed} of {len(table) * len(names)} scores could not be computed; they come last.")
    screen.line(f"Higher is better; weights and images are drawn from seed {seed}.")


def _shown(score: float) -> str | None:
    return f"{score:.6g}" if math.isfinite(score) else None
