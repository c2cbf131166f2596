"""What is asked of a training, and the folder that it leads to."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hvnas._validation import MOST_SEED, check_whole
from hvnas.arch import Arch, load_arch
from hvnas.latency.stated import restated
from hvnas.train.data import Data, load_data
from hvnas.train.fitting import check_batch, check_enough, fit_arch, least_resolution
from hvnas.train.folder import BESIDE, TrainFolder, TrainRun, find_training, lasting
from hvnas.train.loop import network_for
from hvnas.train.recipes import Recipe, load_recipe, recipe_to_dict, training_of, with_batch
from hvnas.train.start import begin_with, digest
from hvnas.train.teachers import load_teacher, teacher_file
from hvnas.train.training import Distillation

BEST = "best.yaml"  # of a search
NO_TEACHER = "none"
RUNS = Path("runs")
LONGEST = 100  # characters of a folder's name: systems take 255 bytes


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a training, under the names of `TrainRun`; what is None is left to recipe and data.

    `teacher` is ``none`` where a recipe that distils is to train without; `single_scale` trains at one
    resolution whatever the recipe says; `batch` takes the learning rate along in proportion.
    """

    source: str | None = None
    data: str | None = None
    resolution: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    strict: bool | None = None
    recipe: str | None = None
    epochs: int | None = None
    batch: int | None = None
    patience: int | None = None
    single_scale: bool = False
    teacher: str | None = None
    teacher_weights: str | None = None
    weights: str | None = None
    seed: int | None = None
    workers: int | None = None


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


def begin(asked: Asked, out: str | Path, *, latency_device: str | None = None) -> TrainFolder:
    """A folder for a new training, every default resolved.

    Its network carries the latency that is predicted at the data's size, on `latency_device` or the device
    that it was found for. Raises ValueError naming the field at fault.
    """
    folder = TrainFolder(out)
    folder.refuse_if_taken()
    if asked.source is None or asked.data is None:
        what = "network: is missing; name the one to train" if asked.source is None else "data: is missing"
        raise ValueError(f"{what}; see hvnas train --help")
    network = network_of(asked.source)
    seed = _at_least(0, "seed", asked.seed or 0, most=MOST_SEED)
    data = _data_for(network, asked)
    recipe = _recipe(asked)
    if asked.batch is not None:
        check_enough(asked.batch, data)
    beside = Path(asked.source) if Path(asked.source).is_dir() else Path(asked.source).parent
    arch = restated(fit_arch(network, data), network, device=latency_device, beside=beside)
    taught = asked.teacher not in (None, NO_TEACHER)
    run = TrainRun(
        source=_absolute(asked.source),
        arch_hash=arch.hash,
        data=lasting(asked.data),
        data_key=data.key,
        resolution=data.resolution,
        classes=data.classes,
        class_names=list(data.class_names),
        mean=list(data.mean),
        std=list(data.std),
        train_size=asked.train_size,
        test_size=asked.test_size,
        strict=bool(asked.strict),
        recipe=recipe_to_dict(recipe),
        epochs=_at_least(1, "epochs", int(recipe.epochs) if asked.epochs is None else asked.epochs),
        seed=seed,
        teacher=_absolute(asked.teacher) if taught and asked.teacher else None,
        teacher_weights=_resolved(asked.teacher_weights) if taught else None,
        teacher_key=digest(teacher_file(asked.teacher, asked.teacher_weights))
        if taught and asked.teacher
        else None,
        weights=_resolved(asked.weights),
        weights_key=None if asked.weights is None else digest(asked.weights),
        workers=_at_least(1, "workers", 1 if asked.workers is None else asked.workers),
        versions=_versions(),
    )
    _check(run, arch, data)
    folder.begin(run, arch)
    return folder


def _data_for(network: Arch, asked: Asked) -> Data:
    """The data; where nobody asked for a resolution and theirs is too small, at the least `network` takes."""

    def load(resolution: int | None) -> Data:
        return load_data(
            str(asked.data),
            resolution=resolution,
            train_size=asked.train_size,
            test_size=asked.test_size,
            strict=bool(asked.strict),
        )

    data = load(asked.resolution)
    least = least_resolution(network, data)
    if asked.resolution is None and least is not None and least != data.resolution:
        return load(least)
    return data


def go_on(asked: Asked, out: str | Path) -> TrainFolder:
    """The folder of a training to be continued. Raises ValueError where what is asked for differs."""
    folder = TrainFolder(out)
    run = folder.run
    training = training_of(run.load_recipe())
    begun: dict[str, Any] = {field.name: getattr(run, field.name) for field in fields(run)}
    begun |= {"recipe": run.recipe["name"], "batch": training.batch, "patience": training.patience}
    begun["single_scale"] = training.scales is None
    for field in fields(asked):
        wanted, was = getattr(asked, field.name), begun[field.name]
        if wanted in (None, False) or (field.name == "teacher" and wanted == NO_TEACHER and was is None):
            continue
        if was not in (wanted, _absolute(str(wanted)), _resolved(str(wanted)), Path(str(wanted)).stem):
            raise ValueError(
                f"{field.name}: the training in {folder.path} was begun with {was}, not {wanted}; give the "
                "same options again, or choose another --out"
            )
    return folder


def _recipe(asked: Asked) -> Recipe:
    """The recipe with what is asked for besides. Raises ValueError where it lacks a teacher."""
    recipe = load_recipe(asked.recipe or "tiny")
    training = training_of(recipe)
    if asked.batch is not None:
        recipe = with_batch(recipe, _at_least(1, "batch", asked.batch))
        training = training_of(recipe)
    if asked.patience is not None:
        training = replace(training, patience=_at_least(1, "patience", asked.patience))
    if asked.single_scale:
        training = replace(training, scales=None)
    if asked.teacher_weights is not None and asked.teacher in (None, NO_TEACHER):
        raise ValueError("teacher_weights: whose? Name the network with --teacher, or leave them out")
    if asked.teacher is None and training.distillation is not None:
        raise ValueError(
            f"recipe {recipe.name}: learns of a teacher; name one with --teacher (the folder of a training, "
            f"or a network with --teacher-weights), or train without: --teacher {NO_TEACHER}"
        )
    if asked.teacher == NO_TEACHER:
        training = replace(training, distillation=None)
    elif asked.teacher is not None:
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


def _versions() -> dict[str, str]:
    from hvnas import __version__

    return {"hvnas": __version__, "python": platform.python_version(), "torch": version("torch")}
