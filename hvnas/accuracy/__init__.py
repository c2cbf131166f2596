"""Estimates of accuracy, each with its standard deviation and its error on families never seen."""

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
