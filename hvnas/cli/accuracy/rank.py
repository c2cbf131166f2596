"""``hvnas accuracy rank``: layouts of one size in order, each rank with its probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas._numbers import chance, points
from hvnas._records import Column, Table, csv_of
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLE = "hvnas accuracy rank poolformer_s12 poolformer_s12_pppf"


@answers
def run(
    archs: Annotated[list[str], typer.Argument(metavar="ARCH", help="Models by name, or YAML files.")],
    recipe: Annotated[str, typer.Option(help="How the networks are trained.")] = "modern300",
    scenario: Annotated[str, typer.Option(help="imagenet1k or large-data.")] = "imagenet1k",
) -> Answer:
    """Rank layouts whose params and MACs agree within 5 %.

    The probability of a place covers what the published results leave open.
    """
    from hvnas.accuracy import Surrogate, load_estimator
    from hvnas.accuracy.surrogate.surrogate import rank_probabilities
    from hvnas.arch import load_arch

    surrogate = load_estimator("surrogate")
    assert isinstance(surrogate, Surrogate)
    networks = [load_arch(name) for name in archs]
    found = rank_probabilities(networks, surrogate, recipe=recipe, scenario=scenario)
    assumed = surrogate.assumptions(networks)
    ranked = [
        _Ranked(
            place=place + 1,
            network=networks[i].name,
            probabilities=found.probabilities[i],
            top1=float(found.mean[i]),
            top1_sd=float(found.sd[i]),
        )
        for place, i in enumerate(found.order)
    ]

    def text(screen: Screen) -> None:
        screen.line(f"recipe {recipe}, scenario {scenario}")
        screen.show(Table.of(_COLUMNS, ranked))
        for sentence in assumed:
            screen.line(sentence)

    return Answer(
        text=text,
        data=lambda: {
            "recipe": recipe,
            "scenario": scenario,
            "order": [each.network for each in ranked],
            "probabilities": {each.network: each.probabilities.round(4).tolist() for each in ranked},
            "top1": {each.network: round(each.top1, 2) for each in ranked},
            "top1_sd": {each.network: round(each.top1_sd, 2) for each in ranked},
            "assumed": list(assumed),
        },
        csv=lambda: csv_of((*_COLUMNS[:-1], Column(">top1", "top1"), Column(">top1_sd", "top1_sd")), ranked),
    )


@dataclass(frozen=True, kw_only=True)
class _Ranked:
    """A network and the chance of each place, the first one's first."""

    place: int
    network: str
    probabilities: NDArray[np.float64]
    top1: float
    top1_sd: float


_COLUMNS: tuple[Column[_Ranked], ...] = (
    Column(">place", "place"),
    Column("network", "network"),
    Column(">probability", lambda each: float(each.probabilities[each.place - 1]), chance),
    Column(">first", lambda each: float(each.probabilities[0]), chance),
    Column(">top-1", lambda each: points(each.top1, each.top1_sd)),
)
