"""Hyperparameters of the Gaussian process by penalised marginal likelihood, gradients in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hvnas.accuracy.gp import Array, Groups, Kernel, noise_covariance, shared, smooth

# Log-normal priors (mean, sd of the logarithm): slopes weak, lengths a few standard deviations wide,
# growing with the root of the group's size so that no group starts out white.
SLOPE_PRIOR = (-4.0, 1.5)
AMPLITUDE_PRIOR = (-1.0, 1.5)
LENGTH_SPREAD = 1.0

# Beyond these the covariance is no longer positive definite in double precision.
NOISE_REACH = (np.log(1e-4), np.log(10.0))


def initial(features: int, groups: Groups, effects: int, *, held: int = 0) -> Array:
    """Where the search starts: the means of the priors, and small noise. Layout as in `Kernel`.

    Behind `effects` group effects of small variance come `held` effects of the target's own variance.
    """
    mean, _ = _prior(features, groups)
    return np.concatenate([mean, np.log([0.02, *([0.05] * effects), *([1.0] * held)])])


def _prior(features: int, groups: Groups) -> tuple[Array, Array]:
    mean, spread = [np.full(features, SLOPE_PRIOR[0])], [np.full(features, SLOPE_PRIOR[1])]
    for group in groups:
        length = np.log(3.0 * np.sqrt(len(group)))
        mean.append(np.array([AMPLITUDE_PRIOR[0], *([length] * len(group))]))
        spread.append(np.array([AMPLITUDE_PRIOR[1], *([LENGTH_SPREAD] * len(group))]))
    return np.concatenate(mean), np.concatenate(spread)


def maximise(
    kernel: Kernel, x: Array, y: Array, codes: Sequence[NDArray[np.int64]], *, iterations: int, held: int = 0
) -> Kernel:
    """The kernel with the most likely hyperparameters, searched from those of `kernel`.

    The variances of the last `held` group effects stay as they are.

    Standardised `x` [n, features] and `y` [n]; `codes` as in `hvnas.accuracy.gp.noise_covariance`.
    Deterministic; 0.1 to 0.2 s an iteration at 850 rows on one core.
    """

    def objective(theta: Array) -> tuple[float, Array]:
        return _penalised(replace(kernel, theta=theta), x, y, codes)

    mean, spread = _prior(kernel.features, kernel.groups)
    reach = [(m - 4.0 * d, m + 4.0 * d) for m, d in zip(mean, spread, strict=True)]
    reach += [NOISE_REACH] * (len(kernel.theta) - len(reach) - held)
    reach += [(value, value) for value in kernel.theta[len(kernel.theta) - held :]]
    found = minimize(
        objective, kernel.theta, jac=True, method="L-BFGS-B", bounds=reach, options={"maxiter": iterations}
    )
    return replace(kernel, theta=np.round(found.x, 4))


def _penalised(kernel: Kernel, x: Array, y: Array, codes: Sequence[NDArray[np.int64]]) -> tuple[float, Array]:
    value, gradient = _negative_log_likelihood(kernel, x, y, codes)
    mean, spread = _prior(kernel.features, kernel.groups)
    gap = (kernel.theta[: len(mean)] - mean) / spread
    value += 0.5 * float(gap @ gap)
    gradient[: len(mean)] += gap / spread
    return value, gradient


def _negative_log_likelihood(
    kernel: Kernel, x: Array, y: Array, codes: Sequence[NDArray[np.int64]]
) -> tuple[float, Array]:
    variances = kernel.variances
    factor = cho_factor(kernel(x, x) + noise_covariance(variances, codes), lower=True)
    alpha = cho_solve(factor, y)
    value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
    # d value / d theta = 1/2 tr(s dK / d theta)
    s = cho_solve(factor, np.eye(len(y))) - np.outer(alpha, alpha)
    pieces = [0.5 * kernel.linear * np.einsum("ij,ij->j", x, s @ x)]
    for group, amplitude, lengths in kernel.parts():
        u = x[:, group] / lengths
        weighted = s * smooth(u, u, amplitude)
        sums = weighted.sum(axis=1)
        along = sums @ u**2 - np.einsum("ij,ij->j", u, weighted @ u)
        pieces.append(np.concatenate([[0.5 * sums.sum()], along]))
    noise = [variances[0] * np.trace(s)]
    noise += [v * float(s[shared(code)].sum()) for v, code in zip(variances[1:], codes, strict=True)]
    return value, np.concatenate([*pieces, 0.5 * np.array(noise)])
