"""Reading checkpoints of other code bases, which need not be trusted: tensors and nothing else."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hvnas.nn.foreign.base import StateDict
from hvnas.nn.weights import read_safetensors

# Where training scripts keep the weights, averaged ones first: those are what is published and evaluated.
NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")
# What torch's unpickler says where a file asks for more than tensors and plain data.
_CODE = re.compile(
    r"(?:Unsupported|Trying to) .*?(?:global|class|operand|instantiate|call|set).*|TorchScript", re.IGNORECASE
)
_NAMED = re.compile(r"GLOBAL ([\w.]+)")


def read_checkpoint(path: str | Path) -> StateDict:
    """The state dict in a safetensors file or in a file of ``torch.save``.

    Of the latter only tensors and plain data are read (``weights_only``), no code is run. A state dict
    that a training script keeps beside other things is found, and the prefix of data-parallel training
    taken off. Raises ValueError, one line, naming the file and what is wrong with it.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; check the path")
    state = read_safetensors(path) if Path(path).suffix == ".safetensors" else _read_pickle(path)
    return _bare(_state_dict(state, path))


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


def _state_dict(data: Any, path: str | Path) -> StateDict:
    if isinstance(data, Mapping):
        data = next((data[key] for key in NESTED if isinstance(data.get(key), Mapping)), data)
    if not isinstance(data, Mapping) or not data:
        raise ValueError(f"{path}: holds no state dict; names of tensors are wanted, with the tensors")
    for key, value in data.items():
        if not isinstance(key, str) or not _is_plain(value):
            raise ValueError(
                f"{path}: {str(key)[:80]!r} is no dense tensor but {type(value).__name__}; "
                "save the state dict alone"
            )
    return dict(data)


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _bare(state: StateDict) -> StateDict:
    prefix = "module."
    if not all(key.startswith(prefix) for key in state):
        return state
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}
