"""Weights that a network begins with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hvnas.nn import Network
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.weights import HEAD, StateDict, check_weights, read_safetensors

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


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
