"""Reading safetensors with torch alone: part of every exported model.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ValueError where it is cut short or no such file."""
    try:
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            shape, begin = entry["shape"], start + entry["data_offsets"][0]
            flat = torch.frombuffer(data, dtype=DTYPES[entry["dtype"]], count=math.prod(shape), offset=begin)
            tensors[name] = flat.view(shape)
        return tensors
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a complete safetensors file ({type(error).__name__}); export it again"
        ) from None
