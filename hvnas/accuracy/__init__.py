"""Estimates of accuracy, each with its standard deviation and its error on families never seen."""

from hvnas.accuracy.estimator import (
    AccuracyEstimator,
    ColumnEstimator,
    Estimate,
    ScoreEstimate,
    list_estimators,
    load_estimator,
    locate_estimator,
    register_estimator,
    register_estimator_family,
)
from hvnas.accuracy.inherited import Inherited, InheritedEstimator
from hvnas.accuracy.proxies.estimators import CountEstimator, ProbeEstimator
from hvnas.accuracy.short_training import ShortTraining, ShortTrainingEstimator
from hvnas.accuracy.surrogate import Surrogate

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
