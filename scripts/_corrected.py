"""A predictor of top-1 from size, blocks and inherited scores: what study_rank.py corrects a supernet with.

Shapes: n networks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas.accuracy import load_estimator
from hvnas.accuracy.estimator import ColumnEstimator
from hvnas.arch import Arch
from hvnas.ops import evaluate_columns
from hvnas.search.strategies.predicted import Regressor, Scaling
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.scoring import inherited_scores

Array = NDArray[np.float64]

PREDICTED = "predictor"


def inherited(folder: Path, archs: Sequence[Arch]) -> Array:
    """Top-1 in points and minus the loss with inherited weights, on the validation images. Shape [n, 2]."""
    supernet = SupernetFolder(folder)
    net, run = supernet.load(), supernet.config
    found = np.zeros((len(archs), 2))
    fitted = [net.fitted(arch) for arch in archs]
    for at, scores in inherited_scores(net, fitted, run.load_data(), bn_calib=run.bn_calib):
        found[at] = scores.top1, -scores.loss
    return found


def corrected(
    known: Sequence[Arch], truth: Array, others: Sequence[Arch], *, inherited: Array | None
) -> Array:
    """Top-1 predicted for `others` by the search's predictor, fitted to `known` and their top-1.

    `inherited` ``[known + others, scores]`` are features beside size and blocks, where there are any.
    """
    archs = [*known, *others]
    free = sizes(archs) if inherited is None else np.hstack([inherited, sizes(archs)])
    features = np.hstack([free, block_counts(archs)])
    scaling = Scaling.of(features, free=free.shape[1])
    regressor = Regressor.fit(features[: len(known)], truth, scaling)
    mean: Array = regressor.predict(features[len(known) :]).mean
    return mean


def sizes(archs: Sequence[Arch]) -> Array:
    """Logarithms of params, MACs and the outputs of all layers. Shape [n, 3]."""
    estimator = load_estimator("free")
    assert isinstance(estimator, ColumnEstimator)
    lowered = [arch.lower() for arch in archs]
    counts = [[program.macs, *evaluate_columns(estimator.columns, program)] for program in lowered]
    return np.log(np.array(counts, dtype=np.float64))


def block_counts(archs: Sequence[Arch]) -> Array:
    """How many blocks of each type a network has. Shape [n, types]."""
    counted = [Counter(block.type for _, block in arch.parts()) for arch in archs]
    types = sorted({kind for counts in counted for kind in counts})
    return np.array([[counts[kind] for kind in types] for counts in counted], dtype=np.float64)
