"""Where a network is trained and scored."""

from __future__ import annotations

import torch


def device_of(name: str | None) -> torch.device:
    """torch's device called `name`; where there is no name CUDA, or else the CPU.

    Raises ValueError where torch knows no such device or cannot use it here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    # torch says so in many ways: an unknown name, no driver, a build without CUDA
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"device: {name!r} cannot be used here ({reason}); give cpu") from None
