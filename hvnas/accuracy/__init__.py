"""Estimates of accuracy, each with its standard deviation and its error on families never seen."""

from hvnas.accuracy.estimator import (
    AccuracyEstimator,
    ColumnEstimator,
    Estimate,
    list_estimators,
    load_estimator,
    register_estimator,
)
from hvnas.accuracy.surrogate import Surrogate

__all__ = [
    "AccuracyEstimator",
    "ColumnEstimator",
    "Estimate",
    "Surrogate",
    "list_estimators",
    "load_estimator",
    "register_estimator",
]
