"""A network made ready to be probed: weights drawn from a seed, images and labels from the same seed.

Shapes: B batch, C channels, H W height and width, N tokens, D token dimension.

Probes must measure the architecture, not the initialisation that a paper trains it with: a layer scale
of 1e-5 or a zero-initialised norm hides every residual branch from a gradient. So convolutions and linear
layers are drawn anew with Kaiming's fan-in rule (1502.01852, Equation 10: variance 2 / fan-in), biases
are zero, norms pass their input on (weight 1, bias 0, running mean 0 and variance 1), layer scales are 1.
Tables of position biases, position embeddings and tokens stay as the network is built.

Images are standard normal noise and labels are uniform: no data set is needed, and none is used. ZiCo
was published with real images; the difference has not been measured here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.nn import Network, build

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
WEIGHTED = (nn.Conv2d, nn.Linear)
LAYER_SCALE = "gamma"

# Layers of attention in modules that hold other layers, too; elsewhere the class says so by its name.
_ATTENTION_PARTS = {"AttnDownModule": ("q", "kv", "proj"), "Former": ("q", "k", "v", "proj")}
_ATTENTION_CLASSES = frozenset({"ToFormer", "FromFormer"})


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A context in which torch draws from `seed`; its generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class ProbedNetwork:
    """A network ready to be probed.

    `blocks` are its blocks in the order in which they run, the stem and the head left out; `resolution` is
    the size of its images; `seed` is what weights, images and labels are drawn from.
    """

    model: nn.Module
    blocks: tuple[nn.Module, ...]
    resolution: int
    seed: int = 0

    @classmethod
    def of(cls, arch: Arch, *, seed: int = 0) -> ProbedNetwork:
        """The network of `arch` at its own resolution. Raises ValueError as `hvnas.build` does."""
        with seeded(seed):
            model = build(arch)
        return cls.ready(model, blocks=_blocks(model), resolution=arch.resolution, seed=seed)

    @classmethod
    def ready(
        cls, model: nn.Module, *, blocks: Iterable[nn.Module], resolution: int, seed: int = 0
    ) -> ProbedNetwork:
        """Any torch module ``[B, 3, R, R] -> [B, classes]``, initialised anew in place."""
        initialise(model, torch.Generator().manual_seed(seed))
        return cls(model, tuple(block for block in blocks if layers(block)), resolution, seed)

    def images(self, n: int) -> Tensor:
        """`n` images of standard normal noise, always the same ``[n, 3, R, R]``."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(n, 3, self.resolution, self.resolution, generator=generator)

    def labels(self, n: int) -> Tensor:
        """`n` labels, always the same: whole numbers to be taken modulo the number of classes."""
        generator = torch.Generator().manual_seed(self.seed + 2)
        return torch.randint(2**31, (n,), generator=generator)


def _blocks(network: Network) -> Iterator[nn.Module]:
    for stage in network.stages:
        assert isinstance(stage.local, nn.Sequential)
        assert isinstance(stage.global_, nn.Sequential)
        assert isinstance(stage.downsample, nn.Module)
        yield stage.downsample
        yield from stage.local
        yield from stage.global_


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of `model` anew, in place; see the top of this file."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, WEIGHTED):
                fan_in = module.weight[0].numel()
                module.weight.normal_(0.0, math.sqrt(2.0 / fan_in), generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, NORMS):
                module.reset_parameters()
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] == LAYER_SCALE:
                parameter.fill_(1.0)


def layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers in order, those within attention included."""
    return [module for module in model.modules() if isinstance(module, WEIGHTED)]


def attention_layers(model: nn.Module) -> set[nn.Module]:
    """The layers that make queries, keys and values, and those that project what attention returns.

    All layers of a module whose class is called an attention, and the parts of those that hold more.
    """
    found: set[nn.Module] = set()
    for module in model.modules():
        kind = type(module).__name__
        if "Attention" in kind or kind in _ATTENTION_CLASSES:
            found.update(layers(module))
        for part in _ATTENTION_PARTS.get(kind, ()):
            found.update(layers(getattr(module, part)))
    return found
