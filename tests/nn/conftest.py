"""Parity with other code bases' modules."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.nn import build
from hvnas.nn.foreign import converter
from hvnas.supernet.scoring import recalibrate

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def randomise(model: nn.Module) -> None:
    """Every weight and statistic at random, none at its initial value, activations of order one."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        with torch.no_grad():
            if tensor.dim() > 1:
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / math.sqrt(fan_in))
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
            else:
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))


@pytest.fixture(name="randomise")
def _randomise() -> Callable[[nn.Module], None]:
    """`randomise`, for tests in other files."""
    return randomise


@pytest.fixture
def parity() -> Callable[..., None]:
    """`check(theirs, arch, *dtypes)`: same weights, same logits to 1e-5 (float64: 1e-10) of the largest.

    The image has `size` pixels a side, the architecture's own resolution unless given. Statistics are those
    of random images: drawn at random, activations grow to 1e10 in a deep network, and rounding errors more.
    """

    def check(theirs: nn.Module, arch: Arch, *dtypes: torch.dtype, size: int | None = None) -> None:
        size = size or arch.resolution
        generator = torch.Generator().manual_seed(1)
        randomise(theirs)
        recalibrate(theirs, [torch.randn(4, 3, size, size, generator=generator)])
        assert arch.published is not None
        weights = converter("timm", arch.published["family"])(theirs.state_dict(), arch)
        ours = build(arch)
        ours.load_state_dict(weights)
        for dtype in dtypes:
            image = torch.randn(1, 3, size, size, dtype=dtype, generator=generator)
            with torch.no_grad():
                wanted: Tensor = theirs.to(dtype).eval()(image)
                got: Tensor = ours.to(dtype).eval()(image)
            assert wanted.std() > 1e-2
            assert (got - wanted).abs().max() <= TOLERANCE[dtype] * wanted.abs().max(), dtype

    return check
