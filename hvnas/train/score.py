"""A trained network scored on images: a training's, an exported one, or a named one with its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hvnas.arch import Arch, load_arch
from hvnas.latency.registry import StatedLatency, stated_latency
from hvnas.nn import build
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.weights import StateDict, check_weights
from hvnas.train.data import Data, load_data
from hvnas.train.evaluation import Scores, scores_of
from hvnas.train.fitting import fit_arch
from hvnas.train.folder import TrainFolder, TrainRun, find_training
from hvnas.train.shipped import Shipped, is_exported, open_shipped
from hvnas.train.state import device_of, read_model
from hvnas.train.teachers import read_weights


@dataclass(frozen=True)
class Evaluation:
    """What was scored: `weights` is the file, `finished` False where its training is not through.

    `arch` is None where an exported file alone does not say it, `arch_hash` where it does not say that.
    `latency` is that of the network as it was scored, None where it was found for no device. `remark` is
    what to know of how it was scored, where there is something.
    """

    name: str
    arch_hash: str | None
    arch: Arch | None
    data: Data
    weights: Path
    finished: bool
    scores: Scores
    latency: StatedLatency | None = None
    remark: str = ""


def evaluate(
    source: str,
    *,
    data: str | None = None,
    weights: str | None = None,
    resolution: int | None = None,
    test_size: int | None = None,
    strict: bool = False,
    device: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Score a network on the test split of `data`.

    `source` is the folder of a training, or of a search with one: its data, resolution and weights are taken
    unless others are given. Or it is a network's name or YAML file, which needs `data` and `weights`. Or it
    is a file or folder that ``hvnas export`` wrote, which needs `data` and is run as it was shipped.
    `progress` is told images done, of how many. Raises ValueError naming what is missing, unreadable, or
    does not go together.
    """
    if is_exported(source):
        _check_exported(source, data, weights, resolution)
        return _of_export(open_shipped(source, device=device), str(data), test_size, strict, device, progress)
    folder = find_training(source)
    if folder is None:
        _check_named(source, data, weights)
    file, state, finished = _weights(folder, weights)
    origin = load_arch(source) if folder is None else folder.arch
    loaded, arch = (
        _of_network(origin, str(data), resolution, test_size, strict)
        if folder is None
        else _of_training(folder, data, resolution, test_size, strict)
    )
    network = build(arch)
    state = fit_biases(network, state)
    check_weights(network, state, where=str(file))
    network.load_state_dict(state)
    where = device_of(device)
    total = len(loaded.test)
    scores = scores_of(
        network.to(where), loaded.test, loaded, device=where, progress=lambda done: progress(done, total)
    )
    latency = stated_latency(arch, origin.found)
    return Evaluation(arch.name, arch.hash, arch, loaded, file, finished, scores, latency)


def _check_exported(source: str, data: str | None, weights: str | None, resolution: int | None) -> None:
    """Raise ValueError where an exported file lacks its data, or is given what it has."""
    if weights is not None or resolution is not None:
        name = "weights" if weights is not None else "resolution"
        raise ValueError(f"{name}: {source} has its own; leave --{name} out")
    if data is None:
        raise ValueError(f"data: is missing; name the images to score {source} on: --data folder:DIR")


def _of_export(
    shipped: Shipped,
    name: str,
    test_size: int | None,
    strict: bool,
    device: str | None,
    progress: Callable[[int, int], None],
) -> Evaluation:
    loaded = load_data(name, resolution=shipped.resolution, test_size=test_size, strict=strict)
    data, where = shipped.check_data(loaded), device_of(device)
    total = len(data.test)
    scores = scores_of(
        shipped.module, data.test, data, device=where, progress=lambda done: progress(done, total)
    )
    arch = shipped.arch
    return Evaluation(
        name=shipped.name,
        arch_hash=shipped.arch_hash,
        arch=arch,
        data=data,
        weights=shipped.weights,
        finished=True,
        scores=scores,
        latency=None if arch is None else stated_latency(arch, arch.found),
        remark=""
        if shipped.images is not None
        else f"{shipped.weights} does not say what it was trained on: images are normalised and classes "
        f"ordered as in {data.name}",
    )


def _of_training(
    folder: TrainFolder, name: str | None, resolution: int | None, test_size: int | None, strict: bool
) -> tuple[Data, Arch]:
    run = folder.config
    if name is None and resolution in (None, run.resolution) and test_size is None and not strict:
        return run.load_data(), folder.arch
    data = load_data(
        name or run.data,
        resolution=run.resolution if resolution is None else resolution,
        test_size=run.test_size if test_size is None and name is None else test_size,
        train_size=run.train_size if name is None else None,
        strict=strict or run.strict,
    )
    _check_classes(folder, run, data)
    return replace(data, mean=_three(run.mean), std=_three(run.std)), fit_arch(folder.arch, data)


def _check_named(source: str, data: str | None, weights: str | None) -> None:
    """Raise ValueError where a network that is no training's lacks what a training has."""
    if Path(source).is_dir():
        raise ValueError(f"{source}: holds no training; train a network with hvnas train {source}")
    arch = load_arch(source)
    if data is None or weights is None:
        missing = "data" if data is None else "weights"
        raise ValueError(f"{missing}: is missing; {arch.name} is not a training: give --{missing}")


def _of_network(
    arch: Arch, name: str, resolution: int | None, test_size: int | None, strict: bool
) -> tuple[Data, Arch]:
    pixels = arch.resolution if resolution is None else resolution
    data = load_data(name, resolution=pixels, test_size=test_size, strict=strict)
    return data, fit_arch(arch, data)


def _weights(folder: TrainFolder | None, weights: str | None) -> tuple[Path, StateDict, bool]:
    """File, tensors, and whether these are a training's last."""
    if weights is not None:
        return Path(weights), read_weights(weights), True
    assert folder is not None
    if not folder.finished and folder.state.is_file():
        return folder.state, read_model(folder.state), False
    path = folder.trained_weights()
    return path, read_weights(path), True


def _check_classes(folder: TrainFolder, run: TrainRun, data: Data) -> None:
    if list(data.class_names) != run.class_names:
        raise ValueError(
            f"data {data.name}: its classes are not those that {folder.path} was trained on "
            f"({run.data}); give data with the same {run.classes} classes"
        )


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
