"""AZ-NAS's expressivity: how evenly features spread over their channels."""

from __future__ import annotations

import torch
from torch import Tensor

from hvnas.accuracy.proxies.blockwise import as_rows, run_blocks
from hvnas.accuracy.proxies.subject import Subject

IMAGES = 8


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


def az_expressivity(subject: Subject) -> float:
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
    run_blocks(subject, subject.images(IMAGES), lambda _, y: entropies.append(isotropy(y)))
    return sum(entropies)
