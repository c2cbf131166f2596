"""Networks that teach: a training's own, or a named one with a file of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hvnas.arch import load_arch
from hvnas.nn import Network, build
from hvnas.train.data.registry import Data
from hvnas.train.evaluation import scaled
from hvnas.train.folder import TrainFolder, find_training


class Teacher(nn.Module):
    """A network in eval mode for another's images: scaled to its resolution, normalised as it was trained."""

    def __init__(self, network: Network, data: Data, *, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.gain: Tensor
        self.offset: Tensor
        self.network = network.eval().requires_grad_(False)
        theirs, ours = torch.tensor([mean, std]), torch.tensor([data.mean, data.std])
        self.register_buffer("gain", (ours[1] / theirs[1]).view(-1, 1, 1), persistent=False)
        self.register_buffer("offset", ((ours[0] - theirs[0]) / theirs[1]).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images ``[B, 3, R, R]`` of the data."""
        images = scaled(images, self.network.arch.resolution)
        return self.network(images * self.gain + self.offset)


def load_teacher(name: str, data: Data, *, weights: str | None = None) -> Teacher:
    """The teacher called `name`: a folder of a training, or a network's name or YAML file with `weights`.

    Raises ValueError where it cannot be read or does not know the classes of `data`.
    """
    folder = find_training(name)
    if folder is not None:
        run = folder.run
        if run.class_names != list(data.class_names):
            raise ValueError(
                f"teacher {name}: knows the classes of {run.data}, not those of {data.name}; "
                "train a teacher on the same data"
            )
        network = build(folder.arch, weights=weights or folder.trained_weights())
        return Teacher(network, data, mean=run.mean, std=run.std)
    if Path(name).is_dir():
        TrainFolder(name).run  # noqa: B018  (says what is missing)
    if weights is None:
        raise ValueError(
            f"teacher {name}: has no weights; give --teacher-weights, or the folder of a training as teacher"
        )
    network = build(load_arch(name).with_(classes=data.classes), weights=weights)
    return Teacher(network, data, mean=list(data.mean), std=list(data.std))


def teacher_file(name: str, weights: str | None) -> Path:
    """The file with a teacher's weights. Raises ValueError where there is none."""
    folder = find_training(name)
    if weights is not None:
        return Path(weights)
    if folder is None:
        raise ValueError(
            f"teacher {name}: is no folder of a training and has no weights; give --teacher-weights"
        )
    return folder.trained_weights()
