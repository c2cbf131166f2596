"""A network built once, cheaply, for tracing and for one real forward pass.

Initialising weights costs more than running the network. Here the parameters stay on meta while it is
built, buffers (index tables, running statistics) are real, and the parameters are filled from one
block of random numbers when the network is to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from hvnas.arch import Arch
from hvnas.nn import Network

_BLOCK = 2**20


def build_without_weights(arch: Arch) -> Network:
    """The module with its parameters on meta and its buffers on the CPU, in eval mode."""
    with _parameters_on_meta():
        return Network(arch).eval()


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        return None if parameter is None else nn.Parameter(parameter.to("meta"))

    # torch annotates the hook as returning nothing, and takes what it returns
    handle = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch: at batch 1 two gain little, and on a busy machine wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fill_weights(model: nn.Module, *, seed: int = 0) -> None:
    """Give every parameter memory and values, in place.

    Weights of two axes or more: normal, variance 1 / inputs, so that activations keep their size. Of one
    axis: 1 for factors, 0 for what is added. The numbers of large tensors repeat.
    """
    block = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed))
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            value = torch.empty(parameter.shape)
            if parameter.dim() < 2:
                value.fill_(0.0 if name == "bias" else 1.0)
            else:
                _fill(value, block, (parameter.shape[0] / parameter.numel()) ** 0.5)
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))


def _fill(value: Tensor, block: Tensor, scale: float) -> None:
    for part in value.view(-1).split(len(block)):
        torch.mul(block[: len(part)], scale, out=part)


def forward_problem(model: Network) -> str | None:
    """What is wrong with one forward pass on a random image, or None.

    The model must return finite logits ``[1, classes]``; it is run in eval mode without gradients.
    """
    arch = model.arch
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, arch.resolution, arch.resolution, generator=generator)
    with torch.no_grad():
        logits = model.eval()(image)
    if tuple(logits.shape) != (1, arch.head.out):
        return f"logits {list(logits.shape)} in place of {[1, arch.head.out]}"
    return None if bool(torch.isfinite(logits).all()) else "logits that are not finite"
