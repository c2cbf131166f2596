"""The folder of a training run: what was asked for, its state, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from hvnas._files import read_json, write_atomic
from hvnas._names import MOST_SEED, check_whole
from hvnas._runs import RunFolder, RunKind
from hvnas._yaml import dump_yaml
from hvnas.arch import Arch, load_arch, to_dict
from hvnas.blocks.limits import check_number
from hvnas.train.data import Data, load_data
from hvnas.train.recipes import Recipe, recipe_from_dict
from hvnas.train.state import EpochResult

RUN, ARCH, STATE, WEIGHTS, LAST, METRICS = (
    "train.json",
    "arch.yaml",
    "checkpoint.safetensors",
    "model.safetensors",
    "last.safetensors",
    "metrics.json",
)
EVENTS = "events"  # what TensorBoard reads
BESIDE = "train"  # the folder of a training inside that of a search
DATA_FOLDER = "folder:"  # data of one's own


@dataclass(frozen=True, kw_only=True)
class TrainRun:
    """A training as it was asked for, every default resolved.

    `source` is what the network was asked for by; the network itself, with the data's classes and
    resolution, lies beside as YAML. `data` is a name for `load_data`, with `resolution`, `train_size`,
    `test_size` and `strict` as there, `data_key` what it led to, `mean` and `std` what pixels in 0..1 are
    normalised with. `recipe` is the whole recipe. `teacher` is a training's folder, None where there is none;
    `weights` the file that the network begins with; the keys are digests of their tensors. `workers` share
    each batch. `command` are the words that ask for the same again, but for where it goes.
    """

    source: str
    arch_hash: str
    data: str
    data_key: str
    resolution: int
    classes: int
    class_names: list[str]
    mean: list[float]
    std: list[float]
    train_size: int | None
    test_size: int | None
    strict: bool
    recipe: dict[str, Any]
    epochs: int
    seed: int
    teacher: str | None
    teacher_weights: str | None
    teacher_key: str | None
    weights: str | None
    weights_key: str | None
    workers: int
    versions: dict[str, str]
    command: list[str] = field(default_factory=list)

    def load_data(self) -> Data:
        """The data set. Raises ValueError where its name leads to other data now."""
        data = load_data(
            self.data,
            resolution=self.resolution,
            train_size=self.train_size,
            test_size=self.test_size,
            strict=self.strict,
        )
        if data.key != self.data_key:
            raise ValueError(
                f"data {self.data}: was {self.data_key} when the training was begun, is {data.key}; "
                "bring the former back, or train anew"
            )
        return data

    def load_recipe(self) -> Recipe:
        """The recipe as it was when the training was begun."""
        return recipe_from_dict(self.recipe, where=RUN)


def check_recorded(run: Mapping[str, Any], file: Path) -> None:
    """Raise ValueError where the record of a training, in `file`, has numbers that no training takes."""
    check_whole("seed", run["seed"], least=0, most=MOST_SEED)
    check_whole("epochs", run["epochs"], least=0)
    for name in ("resolution", "classes"):
        check_number(name, run[name], name, str(file))


class TrainFolder(RunFolder[TrainRun]):
    """A folder with a training."""

    kind = RunKind(
        config=TrainRun,
        file=RUN,
        schema="hvnas.train/1",
        taken="holds a training already; continue it with --resume, or choose another --out",
        foreign="exists and holds no training; choose another --out",
        missing=f"holds no training ({RUN} is missing); train one with hvnas train",
    )

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.state, self.weights, self.events = self.path / STATE, self.path / WEIGHTS, self.path / EVENTS

    def begin(self, run: TrainRun, arch: Arch) -> None:
        """Say what is trained here. Raises ValueError where something is."""
        self.claim(run, beside={ARCH: dump_yaml(to_dict(arch))})

    def from_plain(self, data: dict[str, Any]) -> TrainRun:
        """Raises ValueError also for numbers that no training takes."""
        run = super().from_plain(data)
        check_recorded(data, self.file)
        check_whole("workers", run.workers, least=0)
        return run

    @cached_property
    def arch(self) -> Arch:
        """The network with the data's classes and resolution. Raises ValueError where its file changed."""
        arch = load_arch(self.path / ARCH)
        if arch.hash != self.config.arch_hash:
            raise ValueError(f"{self.path / ARCH}: is not the network that was trained; restore the file")
        return arch

    @property
    def finished(self) -> bool:
        """Whether the training is through."""
        return self.weights.is_file()

    def trained_weights(self) -> Path:
        """The file with the trained weights, as they are evaluated. Raises ValueError before the end."""
        if not self.finished:
            raise ValueError(
                f"{self.path}: the training is not finished ({WEIGHTS} is missing); "
                f"continue with hvnas train --resume --out {self.path}"
            )
        return self.weights

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Keep what came of the training."""
        write_atomic(self.path / METRICS, json.dumps(metrics, indent=1) + "\n")

    def metrics(self) -> dict[str, Any]:
        """What came of the training. Raises ValueError where that is not known."""
        path = self.path / METRICS
        metrics: dict[str, Any] = read_json(path)
        if not isinstance(metrics, dict) or not _is_history(metrics.get("history")):
            raise ValueError(
                f"{path}: history: must list the epochs with loss and top1, finite numbers; restore the file"
            )
        return metrics


def _is_history(entries: object) -> bool:
    names = {each.name for each in fields(EpochResult)}
    return isinstance(entries, list) and all(
        isinstance(e, dict) and set(e) == names and all(map(_is_finite, e.values())) for e in entries
    )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def find_training(path: str | Path) -> TrainFolder | None:
    """The training in a folder, or in the folder of a search beside its results; None where there is none."""
    for place in (Path(path), Path(path) / BESIDE):
        folder = TrainFolder(place)
        if folder.holds_run:
            return folder
    return None


def absolute(name: str) -> str:
    """A name of data, a recipe or the like, or a path that holds from another folder too."""
    if name.startswith(DATA_FOLDER):
        return DATA_FOLDER + str(Path(name.removeprefix(DATA_FOLDER)).resolve())
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name
