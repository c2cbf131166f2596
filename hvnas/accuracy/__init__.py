"""Estimates of accuracy, each with its standard deviation and its error on families never seen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hvnas._lazy import LazyPackage

if TYPE_CHECKING:
    from hvnas.accuracy.estimator import AccuracyEstimator, ColumnEstimator, Estimate, ScoreEstimate
    from hvnas.accuracy.loading import (
        list_estimators,
        load_estimator,
        locate_estimator,
        register_estimator,
        register_estimator_family,
    )
    from hvnas.accuracy.proxies.estimators import CountEstimator, ProbeEstimator
    from hvnas.accuracy.surrogate.surrogate import Surrogate
    from hvnas.accuracy.trained.inherited import Inherited, InheritedEstimator
    from hvnas.accuracy.trained.short_training import ShortTraining, ShortTrainingEstimator

# Whoever asks for one estimator reads no more than that one needs.
_HOMES = {
    "AccuracyEstimator": "hvnas.accuracy.estimator",
    "ColumnEstimator": "hvnas.accuracy.estimator",
    "CountEstimator": "hvnas.accuracy.proxies.estimators",
    "Estimate": "hvnas.accuracy.estimator",
    "Inherited": "hvnas.accuracy.trained.inherited",
    "InheritedEstimator": "hvnas.accuracy.trained.inherited",
    "ProbeEstimator": "hvnas.accuracy.proxies.estimators",
    "ScoreEstimate": "hvnas.accuracy.estimator",
    "ShortTraining": "hvnas.accuracy.trained.short_training",
    "ShortTrainingEstimator": "hvnas.accuracy.trained.short_training",
    "Surrogate": "hvnas.accuracy.surrogate.surrogate",
    "list_estimators": "hvnas.accuracy.loading",
    "load_estimator": "hvnas.accuracy.loading",
    "locate_estimator": "hvnas.accuracy.loading",
    "register_estimator": "hvnas.accuracy.loading",
    "register_estimator_family": "hvnas.accuracy.loading",
}

__all__ = [
    "AccuracyEstimator",
    "ColumnEstimator",
    "CountEstimator",
    "Estimate",
    "Inherited",
    "InheritedEstimator",
    "ProbeEstimator",
    "ScoreEstimate",
    "ShortTraining",
    "ShortTrainingEstimator",
    "Surrogate",
    "list_estimators",
    "load_estimator",
    "locate_estimator",
    "register_estimator",
    "register_estimator_family",
]

sys.modules[__name__].__class__ = LazyPackage
