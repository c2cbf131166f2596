"""From what is asked of a training to its folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hvnas._files import refusing
from hvnas._names import MOST_SEED, check_whole
from hvnas._request import as_begun, check_same, words_of
from hvnas._runs import versions
from hvnas.arch import Arch, load_arch
from hvnas.latency.registry import restated
from hvnas.train.data import Data, load_data
from hvnas.train.fitting import check_batch, check_enough, fit_arch, least_resolution
from hvnas.train.folder import BESIDE, TrainFolder, TrainRun, absolute, find_training
from hvnas.train.recipes import Recipe, load_recipe, recipe_to_dict, training_of, with_batch
from hvnas.train.request import NO_TEACHER, TrainRequest
from hvnas.train.settings import Distillation
from hvnas.train.teachers import begin_with, digest, load_teacher, teacher_file
from hvnas.train.trainer import network_for

BEST = "best.yaml"  # of a search
RUNS = Path("runs")
LONGEST = 100  # characters of a folder's name: systems take 255 bytes


def network_of(source: str) -> Arch:
    """The network asked for: a fixed point's name, a YAML file, or the folder of a search or a training.

    Raises ValueError where there is none.
    """
    path = Path(source)
    if not path.is_dir():
        return load_arch(source)
    if (path / BEST).is_file():
        return load_arch(path / BEST)
    training = find_training(path)
    if training is not None:
        return training.arch
    raise ValueError(
        f"{path}: holds no network ({BEST} is missing); give the folder of a search that found one, "
        "a network's YAML file, or a model's name"
    )


def default_out(source: str, data: str) -> Path:
    """Where a training goes: inside the folder of a search, or into runs/, named by network and data."""
    path = Path(source)
    if path.is_dir() and (path / BEST).is_file():
        return path / BESIDE
    name = f"{network_of(source).name}-{Path(data).name if ':' in data else data}"
    return RUNS / (re.sub(r"[^\w.-]+", "-", name)[:LONGEST].strip(".-") or "network")


def start(request: TrainRequest, out: str | Path) -> TrainFolder:
    """Return a folder for a new training, every default resolved.

    Its network carries the latency that is predicted at the data's size, on the device that is asked for or
    the one that it was found for. Raises ValueError naming the field at fault.
    """
    folder = TrainFolder(out)
    folder.refuse_if_taken()
    if request.source is None or request.data is None:
        what = "network: is missing; name the one to train" if request.source is None else "data: is missing"
        raise ValueError(f"{what}; see hvnas train --help")
    network = network_of(request.source)
    seed = _at_least(0, "seed", request.seed or 0, most=MOST_SEED)
    data = _data_for(network, request)
    recipe = _recipe(request)
    if request.batch is not None:
        check_enough(request.batch, data)
    beside = Path(request.source) if Path(request.source).is_dir() else Path(request.source).parent
    arch = restated(fit_arch(network, data), network, device=request.latency_device, beside=beside)
    taught = request.teacher not in (None, NO_TEACHER)
    run = TrainRun(
        source=_absolute(request.source),
        arch_hash=arch.hash,
        data=absolute(request.data),
        data_key=data.key,
        resolution=data.resolution,
        classes=data.classes,
        class_names=list(data.class_names),
        mean=list(data.mean),
        std=list(data.std),
        train_size=request.train_size,
        test_size=request.test_size,
        strict=request.strict,
        recipe=recipe_to_dict(recipe),
        epochs=_at_least(1, "epochs", int(recipe.epochs) if request.epochs is None else request.epochs),
        seed=seed,
        teacher=_absolute(request.teacher) if taught and request.teacher else None,
        teacher_weights=_resolved(request.teacher_weights) if taught else None,
        teacher_key=digest(teacher_file(request.teacher, request.teacher_weights))
        if taught and request.teacher
        else None,
        weights=_resolved(request.weights),
        weights_key=None if request.weights is None else digest(request.weights),
        workers=request.workers.number,
        versions=versions("torch"),
        command=["hvnas", "train", *words_of(_lasting(request))],
    )
    _check(run, arch, data)
    folder.begin(run, arch)
    return folder


def _lasting(request: TrainRequest) -> TrainRequest:
    """What is asked for, by names and paths that hold from another folder too."""
    return replace(
        request,
        source=_absolute(str(request.source)),
        data=absolute(str(request.data)),
        recipe=None if request.recipe is None else absolute(request.recipe),
        weights=_resolved(request.weights),
        teacher=None if request.teacher is None else _absolute(request.teacher),
        teacher_weights=_resolved(request.teacher_weights),
        latency_device=None if request.latency_device is None else absolute(request.latency_device),
    )


def _data_for(network: Arch, request: TrainRequest) -> Data:
    """The data; where nobody asked for a resolution and theirs is too small, at the least `network` takes."""

    def load(resolution: int | None) -> Data:
        return load_data(
            str(request.data),
            resolution=resolution,
            train_size=request.train_size,
            test_size=request.test_size,
            strict=request.strict,
        )

    data = load(request.resolution)
    least = least_resolution(network, data)
    if request.resolution is None and least is not None and least != data.resolution:
        return load(least)
    return data


def resume(request: TrainRequest, out: str | Path) -> TrainFolder:
    """Return the folder of a training to be continued. Raises ValueError where what is asked for differs."""
    folder = TrainFolder(out)
    with refusing(folder.file):
        begun = _begun(folder.config, request)
    check_same(
        request,
        begun,
        what=f"the training in {folder.path}",
        remedy="choose another --out",
    )
    return folder


def _begun(run: TrainRun, request: TrainRequest) -> TrainRequest:
    """What `run` was asked for; what a run does not keep is as in `request`."""
    recipe = run.load_recipe()
    training, name = training_of(recipe), recipe.name
    return replace(
        as_begun(request, run),
        recipe=request.recipe if Path(str(request.recipe)).stem == name else name,
        batch=training.batch,
        patience=training.patience,
        single_scale=training.scales is None,
        freeze=training.fine_tuning.freeze,
        unfreeze=training.fine_tuning.unfreeze,
        layer_decay=training.fine_tuning.layer_decay,
        teacher=run.teacher or NO_TEACHER,
        workers=replace(request.workers, count=run.workers),
    )


def _recipe(request: TrainRequest) -> Recipe:
    """The recipe with what is asked for besides. Raises ValueError where it lacks a teacher."""
    recipe = load_recipe(request.recipe or "tiny")
    training = training_of(recipe)
    if request.batch is not None:
        recipe = with_batch(recipe, _at_least(1, "batch", request.batch))
        training = training_of(recipe)
    if request.patience is not None:
        training = replace(training, patience=_at_least(1, "patience", request.patience))
    if request.single_scale:
        training = replace(training, scales=None)
    given = {
        "freeze": request.freeze,
        "unfreeze": request.unfreeze,
        "layer_decay": request.layer_decay,
    }
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    training = replace(training, fine_tuning=replace(training.fine_tuning, **asked))
    frozen = [name for name in ("freeze", "unfreeze") if getattr(training.fine_tuning, name)]
    if frozen and request.weights is None:
        raise ValueError(
            f"{frozen[0]}: the network begins with random weights, which must be trained; name trained ones "
            "with --init, or leave it out"
        )
    if request.teacher_weights is not None and request.teacher in (None, NO_TEACHER):
        raise ValueError(
            "teacher_weights: name the network that they are of with --teacher, or leave them out"
        )
    if request.teacher is None and training.distillation is not None:
        raise ValueError(
            f"recipe {recipe.name}: distils a teacher; name one with --teacher (the folder of a training, "
            f"or a network with --teacher-weights), or train without: --teacher {NO_TEACHER}"
        )
    if request.teacher == NO_TEACHER:
        training = replace(training, distillation=None)
    elif request.teacher is not None:
        training = replace(training, distillation=training.distillation or Distillation())
    return replace(recipe, training=training)


def _check(run: TrainRun, arch: Arch, data: Data) -> None:
    """Raise ValueError before anything is written where the training could not be begun."""
    recipe = run.load_recipe()
    check_batch(training_of(recipe).batch, data, workers=run.workers, archs=[arch])
    network = network_for(arch, data, recipe=recipe, seed=run.seed)
    if run.weights is not None:
        begin_with(network, run.weights)
    if run.teacher is not None:
        load_teacher(run.teacher, data, weights=run.teacher_weights)


def _at_least(least: int, name: str, value: int, *, most: int | None = None) -> int:
    check_whole(name, value, least=least, most=most)
    return value


def _absolute(source: str) -> str:
    """A name, or a path that holds from another folder too."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _resolved(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())
