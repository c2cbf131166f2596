"""Gaussian process regression with grouped noise, on inducing points, and its likelihood: numpy only.

y = f(x) + group effects + noise, with f ~ GP(0, k) and

    k(x, x') = sum_j w_j x_j x'_j + sum_g a_g exp(-1/2 sum_{j in g} ((x_j - x'_j) / l_gj)^2),

a linear part, which carries trends beyond the evidence, and smooth parts on groups of features. Group
effects are shared by rows of one family, one study, one network, so that an offset that a family owes to
its unrecorded training does not bend f. Prediction uses the deterministic training conditional (Quiñonero-
Candela and Rasmussen, 2005, section 5) with exact variances at the query: mean and sd cost O(m^2) a row for
m inducing points, chosen from the rows by pivoted Cholesky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Groups = tuple[tuple[int, ...], ...]


JITTER = 1e-6


@dataclass(frozen=True)
class Kernel:
    """The kernel above on standardised features; `theta` holds the logarithms of its parameters.

    Layout of `theta`: w of every feature; then for each group a and its l; then the variances of the
    noise and of each group effect.
    """

    theta: Array
    features: int
    groups: Groups

    @cached_property
    def linear(self) -> Array:
        """Prior variance of each feature's slope. Shape [features]."""
        return np.exp(self.theta[: self.features])

    @cached_property
    def parts(self) -> list[tuple[tuple[int, ...], float, Array]]:
        """Features, amplitude and lengths of each smooth part."""
        found, at = [], self.features
        for group in self.groups:
            found.append(
                (group, float(np.exp(self.theta[at])), np.exp(self.theta[at + 1 : at + 1 + len(group)]))
            )
            at += 1 + len(group)
        return found

    @property
    def variances(self) -> Array:
        """Variances of the noise and of each group effect."""
        at = self.features + sum(1 + len(group) for group in self.groups)
        return np.exp(self.theta[at:])

    def __call__(self, a: Array, b: Array) -> Array:
        total: Array = self.smooth(a, b)
        total += (a * self.linear) @ b.T
        return total

    def smooth(self, a: Array, b: Array) -> Array:
        """The smooth parts, rows of `a` against rows of `b`."""
        return self.against(a, [self.prepared(b, part) for part in range(len(self.groups))], slice(None))

    def prepared(self, b: Array, part: int) -> Array:
        """What rows of `b` are for one smooth part in `against`. Shape [features of the part + 2, len(b)]."""
        group, amplitude, lengths = self.parts[part]
        return _right(b[:, group] / lengths, amplitude)

    def against(self, a: Array, prepared: Sequence[Array], parts: slice) -> Array:
        """Some of the smooth parts, rows of `a` against rows that were `prepared` for each of all parts."""
        total: Array | None = None
        for (group, _, lengths), right in zip(self.parts[parts], prepared[parts], strict=True):
            each = _exponential(a[:, group] / lengths, right)
            total = each if total is None else np.add(total, each, out=total)
        assert total is not None, "a kernel has smooth parts"
        return total

    def diagonal(self, a: Array) -> Array:
        """k(x, x) of each row."""
        total: Array = (a**2) @ self.linear + sum(amplitude for _, amplitude, _ in self.parts)
        return total


def smooth(a: Array, b: Array, amplitude: float) -> Array:
    """amplitude * exp(-|a - b|^2 / 2), rows against rows.

    The squares and the amplitude go into the product of the matrices, as two further columns of each: a
    pass over the result would take as long as the product.
    """
    return _exponential(a, _right(b, amplitude))


def _right(b: Array, amplitude: float) -> Array:
    squares = np.einsum("ij,ij->i", b, b)
    return np.column_stack((b, np.ones(len(b)), np.log(amplitude) - 0.5 * squares)).T


def _exponential(a: Array, right: Array) -> Array:
    left = np.empty((len(a), a.shape[1] + 2))
    left[:, :-2], left[:, -1] = a, 1.0
    np.multiply(np.einsum("ij,ij->i", a, a), -0.5, out=left[:, -2])
    product: Array = left @ right
    return np.exp(product, out=product)


def noise_covariance(variances: Array, codes: Sequence[NDArray[np.int64]]) -> Array:
    """Covariance of noise and group effects; `codes[e][i]` is the group of row i under effect e, or -1."""
    n = len(codes[0])
    total = (variances[0] + 1e-4) * np.eye(n)
    for variance, code in zip(variances[1:], codes, strict=True):
        total += variance * shared(code)
    return total


def shared(code: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs of rows are of one group; -1 is of none. Shape [n, n]."""
    return np.equal(code[:, None], code[None, :]) & (code >= 0)


@dataclass(frozen=True)
class Posterior:
    """f given the evidence, on standardised features and targets.

    The first column of the loadings gives the mean, the others the prior variance that the evidence
    explains: from k(x, inducing) the smooth parts' share, from x the linear part's.
    """

    kernel: Kernel
    inducing: Array  # [m, features]
    smooth_loading: Array  # [m, 1 + rank]
    linear_loading: Array  # [features, 1 + rank]

    def with_slopes(self, slopes: Array) -> Posterior:
        """The same with a known linear trend added to the mean. `slopes` is [features]."""
        loading = self.linear_loading.copy()
        loading[:, 0] += slopes
        return replace(self, linear_loading=loading)

    @cached_property
    def _prepared(self) -> list[Array]:
        return [self.kernel.prepared(self.inducing, part) for part in range(len(self.kernel.groups))]

    def mean(self, x: Array) -> tuple[Array, Array]:
        """Mean of f at rows of `x` in two shares, group effects and noise left out. Shape [n] each.

        The first share is what the first group of features contributes, smooth and linear, the second
        what all the others do.
        """
        share, rest, _ = self._mean(x)
        return share, rest

    def _mean(self, x: Array) -> tuple[Array, Array, Array]:
        """The shares, and the smooth parts of the kernel against the inducing points."""
        weights, slopes = self.smooth_loading[:, 0], self.linear_loading[:, 0]
        own = list(self.kernel.groups[0])
        first = self.kernel.against(x, self._prepared, slice(1))
        share = first @ weights + x[:, own] @ slopes[own]
        first += self.kernel.against(x, self._prepared, slice(1, None))
        return share, first @ weights + x @ slopes - share, first

    def predict(self, x: Array) -> tuple[Array, Array, Array]:
        """The shares of `mean`, and the variance of f; group effects and noise left out. Shape [n] each."""
        share, rest, first = self._mean(x)
        explained = first @ self.smooth_loading[:, 1:]
        explained += x @ self.linear_loading[:, 1:]
        variance = self.kernel.diagonal(x) - np.einsum("ij,ij->i", explained, explained)
        return share, rest, np.maximum(variance, 1e-6)

    def covariance(self, x: Array) -> Array:
        """Covariance of f at rows of `x`. Shape [n, n]."""
        loaded = self.kernel.against(x, self._prepared, slice(None)) @ self.smooth_loading[:, 1:]
        loaded += x @ self.linear_loading[:, 1:]
        found: Array = self.kernel(x, x) - loaded @ loaded.T
        return found


def condition(
    kernel: Kernel, x: Array, y: Array, codes: Sequence[NDArray[np.int64]], *, inducing: int, rank: int
) -> Posterior:
    """The posterior of f. `x` is [n, features], `y` [n]; `codes` as in `noise_covariance`.

    Of the explained variance the `rank` directions that matter most at the rows are kept; leaving out
    the others can only widen the variance.
    """
    from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

    z = x[pivots(kernel, x, inducing)]
    kzz = kernel(z, z)
    kzz[np.diag_indices_from(kzz)] += JITTER * np.mean(np.diag(kzz))
    kzx = kernel(z, x)
    noise = cho_factor(noise_covariance(kernel.variances, codes), lower=True)
    lower = cholesky(kzz, lower=True)
    # Whitened: B = I + L^-1 K_zx N^-1 K_xz L^-T has no eigenvalue below 1, and
    # K_zz^-1 - (K_zz + K_zx N^-1 K_xz)^-1 = L^-T (I - B^-1) L^-1.
    white = solve_triangular(lower, kzx, lower=True)
    solved = cho_solve(noise, white.T)
    values, vectors = np.linalg.eigh(np.eye(len(z)) + white @ solved)
    weights = vectors @ ((vectors.T @ (solved.T @ y)) / values)
    explained = vectors * np.sqrt(np.maximum(1.0 - 1.0 / values, 0.0))
    directions = np.linalg.svd(white.T @ explained, full_matrices=False)[2][:rank]
    loading = solve_triangular(lower.T, np.column_stack([weights, explained @ directions.T]), lower=False)
    # Products round by the order in memory, and what comes from a file has this one.
    loading = np.ascontiguousarray(loading)
    return Posterior(kernel, z, loading, np.ascontiguousarray((z * kernel.linear).T @ loading))


def exact_weights(kernel: Kernel, x: Array, y: Array, codes: Sequence[NDArray[np.int64]]) -> Array:
    """Weights of the rows in the posterior mean, without inducing points. Shapes as in `condition`; [n]."""
    covariance = kernel(x, x) + noise_covariance(kernel.variances, codes)
    weights: Array = np.asarray(np.linalg.solve(covariance, y), dtype=np.float64)
    return weights


def exact(kernel: Kernel, x: Array, weights: Array) -> Posterior:
    """The posterior mean that `weights` give; its variance is the prior's."""
    loading = weights[:, None]
    return Posterior(kernel, x, loading, (x * kernel.linear).T @ loading)


def pivots(kernel: Kernel, x: Array, count: int) -> NDArray[np.int64]:
    """Rows that leave least prior variance unexplained, by pivoted Cholesky; at most `count`."""
    prior = kernel(x, x)
    left = np.diag(prior).copy()
    scale = float(left.mean())
    factor = np.zeros((min(count, len(x)), len(x)))
    chosen: list[int] = []
    for step in range(len(factor)):
        best = int(np.argmax(left))
        if left[best] < 1e-6 * scale:
            break
        row = prior[best] - factor[:step, best] @ factor[:step]
        factor[step] = row / np.sqrt(left[best])
        left = np.maximum(left - factor[step] ** 2, 0.0)
        left[best] = 0.0
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)


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
    kernel: Kernel,
    x: Array,
    y: Array,
    codes: Sequence[NDArray[np.int64]],
    *,
    iterations: int,
    averaged: int = 1,
    held: int = 0,
) -> Kernel:
    """The kernel with the most likely hyperparameters, searched from those of `kernel`.

    They are the mean of the last `averaged` steps of the search. The variances of the last `held` group
    effects stay as they are.

    Standardised `x` [n, features] and `y` [n]; `codes` as in `hvnas.accuracy.surrogate.gp.noise_covariance`.
    Deterministic; 0.1 to 0.2 s an iteration at 850 rows on one core.
    """
    from scipy.optimize import minimize

    def objective(theta: Array) -> tuple[float, Array]:
        return _penalised(replace(kernel, theta=theta), x, y, codes)

    mean, spread = _prior(kernel.features, kernel.groups)
    reach = [(m - 4.0 * d, m + 4.0 * d) for m, d in zip(mean, spread, strict=True)]
    reach += [NOISE_REACH] * (len(kernel.theta) - len(reach) - held)
    reach += [(value, value) for value in kernel.theta[len(kernel.theta) - held :]]
    steps: list[Array] = []
    found = minimize(
        objective,
        kernel.theta,
        jac=True,
        method="L-BFGS-B",
        bounds=reach,
        options={"maxiter": iterations},
        callback=lambda theta: steps.append(theta.copy()),
    )
    theta: Array = np.mean(np.array(steps[-averaged:]), axis=0) if averaged > 1 and steps else found.x
    return replace(kernel, theta=np.round(theta, 4))


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
    from scipy.linalg import cho_factor, cho_solve

    variances = kernel.variances
    factor = cho_factor(kernel(x, x) + noise_covariance(variances, codes), lower=True)
    alpha = cho_solve(factor, y)
    value = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
    # d value / d theta = 1/2 tr(s dK / d theta)
    s = cho_solve(factor, np.eye(len(y))) - np.outer(alpha, alpha)
    pieces = [0.5 * kernel.linear * np.einsum("ij,ij->j", x, s @ x)]
    for group, amplitude, lengths in kernel.parts:
        u = x[:, group] / lengths
        weighted = s * smooth(u, u, amplitude)
        sums = weighted.sum(axis=1)
        along = sums @ u**2 - np.einsum("ij,ij->j", u, weighted @ u)
        pieces.append(np.concatenate([[0.5 * sums.sum()], along]))
    noise = [variances[0] * np.trace(s)]
    noise += [v * float(s[shared(code)].sum()) for v, code in zip(variances[1:], codes, strict=True)]
    return value, np.concatenate([*pieces, 0.5 * np.array(noise)])
