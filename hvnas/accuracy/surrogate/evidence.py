"""The published results that the surrogate is fitted on, and what large data adds to them.

Scenarios: generalisation at 1.28 million images, and what a network gains from many more.

``imagenet1k`` is what the evidence holds. ``large-data`` is that plus a shift: pre-training on ImageNet-21k,
then fine-tuning. The shift is fitted on the networks with both results under one protocol
(`data/large_data.csv`) as a plane in the logarithm of params and in what the attending share of the token
mixers brings: capacity pays with data, and attention has more of it (CoAtNet, arXiv 2106.04803, section 2.2).
With families left out of the pairs, CoAtNet's aside altogether, a share that brings nothing more beyond some
point is best (`scripts/shift_shape.py`). Where that point lies is not identified: between no attention and a
share of `SATURATED` those pairs have no network, so that it counts as anywhere in between, alike. Slopes have
normal priors; offsets of the two papers are drawn around a common one. Results trained without any
regularisation, as CoAtNet's Figure 1, are of neither scenario and never mixed with them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_text, refusing
from hvnas._names import shown
from hvnas._numbers import LARGEST
from hvnas._records import read_csv
from hvnas.accuracy.surrogate.ablations import Ablation, ablation_values, load_ablations, load_theory
from hvnas.accuracy.surrogate.features import NAMES, Array, attending_share, derive
from hvnas.train.recipes import AUGMENTATIONS, MOST_EPOCHS, Recipe

DATA = Path(__file__).resolve().parents[1] / "data"


# What estimates know of training. Distillation and the two older augmentation classes are switches
# beside modern augmentation without a teacher; 300 epochs is the origin of the schedule. A teacher is
# whatever gives soft labels: another network, a larger member of the family, or the network's own average.
_COLUMNS = ("model", "family", "study", "top1", "epochs", "distilled", "augmentation", "origin")
RECIPE_FEATURES: tuple[str, ...] = ("log_epochs", "distilled", "basic", "policy")

# Priors in points: of the offset, of the slope per e-fold of params, of all mixers attending against none;
# of a paper's own offset and of one pair of trainings (0.3 is two seeds and two fine-tunings).
PRIOR = np.array([3.0, 2.0, 3.0])
STUDY, RUN = 1.0, 0.4
CENTER = float(np.log(50e6))
# The smallest share of attending mixers in the pairs that has any, those of CoAtNet aside.
SATURATED = 0.688


def recipe_features(epochs: float, distilled: bool, augmentation: str) -> list[float]:
    """A recipe as numbers, in the order of RECIPE_FEATURES."""
    assert augmentation in AUGMENTATIONS, augmentation
    return [
        log(epochs / 300.0),
        float(distilled),
        float(augmentation == "basic"),
        float(augmentation == "policy"),
    ]


def covariates(recipe: Recipe) -> list[float]:
    """The covariates of a recipe, in the order of RECIPE_FEATURES."""
    return recipe_features(recipe.epochs, recipe.distilled, recipe.augmentation)


@dataclass(frozen=True)
class Evidence:
    """One row per published result; `values` are the columns of `hvnas.accuracy.surrogate.features`."""

    models: tuple[str, ...]
    families: NDArray[np.str_]
    studies: NDArray[np.str_]
    networks: NDArray[np.str_]
    papers: NDArray[np.bool_]  # from a paper's table instead of timm's results
    ablations: NDArray[np.str_]  # the study whose offset the row shares; empty for results of their own
    top1: Array
    values: Array
    recipes: Array

    def __repr__(self) -> str:
        return f"Evidence({len(self)} published results)"

    def __len__(self) -> int:
        return len(self.models)

    @cached_property
    def features(self) -> Array:
        """Features of network and recipe, side by side. Shape [n, features]."""
        return np.hstack([derive(self.values), self.recipes])

    def where(self, keep: NDArray[np.bool_]) -> Evidence:
        """The rows that `keep` holds for."""
        return Evidence(
            tuple(m for m, k in zip(self.models, keep, strict=True) if k),
            self.families[keep],
            self.studies[keep],
            self.networks[keep],
            self.papers[keep],
            self.ablations[keep],
            self.top1[keep],
            self.values[keep],
            self.recipes[keep],
        )


def load_evidence(path: str | Path = DATA / "evidence.csv", *, ablations: bool = True) -> Evidence:
    """Read an evidence table as scripts/build_evidence.py writes it, the published ablations behind it.

    Raises ValueError, one line, naming the file where columns are missing or a value is no number.
    """
    with refusing(path):
        found = _table(path)
    return joined(found, ablation_rows()) if ablations else found


def _table(path: str | Path) -> Evidence:
    # Every search reads this table, and cell by cell that takes three times as long.
    wanted = [f"x.{name}" for name in NAMES]
    try:
        header, *body = csv.reader(io.StringIO(read_text(path)), strict=True)
        if missing := sorted({*wanted, *_COLUMNS} - set(header)):
            raise ValueError(f"{missing[0]}: missing column")
        at = {name: header.index(name) for name in (*_COLUMNS, *wanted)}
        first = at[wanted[0]]
        if header[first : first + len(wanted)] != wanted or {len(row) for row in body} != {len(header)}:
            raise ValueError("columns: must stand together, in order, in every row")
        values = np.array([row[first : first + len(wanted)] for row in body], dtype=np.float64)
        recipes = np.array([_recipe(row, at) for row in body])
        top1 = np.array([row[at["top1"]] for row in body], dtype=np.float64)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{error}; run scripts/build_evidence.py") from None
    # A network without an op that a maximum is over has -inf there.
    if np.isnan(values).any() or (values > LARGEST).any():
        raise ValueError("values: must be numbers; run scripts/build_evidence.py")
    if not ((top1 > 1.0) & (top1 < 100.0)).all():
        raise ValueError("top1: must be percentages between 1 and 100")
    models = tuple(row[at["model"]] for row in body)
    return Evidence(
        models,
        np.array([row[at["family"]] for row in body]),
        np.array([row[at["study"]] for row in body]),
        np.array([model.split(".")[0] for model in models]),
        np.array([row[at["origin"]] == "paper" for row in body]),
        np.full(len(body), "", dtype="<U32"),
        top1,
        values,
        recipes,
    )


def _recipe(row: Sequence[str], at: Mapping[str, int]) -> list[float]:
    epochs, augmentation = float(row[at["epochs"]]), row[at["augmentation"]]
    if not 0 < epochs <= MOST_EPOCHS or augmentation not in AUGMENTATIONS:
        raise ValueError(
            f"epochs, augmentation: {shown(epochs)}, {shown(augmentation)} are not those of a recipe"
        )
    return recipe_features(epochs, row[at["distilled"]] == "true", augmentation)


def ablation_rows() -> Evidence:
    """The networks of ablations and of theory in the regression, one row per study, network and training."""
    values = ablation_values()
    rows: dict[tuple[str, str, float], tuple[Ablation, float]] = {}
    for pair in (*load_ablations(), *load_theory()):
        if pair.likelihood:
            rows[pair.study, pair.base, pair.epochs] = pair, pair.base_top1
            rows[pair.study, pair.variant, pair.epochs] = pair, pair.base_top1 + pair.delta
    studies = np.array([study for study, _, _ in rows])
    networks = [network for _, network, _ in rows]
    return Evidence(
        tuple(networks),
        np.array([pair.family for pair, _ in rows.values()]),
        np.array([f"ablation {study}" for study in studies]),
        np.array([network_name(network) for network in networks]),
        np.ones(len(rows), dtype=np.bool_),
        studies,
        np.array([top1 for _, top1 in rows.values()]),
        np.array([values[network] for network in networks]),
        np.array([recipe_of(pair) for pair, _ in rows.values()]),
    )


def network_name(network: str) -> str:
    """What the evidence calls a network of an ablation."""
    return network.removeprefix("timm:").split("@")[0]


def study_families(evidence: Evidence, study: str) -> frozenset[str]:
    """The families of all networks in a study of the ablations, which are left out with it."""
    rows = [row for row in load_ablations() if row.study == study]
    networks = {network_name(network) for row in rows for network in (row.base, row.variant)}
    there = evidence.families[np.isin(evidence.networks, list(networks))]
    return frozenset(row.family for row in rows) | frozenset(map(str, there))


def recipe_of(pair: Ablation) -> list[float]:
    """The training of an ablation, in the order of RECIPE_FEATURES."""
    return recipe_features(pair.epochs, pair.distilled, pair.augmentation)


def joined(first: Evidence, second: Evidence) -> Evidence:
    """Return the rows of both."""
    arrays = (
        np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in fields(Evidence)[1:]
    )
    return Evidence((*first.models, *second.models), *arrays)


@dataclass(frozen=True)
class Shift:
    """Top-1 points that large data adds, by network."""

    weights: Array
    covariance: Array

    def __call__(self, values: Array) -> tuple[Array, Array]:
        """Shift and its sd of networks with these column values. Shape [n] each."""
        x = _design(values)
        variance = np.einsum("ij,jk,ik->i", x, self.covariance, x) + STUDY**2 + RUN**2
        variance += np.diag(self._shape(values))
        return x @ self.weights, np.sqrt(variance)

    def joint(self, values: Array) -> tuple[Array, Array]:
        """Shift and its covariance among networks of one study: the study's own offset cancels."""
        x = _design(values)
        covariance = x @ self.covariance @ x.T + self._shape(values) + RUN**2 * np.eye(len(x))
        return x @ self.weights, covariance

    def _shape(self, values: Array) -> Array:
        """Covariance that is due to not knowing where attention saturates. Shape [n, n]."""
        _, unknown = saturating(attending_share(values))
        scale: float = self.weights[2] ** 2 + self.covariance[2, 2]
        return scale * unknown


def saturating(share: Array) -> tuple[Array, Array]:
    """Mean [n] and covariance [n, n] of min(share / s, 1), s alike anywhere between 0 and `SATURATED`."""
    part = np.clip(share / SATURATED, 1e-12, 1.0)
    mean: Array = part * (1.0 - np.log(part))
    less, more = np.minimum.outer(part, part), np.maximum.outer(part, part)
    # Of the product: s below both shares, between them, above both.
    product = less + less * np.log(more / less) + less * (1.0 - more)
    return mean, product - np.outer(mean, mean)


def _design(values: Array) -> Array:
    # Within what the pairs span: no shift is followed beyond the smallest and the largest of them.
    params = np.clip(np.log(np.maximum(values[:, NAMES.index("params")], 1.0)), np.log(17e6), np.log(180e6))
    attention, _ = saturating(attending_share(values))
    return np.stack([np.ones(len(values)), params - CENTER, attention], axis=1)


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
