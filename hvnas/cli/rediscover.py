"""``hvnas rediscover``: whether a search that never saw a family comes to that family's layouts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hvnas._request import Option, Request
from hvnas.cli._failure import Failure
from hvnas.cli._progress import in_steps
from hvnas.cli._rediscover import print_comparison, print_ranks, print_searches, print_slimmed
from hvnas.cli._request import answers, takes
from hvnas.cli._screen import Answer, Screen, written, written_answer

if TYPE_CHECKING:
    from hvnas.accuracy.trained.inherited import InheritedEstimator
    from hvnas.arch import Arch
    from hvnas.studies.alone import Comparison, Standalone
    from hvnas.studies.rediscovery.coatnet import LayoutRanks
    from hvnas.studies.rediscovery.efficientformer import Rediscovery
    from hvnas.studies.rediscovery.slimmed import WithSupernet

EXAMPLE = "hvnas rediscover coatnet --data hf:uoft-cs/cifar10 --epochs 2 --out layouts"

FAMILIES = ("efficientformer", "coatnet")
SUPERNET = Path("runs/metaformer-tiny")


@dataclass(frozen=True, kw_only=True)
class RediscoverRequest(Request):
    """What is asked of a rediscovery. Networks are trained where there is `data`; sizes are None there where
    they are left to the data or the recipe.
    """

    family: Annotated[str, Option(argument=True, help="efficientformer or coatnet.")]
    with_: Annotated[
        str | None,
        Option(
            group="Search",
            metavar="supernet[:DIR]",
            help="Add slimming of a supernet, and both together. Without DIR: that of metaformer-tiny on "
            f"shapes, or on --data, trained first in {SUPERNET}[-DATA] if need be (about 50 minutes of one "
            "core).",
        ),
    ] = None
    seeds: Annotated[
        int, Option(group="Search", help="Searches with different seeds; patterns are counted over them.")
    ] = 1
    evals: Annotated[int, Option(group="Search", help="Networks evaluated in each search.")] = 30_000
    peers: Annotated[int, Option(group="Search", help="Random members of equal latency.")] = 10_000
    data: Annotated[
        str | None,
        Option(
            group="Training",
            help="Train networks by themselves on this data (shapes, folder:DIR, hf:NAME): CoAtNet's five "
            "layouts as small networks of one size; with --with supernet, what was found at the largest "
            "budget and the best that has all four patterns.",
        ),
    ] = None
    resolution: Annotated[
        int | None, Option(group="Training", help="Pixels. Default: the data's, or the supernet's (64).")
    ] = None
    train_size: Annotated[
        int | None, Option(group="Training", help="Use at most this many training images.")
    ] = None
    test_size: Annotated[int | None, Option(group="Training", help="Use at most this many test images.")] = (
        None
    )
    epochs: Annotated[
        int | None, Option(group="Training", help="Of networks by themselves. Default: 1 (recipe brief).")
    ] = None
    trainings: Annotated[int, Option(group="Training", help="Of each network, with different seeds.")] = 3


@takes(RediscoverRequest)
@answers
def run(
    request: RediscoverRequest,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel="Output",
            help="Write tables (.csv) and a figure (.png) there, and what trainings came to: called again, "
            "it goes on.",
        ),
    ] = None,
) -> Answer:
    """Search for the layouts of a family left out of all fits.

    efficientformer: the space is searched at the latency of L1, L3 and L7 by a surrogate and a device fitted
    without EfficientFormer and EfficientFormerV2; how likely the best network has each pattern of the paper's
    is told over all that may be the best, and the paper's own space is slimmed as in the paper. coatnet: the
    five layouts of the paper, and all patterns of its blocks, at one size, ranked by a surrogate fitted
    without CoAtNet. With --data networks are trained too, and compared with intervals.
    """
    from hvnas.studies.rediscovery import rediscover_coatnet, rediscover_efficientformer
    from hvnas.studies.rediscovery.coatnet import small_layouts
    from hvnas.studies.rediscovery.output import to_csv, to_json, write
    from hvnas.studies.rediscovery.slimmed import to_compare, with_supernet

    _check(request, out)
    found: Rediscovery | LayoutRanks
    slimmed: WithSupernet | None = None
    steps = Screen(errors=True)
    supernet = _supernet(request)
    training = _training(request, out, supernet)
    if request.family == "coatnet":
        archs = small_layouts(training.data.resolution) if training else {}
        found = rediscover_coatnet()
    else:
        found = rediscover_efficientformer(
            seeds=request.seeds, evals=request.evals, peers=request.peers, on_step=steps.remark
        )
        if supernet is not None:
            slimmed = with_supernet(found.setting, supernet, on_step=steps.remark)
        archs = to_compare(slimmed) if slimmed else {}
    trained = None
    if len(archs) == 1:
        steps.remark("every way found the same network: there is nothing to compare by training")
    elif training is not None:
        trained = _compared(archs, training, seeds=request.trainings)
    return written_answer(
        written(out, partial(write, found, slimmed=slimmed, trained=trained)),
        text=lambda screen: _print(screen, found, slimmed, trained),
        data=lambda: to_json(found, slimmed, trained),
        csv=lambda: to_csv(found),
    )


def _check(request: RediscoverRequest, out: Path | None) -> None:
    """Raise Failure or ValueError, one line, for what cannot be asked for, before anything is computed."""
    from hvnas._names import unknown_name
    from hvnas.studies.rediscovery.efficientformer import check_counts
    from hvnas.studies.rediscovery.output import check_out

    if request.family not in FAMILIES:
        raise Failure(unknown_name("family", request.family, FAMILIES))
    check_counts(evals=request.evals, peers=request.peers, seeds=request.seeds)
    if request.with_ is not None:
        name = request.with_.partition(":")[0]
        if name != "supernet":
            raise Failure(f"with: {request.with_!r} cannot be added; expected supernet or supernet:DIR")
        if request.family != "efficientformer":
            raise Failure(f"with: {request.family} has layouts to rank and nothing to slim; omit --with")
    if out is not None:
        check_out(out)
    _check_training(request, out)


def _check_training(request: RediscoverRequest, out: Path | None) -> None:
    sizes = {"resolution", "train_size", "test_size", "epochs", "trainings"} & request.given
    if request.data is None and sizes:
        raise Failure(f"data: is missing; name it with --data, or omit --{min(sizes).replace('_', '-')}")
    if request.data is None:
        return
    if request.family == "efficientformer" and request.with_ is None:
        raise Failure("data: efficientformer's networks are found by a supernet; add --with supernet")
    if out is None:
        raise Failure("out: is missing; what trainings come to is kept in a folder, name one with --out")
    if request.trainings < 2:
        raise Failure(f"trainings: must be >= 2, got {request.trainings}; one shows no spread")


def _own_folder(request: RediscoverRequest) -> Path:
    """Where the study's own supernet lies, which is one for each data set."""
    from hvnas.studies.rediscovery.slimmed import REQUEST

    if request.data in (None, REQUEST.data):
        return SUPERNET
    name = Path(str(request.data).partition(":")[2] or str(request.data)).name
    return SUPERNET.with_name(f"{SUPERNET.name}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}")


def _supernet(request: RediscoverRequest) -> InheritedEstimator | None:
    """The supernet that is asked for, where it is the study's own trained first if need be."""
    from hvnas.studies.rediscovery.slimmed import supernet_in

    if request.with_ is None:
        return None
    named = request.with_.partition(":")[2]
    folder = Path(named) if named else _own_folder(request)
    if folder == _own_folder(request):
        _train_own(request, folder)
    supernet = supernet_in(folder)
    run = supernet.folder.config
    told = (("data", run.data, request.data), ("resolution", run.resolution, request.resolution))
    for name, own, asked in told:
        if asked not in (None, own):
            raise Failure(
                f"{name}: the supernet in {folder} was trained on {own}, not {asked}; name that, or another "
                "supernet"
            )
    return supernet


def _train_own(request: RediscoverRequest, folder: Path) -> None:
    from hvnas.cli.supernet.train import carry_on
    from hvnas.studies.rediscovery.slimmed import REQUEST, request_on, to_train

    asked = REQUEST
    if request.data is not None:
        asked = request_on(
            request.data,
            resolution=request.resolution,
            train_size=request.train_size,
            test_size=request.test_size,
        )
    carry_on(to_train(folder, asked), Screen(errors=True))


def _training(
    request: RediscoverRequest, out: Path | None, supernet: InheritedEstimator | None
) -> Standalone | None:
    """How networks are to be trained, None where they are not."""
    from hvnas.studies.alone import Alone, Standalone

    if request.data is None or out is None:
        return None
    return Standalone(
        out,
        Alone(
            data=request.data,
            resolution=request.resolution if supernet is None else supernet.folder.config.resolution,
            train_size=request.train_size,
            test_size=request.test_size,
            epochs=request.epochs,
        ),
    )


def _compared(archs: Mapping[str, Arch], training: Standalone, *, seeds: int) -> Comparison:
    from hvnas.studies.alone import compare

    return in_steps(
        "trainings",
        lambda progress, stop: compare(archs, training, seeds=seeds, progress=progress, stop=stop),
        again=f"continue with the same command and --out {training.path.parent}",
    )


def _print(
    screen: Screen,
    found: Rediscovery | LayoutRanks,
    slimmed: WithSupernet | None,
    trained: Comparison | None,
) -> None:
    from hvnas.studies.rediscovery.efficientformer import Rediscovery

    if isinstance(found, Rediscovery):
        print_searches(screen, found)
    else:
        print_ranks(screen, found)
    if slimmed is not None:
        print_slimmed(screen, slimmed)
    if trained is not None:
        print_comparison(screen, trained)
