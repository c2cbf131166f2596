"""Proxies that are made of what a network computes: NASWOT, AZ-NAS's expressivity and trainability.

NASWOT reads how nonlinearities treat images; the other two run a network block by block, without gradients
between blocks.

Shapes: B batch, C channels, P positions (of a map, or tokens).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from hvnas.accuracy.proxies.probed import ProbedNetwork

NASWOT_IMAGES = 16

_ATEN = torch.ops.aten
_ACTS = frozenset(
    getattr(_ATEN, name + ending)
    for name in "relu gelu silu hardswish hardtanh leaky_relu elu hardsigmoid sigmoid tanh".split()
    for ending in ("", "_")
    if hasattr(_ATEN, name + ending)
)
_SOFTMAX = frozenset({_ATEN._softmax, _ATEN._safe_softmax})


class Codes(TorchDispatchMode):
    """Adds up, over every nonlinearity that runs, in how many bits the codes of two samples agree.

    `agreement` is ``[B, B]``; `bits` is the length of a code.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.agreement = torch.zeros(samples, samples, dtype=torch.float64)
        self.bits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        if packet in _ACTS:
            self._add(args[0] > 0)
        out = func(*args, **(kwargs or {}))
        if packet in _SOFTMAX:
            self._add(out * out.shape[args[1]] > 1)
        return out

    def _add(self, code: Tensor) -> None:
        samples = len(self.agreement)
        if code.dim() == 0 or code.shape[0] % samples:
            return  # of parameters alone: no sample has a say
        c = code.reshape(samples, -1).float()
        ones, units = c.sum(1), c.shape[1]
        # c·c' + (1 - c)·(1 - c'), without the second product
        self.agreement += 2 * (c @ c.T) - ones[:, None] - ones + units
        self.bits += units


def agreement(subject: ProbedNetwork, images: Tensor) -> Tensor:
    """K_H ``[B, B]``: in how many bits the codes of two images agree."""
    subject.model.train()
    # attention in elementary operations: the fused kernels hide the softmax
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Codes(len(images)) as codes:
        subject.model(images)
    return codes.agreement


def naswot(subject: ProbedNetwork) -> float:
    """``log |det K_H|``, ``K_H[i, j] = c_i · c_j + (1 - c_i) · (1 - c_j)`` over 16 images.

    c_i is the binary code of image i: one bit for each unit of each nonlinearity, 1 where its input is
    positive. Convolutions and linear layers are seen through the activation behind them: ReLU and ReLU6
    as published, and GELU, SiLU, Hardswish, sigmoid and tanh by the same sign. Softmax attention has no
    kink; here, a weight's bit is 1 where it exceeds the uniform share 1/m of its row of m keys. ReLU
    linear attention is seen by its ReLU. Batch norm uses the batch's own statistics.

    Source: "Neural Architecture Search without Training", 2006.04647, section 3; the rules for smooth
    activations and for softmax are this project's. Known failure: it is mostly a count of units, since
    every unit adds to the diagonal, and says little among networks of equal activations. Two images of
    equal codes give -inf. Cost: one forward pass of 16 images without gradients.
    """
    return float(torch.linalg.slogdet(agreement(subject, subject.images(NASWOT_IMAGES))).logabsdet)


# Called with what a block is given and what it returns: a map or tokens each.
Visit = Callable[[Tensor, Tensor], None]


@contextmanager
def visiting(blocks: tuple[nn.Module, ...], visit: Visit, *, gradients: bool = False) -> Iterator[None]:
    """A context in which `visit(x, y)` is called whenever a block has run.

    Of a pair of map and global tokens, x and y are the maps. With `gradients`, y depends on x and on
    nothing before it.
    """
    with ExitStack() as stack:
        for block in blocks:
            seen: list[Tensor] = []
            stack.callback(block.register_forward_pre_hook(_entering(seen, gradients)).remove)
            stack.callback(block.register_forward_hook(_leaving(seen, visit)).remove)
        yield


def _entering(seen: list[Tensor], gradients: bool) -> Callable[..., Any]:
    def enter(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        first, *rest = args
        x = _main(first).detach().requires_grad_(gradients)
        seen[:] = [x]
        # a copy: the block may begin with an operation in place, which a leaf cannot take
        given = x.clone()
        return ((given, *first[1:]) if isinstance(first, tuple) else given, *rest)

    return enter


def _leaving(seen: list[Tensor], visit: Visit) -> Callable[..., Any]:
    def leave(_: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        visit(seen[0], _main(out))
        return tuple(part.detach() for part in out) if isinstance(out, tuple) else out.detach()

    return leave


def _main(value: Tensor | tuple[Tensor, ...]) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


def positions(x: Tensor) -> int:
    """Positions of a map ``[B, C, H, W]``, or tokens of ``[B, N, D]``."""
    return x.shape[2] * x.shape[3] if x.dim() == 4 else x.shape[1]


def as_rows(x: Tensor) -> Tensor:
    """A map or tokens as ``[B, P, C]``."""
    return x.flatten(2).transpose(1, 2) if x.dim() == 4 else x


def rows_like(x: Tensor, target: Tensor) -> Tensor | None:
    """`x` as ``[B, P, C']`` at the positions of `target`; None where the two do not correspond.

    Where `x` is finer by a whole stride s, each position of `target` holds the s x s positions of `x` that
    it covers side by side, zeros beyond the edge: C' = s² C. Tokens are the positions of a square map.
    """
    if positions(x) == positions(target):
        return as_rows(x)
    x_BCHW, side = _square(x), math.isqrt(positions(target))
    if x_BCHW is None or side**2 != positions(target) or side == 0:
        return None
    stride = math.ceil(x_BCHW.shape[2] / side)
    if stride < 2 or stride * side - x_BCHW.shape[2] >= stride:
        return None
    missing = stride * side - x_BCHW.shape[2]
    return as_rows(F.pixel_unshuffle(F.pad(x_BCHW, (0, missing, 0, missing)), stride))


def _square(x: Tensor) -> Tensor | None:
    """A square map of a map or of tokens; None where there is none."""
    if x.dim() == 4:
        return x if x.shape[2] == x.shape[3] else None
    side = math.isqrt(x.shape[1])
    return x.transpose(1, 2).unflatten(2, (side, side)) if side**2 == x.shape[1] else None


def run_blocks(subject: ProbedNetwork, images: Tensor, visit: Visit, *, gradients: bool = False) -> None:
    """Run `images` through the network, batch norm on the batch's own statistics, and `visit` each block."""
    subject.model.train()
    with torch.set_grad_enabled(gradients), visiting(subject.blocks, visit, gradients=gradients):
        subject.model(images)


AZ_IMAGES = 8


def isotropy(features: Tensor) -> float:
    """``-sum p log p`` with p the normalised eigenvalues of the channels' covariance.

    `features` is a map ``[B, C, H, W]`` or tokens ``[B, N, D]``; every position of every image is a
    sample. At most log(channels); 0 where features do not vary.
    """
    rows = as_rows(features).flatten(0, 1)
    rows = rows - rows.mean(0)
    # the smaller of the two products has the same eigenvalues but for zeros
    product = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    eigenvalues = torch.linalg.eigvalsh(product.double()).clamp(min=0)
    total = eigenvalues.sum()
    if total == 0:
        return 0.0
    return float(torch.special.entr(eigenvalues / total).sum())


def az_expressivity(subject: ProbedNetwork) -> float:
    """``sum over blocks of H(p)``: the entropy of the normalised principal components of their outputs.

    Blocks of any kind: what counts is their output, a map's positions or tokens being the samples;
    convolution, linear and attention layers inside have no say of their own. The stem and the head are
    left out, downsampling layers count as blocks. 8 images of noise, batch norm on their statistics.

    Source: "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", 2403.19232, section 3,
    expressivity. Known failure: entropies are all near log(width), so that the sum is mostly a count of
    blocks, weighted by the logarithm of their width. Cost: one forward pass of 8 images without
    gradients, and the eigenvalues of one matrix of width x width per block.
    """
    entropies: list[float] = []
    run_blocks(subject, subject.images(AZ_IMAGES), lambda _, y: entropies.append(isotropy(y)))
    return sum(entropies)


def stability(x: Tensor, y: Tensor, generator: torch.Generator) -> float | None:
    """``2 - s - 1/s`` with s the spectral norm of the block ``x -> y`` as a linear map of channels.

    For a Rademacher vector g at y, ``A = E[g_x g^T]`` over images and positions, g_x its product with
    the block's Jacobian. 0 where s = 1, negative elsewhere; None where positions do not correspond.
    """
    g = torch.empty_like(y).bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
    (at_x,) = torch.autograd.grad(y, x, g)
    before = rows_like(at_x, y)
    if before is None:
        return None
    after = as_rows(g)
    map_ = torch.einsum("bpc,bpd->cd", before, after) / (after.shape[0] * after.shape[1])
    norm = float(torch.linalg.matrix_norm(map_, ord=2))
    return 2.0 - norm - 1.0 / norm if norm > 0 else float("-inf")


def az_trainability(subject: ProbedNetwork) -> float:
    """``mean over blocks of 2 - s - 1/s``, s the spectral norm of a block as a linear map of channels.

    A block is taken to act on the channels of every position alike, whatever convolution, linear or
    attention layers are inside: its Jacobian is estimated by sending Rademacher noise back through the
    block alone. Where a block strides, an output position stands for the input positions that it
    covers. Blocks whose positions do not correspond (a class token that is added) are left out, and so
    are the stem and the head. 8 images of noise, batch norm on their statistics.

    Source: "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", 2403.19232, section 3,
    trainability. Known failure: it rewards blocks near the identity, so it ranks plain transformers
    backwards by size; useful beside a measure of size, not alone. Cost: one forward and backward pass of
    8 images, and the singular values of one matrix of width x width per block.
    """
    generator = torch.Generator().manual_seed(subject.seed + 3)
    terms: list[float] = []

    def visit(x: Tensor, y: Tensor) -> None:
        term = stability(x, y, generator)
        if term is not None:
            terms.append(term)

    run_blocks(subject, subject.images(AZ_IMAGES), visit, gradients=True)
    return sum(terms) / len(terms) if terms else float("nan")
