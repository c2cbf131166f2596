"""What is exported, and where to: a model, a file, or what a run has found or trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hvnas.arch import Arch
    from hvnas.export import Images
    from hvnas.train.folder import TrainFolder

_BEST = "best.yaml"
SUFFIXES = {"yaml": ".yaml", "torch": "_torch", "onnx": ".onnx", "coreml": ".mlpackage", "executorch": ".pte"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network, its weights where there are some, and the images that it was trained on."""

    arch: Arch
    weights: Path | None
    images: Images | None = None


def load_subject(name: str, *, weights: Path | None, classes: int | None, resolution: int | None) -> Subject:
    """What `name` leads to: a model, a YAML file, the folder of a training, or that of a search.

    A search's folder gives the network that was trained in it, or else its best. `weights` stand in for
    those of a training. Raises ValueError, one line, naming what is missing.
    """
    from hvnas.arch import list_models, load_arch
    from hvnas.arch.resize import resized
    from hvnas.latency.stated import restated

    folder = Path(name)
    training = None
    if name in list_models() or not folder.is_dir():
        arch = load_arch(name)
    else:
        training = _training(folder)
        arch = training.arch if training is not None else _best(folder)
    changed = restated(resized(arch, classes=classes, resolution=resolution), arch, beside=folder)
    if training is None or weights is not None or changed.head != arch.head:
        return Subject(arch=changed, weights=weights)
    from hvnas.export import Images

    run = training.run
    images = Images(class_names=tuple(run.class_names), mean=tuple(run.mean), std=tuple(run.std))
    return Subject(arch=changed, weights=_inside(training.path, training.trained_weights()), images=images)


def _training(folder: Path) -> TrainFolder | None:
    from hvnas.train.folder import find_training

    return find_training(folder)


def _best(folder: Path) -> Arch:
    from hvnas.arch import load_arch

    if not (folder / _BEST).is_file():
        raise ValueError(
            f"{folder}: holds neither {_BEST} nor a training; give a folder of hvnas search or hvnas train"
        )
    return load_arch(_inside(folder, folder / _BEST))


def _inside(folder: Path, path: Path) -> Path:
    """`path`. Raises ValueError where it is a link that leaves `folder`."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: leads out of {folder}; put the file itself there")
    return path


def default_target(name: str, kind: str) -> Path:
    """Where an export goes by itself: into a run's folder, else into this one under the network's name."""
    from hvnas.arch import list_models

    path, suffix = Path(name), SUFFIXES[kind]
    if name not in list_models() and path.is_dir():
        return path / f"model{suffix}"
    return Path(f"{path.stem if path.suffix in ('.yaml', '.yml') else path.name}{suffix}")
