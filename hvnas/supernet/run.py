"""A supernet's training from end to end, here or by workers of Ray Train: into a folder, and out of it
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hvnas._names import MOST_SEED, check_whole, unknown_name
from hvnas._request import as_begun, check_same
from hvnas.arch import Arch
from hvnas.space import Space, load_space
from hvnas.supernet.checkpoint import SupernetFolder, SupernetRun, genes_of
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.schemes import DEFAULT, list_schemes
from hvnas.supernet.scoring import BN_CALIB, check_bn_calib, member_scores
from hvnas.supernet.supernet import Supernet, extreme
from hvnas.supernet.trainer import SupernetTrainer, supernet_for
from hvnas.train.data import Data, load_data
from hvnas.train.fitting import check_batch, check_enough
from hvnas.train.folder import EVENTS, absolute
from hvnas.train.process_group import ProcessGroup
from hvnas.train.recipes import Recipe, load_recipe, training_of
from hvnas.train.run import OnLine, run_recorded
from hvnas.train.settings import FineTuning
from hvnas.train.trainer import OnProgress, TrainResult

RECIPE = "supernet"
SHOWN_AT_RANDOM = 3
# Members that are looked at before a training begins.
TRIED = 64


@dataclass(frozen=True)
class Calibrated:
    """A member's top-1 with inherited weights, in points, with and without BatchNorm recalibration."""

    name: str
    arch: Arch
    top1: float | None
    top1_uncalibrated: float


@dataclass(frozen=True)
class SupernetResult:
    """What a training came to; `members` are scored once it is through."""

    run: SupernetRun
    result: TrainResult
    members: tuple[Calibrated, ...] = ()


def start(request: SupernetRequest, out: str | Path) -> SupernetFolder:
    """Return a folder for a new training, every default resolved.

    Raises ValueError naming the field at fault.
    """
    folder = SupernetFolder(out)
    folder.refuse_if_taken()
    for name, value in (("space", request.space), ("data", request.data)):
        if value is None:
            raise ValueError(f"{name}: is missing; name the {name} to train on with --{name}")
    assert request.space is not None and request.data is not None
    space = load_space(request.space)
    data = load_data(
        request.data,
        resolution=request.resolution,
        train_size=request.train_size,
        test_size=request.test_size,
    )
    recipe = load_recipe(request.recipe or RECIPE)
    run = SupernetRun(
        space=absolute(request.space),
        space_hash=space.hash,
        genes=genes_of(space),
        data=absolute(request.data),
        data_key=data.key,
        resolution=data.resolution,
        train_size=request.train_size,
        test_size=request.test_size,
        classes=data.classes,
        recipe=absolute(request.recipe or RECIPE),
        epochs=int(recipe.epochs) if request.epochs is None else request.epochs,
        batch=request.batch,
        scheme=request.scheme or DEFAULT,
        paths=request.paths,
        bn_calib=BN_CALIB if request.bn_calib is None else request.bn_calib,
        importance=bool(request.importance),
        seed=request.seed or 0,
    )
    _check(run)
    if request.batch is not None:
        check_enough(request.batch, data)
    check_batch(
        training_of(recipe_of(run)).batch,
        data,
        workers=request.workers.number,
        archs=_some_members(space, data),
    )
    folder.claim(run)
    return folder


def _some_members(space: Space, data: Data) -> Iterator[Arch]:
    """The smallest and the largest network of `space` at the size of `data`, and some between."""
    drawn = np.random.default_rng(0).integers(0, space.cardinalities, size=(TRIED, len(space.genes)))
    for row in (extreme(space, sign=-1), extreme(space, sign=1), *space.canonicalise(drawn)):
        yield space.decode(row).with_(resolution=data.resolution, classes=data.classes)


def resume(request: SupernetRequest, out: str | Path) -> SupernetFolder:
    """Return the folder of a training to be continued. Raises ValueError where what is asked for differs."""
    folder = SupernetFolder(out)
    begun = as_begun(request, folder.config, but={"space"})
    if request.space is not None:  # whose file may lie elsewhere now
        folder.check_space(load_space(request.space))
    check_same(request, begun, what=f"the supernet in {folder.path}")
    return folder


def train_supernet(
    folder: SupernetFolder,
    *,
    device: str | None = None,
    save_every: float = 300.0,
    progress: OnProgress | None = None,
    stop: Callable[[], bool] | None = None,
    report: OnLine = lambda _: None,
    peers: ProcessGroup | None = None,
) -> SupernetResult:
    """Train the supernet of `folder`, from its state where there is one.

    `report` is told which settings of the recipe have no effect, and where no TensorBoard events can be
    written. Of several processes, `peers`, the first one writes, and scores the members. Raises ValueError
    where the space or the data changed, or another process trains here, and DivergedError, the state kept,
    where a loss is not finite.
    """
    with folder.at_work() if peers is None else nullcontext():
        peers = peers or ProcessGroup()
        run, space = folder.config, folder.space()
        data = run.load_data()
        unheeded = _unheeded(recipe_of(run))
        if unheeded and peers.first:
            report(f"recipe {run.recipe}: a supernet's members train without its {', '.join(unheeded)}")
        trainer = SupernetTrainer(
            supernet_for(space, data, seed=run.seed),
            data,
            recipe=recipe_of(run),
            scheme=run.scheme,
            paths=run.paths,
            bn_calib=run.bn_calib,
            importance=run.importance,
            epochs=run.epochs,
            seed=run.seed,
            device=device,
            checkpoint=folder.state,
            save_every=save_every,
            progress=progress,
            stop=stop,
            peers=peers,
        )
        events = folder.path / EVENTS
        result = run_recorded(trainer, events, state=folder.state, report=report, peers=peers)
        if not (result.finished and peers.first):
            return SupernetResult(run, result)
        net = trainer.evaluated
        assert isinstance(net, Supernet)
        return SupernetResult(run, result, _scored(net, data, bn_calib=run.bn_calib, seed=run.seed))


def recipe_of(run: SupernetRun) -> Recipe:
    """The recipe of a run with its own batch."""
    recipe = load_recipe(run.recipe)
    training = training_of(recipe)
    return recipe if run.batch is None else replace(recipe, training=replace(training, batch=run.batch))


def _unheeded(recipe: Recipe) -> list[str]:
    """Settings of a recipe that have no effect: members learn from labels and from one another."""
    training = training_of(recipe)
    asked = {
        "distillation": training.distillation is not None,
        "loss": training.loss != "softmax",
        "head_dropout": training.head_dropout > 0,
        "fine_tuning": training.fine_tuning != FineTuning(),
    }
    return [name for name, is_asked in asked.items() if is_asked]


def _check(run: SupernetRun) -> None:
    """Raise ValueError before anything is written where the run cannot be trained."""
    if run.batch is not None:
        check_whole("batch", run.batch, least=1)
    recipe_of(run)
    check_bn_calib(run.bn_calib)
    if run.scheme not in list_schemes():
        raise ValueError(unknown_name("scheme", run.scheme, list_schemes()))
    for name, value in (("epochs", run.epochs), ("paths", run.paths)):
        if value is not None:
            check_whole(name, value, least=1)
    check_whole("seed", run.seed, least=0, most=MOST_SEED)


def _scored(net: Supernet, data: Data, *, bn_calib: int, seed: int) -> tuple[Calibrated, ...]:
    """A few members with and without recalibration."""
    rng = np.random.default_rng(seed)
    shown = {"largest": net.largest, "smallest": net.smallest}
    shown |= {f"random {i + 1}": net.sample(rng=rng) for i in range(SHOWN_AT_RANDOM)}

    def score(arch: Arch, count: int) -> float:
        return member_scores(net, arch, data, bn_calib=count).top1

    return tuple(
        Calibrated(name, arch, score(arch, bn_calib) if bn_calib else None, score(arch, 0))
        for name, arch in shown.items()
    )
