"""``hvnas rediscover``: whether a search that never saw a family comes to that family's layouts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas.cli._failure import Failure
from hvnas.cli._rediscover import print_ranks, print_searches, print_slimmed
from hvnas.cli._request import answers
from hvnas.cli._screen import Answer, Screen, written, written_answer

if TYPE_CHECKING:
    from hvnas.accuracy.trained.inherited import InheritedEstimator
    from hvnas.studies.rediscovery.coatnet import LayoutRanks
    from hvnas.studies.rediscovery.efficientformer import Rediscovery
    from hvnas.studies.rediscovery.slimmed import WithSupernet

EXAMPLE = "hvnas rediscover coatnet --out layouts"

FAMILIES = ("efficientformer", "coatnet")
SUPERNET = Path("runs/metaformer-tiny")


@answers
def run(
    family: Annotated[str, typer.Argument(help="efficientformer or coatnet.")],
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="supernet[:DIR]",
            help="Add slimming of a supernet, and both together. Without DIR: that of metaformer-tiny on "
            f"shapes, trained first in {SUPERNET} if need be (about 50 minutes of one core).",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Searches with different seeds; patterns are counted over them.")
    ] = 1,
    evals: Annotated[int, typer.Option(help="Networks evaluated in each search.")] = 30_000,
    peers: Annotated[int, typer.Option(help="Random members of equal latency.")] = 10_000,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write tables (.csv) and a figure (.png) there.")
    ] = None,
) -> Answer:
    """Search for the layouts of a family left out of all fits.

    efficientformer: the space is searched at the latency of L1, L3 and L7 by a surrogate and a device fitted
    without EfficientFormer and EfficientFormerV2; how likely the best network has each pattern of the paper's
    is told over all that may be the best, and the paper's own space is slimmed as in the paper. coatnet: the
    five layouts of the paper, and all patterns of its blocks, at one size, ranked by a surrogate fitted
    without CoAtNet.
    """
    from hvnas._names import unknown_name
    from hvnas.studies.rediscovery import rediscover_coatnet, rediscover_efficientformer
    from hvnas.studies.rediscovery.efficientformer import check_counts
    from hvnas.studies.rediscovery.output import check_out, to_csv, to_json, write
    from hvnas.studies.rediscovery.slimmed import with_supernet

    if family not in FAMILIES:
        raise Failure(unknown_name("family", family, FAMILIES))
    added = _added(with_, family)
    check_counts(evals=evals, peers=peers, seeds=seeds)
    if out is not None:
        check_out(out)
    found: Rediscovery | LayoutRanks
    slimmed: WithSupernet | None = None
    supernet = None if added is None else _supernet(added)
    if family == "coatnet":
        found = rediscover_coatnet()
    else:
        steps = Screen(errors=True)
        found = rediscover_efficientformer(seeds=seeds, evals=evals, peers=peers, on_step=steps.remark)
        if supernet is not None:
            slimmed = with_supernet(found.setting, supernet, on_step=steps.remark)
    return written_answer(
        written(out, partial(write, found, slimmed=slimmed)),
        text=lambda screen: _print(screen, found, slimmed),
        data=lambda: to_json(found, slimmed),
        csv=lambda: to_csv(found),
    )


def _added(with_: str | None, family: str) -> Path | None:
    """The folder of the supernet that is asked for."""
    if with_ is None:
        return None
    name, _, folder = with_.partition(":")
    if name != "supernet":
        raise Failure(f"with: {with_!r} cannot be added; expected supernet or supernet:DIR")
    if family != "efficientformer":
        raise Failure(f"with: {family} has layouts to rank and nothing to slim; omit --with")
    return Path(folder) if folder else SUPERNET


def _supernet(folder: Path) -> InheritedEstimator:
    """The supernet in `folder`, where it is the study's own trained first if need be."""
    from hvnas.studies.rediscovery.slimmed import supernet_in

    if folder == SUPERNET:
        from hvnas.cli.supernet.train import carry_on
        from hvnas.studies.rediscovery.slimmed import to_train

        carry_on(to_train(folder), Screen(errors=True))
    return supernet_in(folder)


def _print(screen: Screen, found: Rediscovery | LayoutRanks, slimmed: WithSupernet | None) -> None:
    from hvnas.studies.rediscovery.efficientformer import Rediscovery

    if isinstance(found, Rediscovery):
        print_searches(screen, found)
    else:
        print_ranks(screen, found)
    if slimmed is not None:
        print_slimmed(screen, slimmed)
