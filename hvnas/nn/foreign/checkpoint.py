"""Reading checkpoints of other code bases, which need not be trusted, as weights of our networks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.foreign.families import StateDict, converter, sources
from hvnas.nn.network import build_on_meta
from hvnas.nn.weights import check_weights, mismatches, read_safetensors

# Parts of a checkpoint that are tensors by name, yet no weights of the network.
_OTHER = re.compile(r"optim|sched|scaler|loss|criterion|teacher", re.IGNORECASE)
_AVERAGED = re.compile(r"(?:^|_|\.)(?:ema|averaged|swa)(?:_|\.|$)", re.IGNORECASE)
_DEEPEST = 4
# What torch's unpickler says where a file asks for more than tensors and plain data.
_CODE = re.compile(
    r"(?:Unsupported|Trying to) .*?(?:global|class|operand|instantiate|call|set).*|TorchScript", re.IGNORECASE
)
_NAMED = re.compile(r"GLOBAL ([\w.]+)")

COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Checkpoint:
    """A state dict out of a file, and the part of the file that it was: empty where it was the whole file."""

    state: StateDict
    part: str


def read_checkpoint(path: str | Path, *, averaged: bool = True) -> Checkpoint:
    """Read the state dict in a safetensors file or in a file of ``torch.save``.

    Of the latter only tensors and plain data are read (``weights_only``), no code is run. The state dict
    may lie at any depth beside other things; of weights and their moving average, which is what is
    published, the average is taken unless `averaged` is False. A prefix that all names share is taken off
    (``module.``, ``model.``, ``_orig_mod.``). Raises ValueError, one line, naming the file and what is
    wrong with it: a tensor that is not dense, or that holds NaN or infinity, among others.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; check the path")
    data = read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_pickle(path)
    parts = dict(_parts(data))
    if not parts:
        raise ValueError(f"{path}: holds no state dict, which maps names to tensors")
    part = max(parts, key=lambda name: (bool(_AVERAGED.search(name)) == averaged, len(parts[name])))
    state = _bare(parts[part])
    for key, tensor in state.items():
        _check_tensor(key, tensor, path)
    return Checkpoint(state, part)


def _read_pickle(path: str | Path) -> Any:
    try:
        with warnings.catch_warnings():  # a refused file is refused in one line
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # a file that was made to do harm can end the unpickler in any exception
    except Exception as error:
        message = str(error)
    if not _CODE.search(message):
        raise ValueError(f"{path}: not a safetensors file, nor one of torch.save; check the path")
    named = _NAMED.search(message)
    what = f" ({named[1]})" if named else ""
    raise ValueError(
        f"{path}: a pickle with code in it{what}, which is not run; save its state dict as safetensors "
        "where the file is trusted"
    )


def _parts(data: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, StateDict]]:
    """Every mapping of names to tensors, with the keys that lead to it; what is no tensor is left out."""
    if not isinstance(data, Mapping) or depth > _DEEPEST:
        return
    tensors = {key: value for key, value in data.items() if isinstance(value, Tensor)}
    if tensors and all(isinstance(key, str) for key in tensors):
        yield at, tensors
    for key, value in data.items():
        if isinstance(key, str) and not _OTHER.search(key):
            yield from _parts(value, f"{at}.{key}" if at else key, depth + 1)


def _check_tensor(key: str, tensor: Tensor, path: str | Path) -> None:
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise ValueError(
            f"{path}: {key[:80]!r} is not a dense tensor; save the state dict of the plain network"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"{path}: {key[:80]!r} holds more numbers than the file; save it with .contiguous()")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(
            f"{path}: {key[:80]!r} holds NaN or infinity, so the network answers nothing; "
            "take an earlier checkpoint"
        )


def _bare(state: StateDict) -> StateDict:
    """`state` without the leading words that all its names share."""
    while True:
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or not all("." in key for key in state):
            return state
        state = {key.partition(".")[2]: tensor for key, tensor in state.items()}


@dataclass(frozen=True)
class Imported:
    """Weights with our names, whose names they came with, and the part of the file that they were."""

    state: StateDict
    source: str
    part: str = ""


def import_weights(
    path: str | Path,
    arch: Arch,
    *,
    source: str | None = None,
    family: str | None = None,
    averaged: bool = True,
) -> Imported:
    """The weights in a checkpoint of another code base, checked against the network of `arch`.

    `source` is ``timm`` or ``official`` (the authors' release); unless given, it is the one whose names
    fit best. `averaged` takes the moving average of weights where the file has it. `family` says whose
    converter reads the file, `arch`'s published family unless given. Counters of batches, which no output
    depends on, may be missing; relative-bias tables of another resolution are resized. Raises ValueError
    naming the file and what is wrong with it: missing, unexpected and mis-shaped keys, another number of
    classes, or that no converter is known.
    """
    family = family or (arch.published or {}).get("family")
    if family is None:
        raise ValueError(f"{arch.name} does not say of which family it is; name the family (--family)")
    candidates = (source,) if source else sources(family)
    converters = {name: converter(name, family) for name in candidates or ("timm",)}
    read, model = read_checkpoint(path, averaged=averaged), build_on_meta(arch)
    every = [
        Imported(_fitted(convert(read.state, arch), model), name, read.part)
        for name, convert in converters.items()
    ]
    best = min(every, key=lambda imported: mismatches(model.state_dict(), imported.state))
    check_weights(model, best.state, where=str(path))
    return best


def _fitted(state: StateDict, model: nn.Module) -> StateDict:
    counters = {key: torch.tensor(0) for key in model.state_dict() if key.endswith(COUNTER)}
    return fit_biases(model, counters | state)
