"""AZ-NAS's trainability: how far blocks keep the size of gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from hvnas.accuracy.proxies.blockwise import as_rows, rows_like, run_blocks
from hvnas.accuracy.proxies.subject import Subject

IMAGES = 8


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


def az_trainability(subject: Subject) -> float:
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

    run_blocks(subject, subject.images(IMAGES), visit, gradients=True)
    return sum(terms) / len(terms) if terms else float("nan")
