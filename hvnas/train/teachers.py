"""Weights from elsewhere: those that a network begins with, and networks that teach."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from hvnas.arch import load_arch
from hvnas.nn import Network, build
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.weights import HEAD, StateDict, check_weights, read_safetensors
from hvnas.train.data.registry import Data
from hvnas.train.evaluation import scaled
from hvnas.train.folder import TrainFolder, find_training

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


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
        run = folder.config
        if run.class_names != list(data.class_names):
            raise ValueError(
                f"teacher {name}: knows the classes of {run.data}, not those of {data.name}; "
                "train a teacher on the same data"
            )
        network = build(folder.arch, weights=weights or folder.trained_weights())
        return Teacher(network, data, mean=run.mean, std=run.std)
    if Path(name).is_dir():
        TrainFolder(name).config  # noqa: B018  (says what is missing)
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
            f"teacher {name}: is not the folder of a training and has no weights; give --teacher-weights"
        )
    return folder.trained_weights()


def begin_with(network: Network, weights: str | Path) -> bool:
    """Give `network` the weights of a safetensors file; whether its classifier keeps its own.

    It does where the file's has other classes. Raises ValueError where the file is of another network.
    """
    own = network.state_dict()
    state = fit_biases(network, read_weights(weights))
    other = [
        key
        for key, tensor in state.items()
        if key.startswith(HEAD) and key in own and tensor.shape[1:] == own[key].shape[1:]
        if tensor.ndim and tensor.shape[0] != own[key].shape[0]
    ]
    state |= {key: own[key] for key in other}
    check_weights(network, state, where=str(weights))
    network.load_state_dict(state)
    return bool(other)


def read_weights(path: str | Path) -> StateDict:
    """The tensors of a safetensors file. Raises ValueError for a file that may hold code, or is damaged."""
    if Path(path).suffix in PICKLES:
        raise ValueError(
            f"{path}: a pickle may run code and is not opened; convert it with hvnas weights import, "
            "or save the weights as safetensors"
        )
    return read_safetensors(path)


def digest(path: str | Path) -> str:
    """12 hexadecimal digits of a file. Raises ValueError where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise ValueError(f"{path}: {(error.strerror or str(error)).lower()}; check the path") from None
