"""Scenarios: generalisation at 1.28 million images, and what a network gains from many more.

``imagenet1k`` is what the evidence holds. ``large-data`` is that plus a shift: pre-training on ImageNet-21k,
then fine-tuning. The shift is fitted on the networks with both results under one protocol
(`data/large_data.csv`) as a plane in the logarithm of params and the share of token mixers that attend:
capacity pays with data, and attention has more of it (CoAtNet, arXiv 2106.04803, section 2.2). Slopes have
normal priors; offsets of the two papers are drawn around a common one. Results trained without any
regularisation, as CoAtNet's Figure 1, are of neither scenario and never mixed with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_csv
from hvnas.accuracy.columns import NAMES
from hvnas.accuracy.evidence import load_evidence
from hvnas.accuracy.features import Array, attending_share

DATA = Path(__file__).resolve().parent / "data"

# Priors in points: of the offset, of the slope per e-fold of params, of all mixers attending against none;
# of a paper's own offset and of one pair of trainings (0.3 is two seeds and two fine-tunings).
PRIOR = np.array([3.0, 2.0, 3.0])
STUDY, RUN = 1.0, 0.4
CENTER = float(np.log(50e6))


@dataclass(frozen=True)
class Shift:
    """Top-1 points that large data adds, by network."""

    weights: Array
    covariance: Array

    def __call__(self, values: Array) -> tuple[Array, Array]:
        """Shift and its sd of networks with these column values. Shape [n] each."""
        x = _design(values)
        variance = np.einsum("ij,jk,ik->i", x, self.covariance, x) + STUDY**2 + RUN**2
        return x @ self.weights, np.sqrt(variance)

    def joint(self, values: Array) -> tuple[Array, Array]:
        """Shift and its covariance among networks of one study: the study's own offset cancels."""
        x = _design(values)
        return x @ self.weights, x @ self.covariance @ x.T + RUN**2 * np.eye(len(x))


def _design(values: Array) -> Array:
    # Within what the pairs span: no shift is followed beyond the smallest and the largest of them.
    params = np.clip(np.log(np.maximum(values[:, NAMES.index("params")], 1.0)), np.log(17e6), np.log(180e6))
    return np.stack([np.ones(len(values)), params - CENTER, attending_share(values)], axis=1)


def fit_shift(values: Array, shift: Array, studies: NDArray[np.str_]) -> Shift:
    """The plane through `shift` [n] of networks with column values [n, columns] from these papers."""
    x = _design(values)
    noise = RUN**2 * np.eye(len(x)) + STUDY**2 * (studies[:, None] == studies[None, :])
    precision = np.linalg.solve(noise, x)
    covariance = np.linalg.inv(x.T @ precision + np.diag(PRIOR**-2.0))
    return Shift(np.asarray(covariance @ (precision.T @ shift)), np.asarray(covariance))


def pairs() -> tuple[tuple[str, ...], Array, Array, NDArray[np.str_]]:
    """Networks with both results: names, column values, shift in points, papers."""
    evidence = load_evidence()
    first = {str(name): row for row, name in reversed(list(enumerate(evidence.networks)))}
    rows = list(read_csv(DATA / "large_data.csv", ("network", "study", "top1", "top1_large", "source")))
    names = tuple(row.text("network") for row in rows)
    return (
        names,
        evidence.values[[first[name] for name in names]],
        np.array([row.number_of("top1_large") - row.number_of("top1") for row in rows]),
        np.array([row.text("study") for row in rows]),
    )


@cache
def large_data_shift() -> Shift:
    """The shift fitted on all pairs, made once."""
    _, values, shift, studies = pairs()
    return fit_shift(values, shift, studies)
