"""Objectives and constraints as text."""

from __future__ import annotations

import pytest

from hvnas.search.objectives import (
    DEFAULT,
    METRICS,
    Constraint,
    Objective,
    check_objectives,
    parse_constraint,
    parse_objective,
)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_is_an_objective_that_reads_back(metric: str) -> None:
    objective = parse_objective(metric)
    assert objective == Objective(metric)
    assert str(objective) == metric
    assert objective.sign == (-1 if metric == "top1" else 1)


@pytest.mark.parametrize(
    ("text", "objective", "shown"),
    [
        ("latency_ms@cpu-i7-12700h", Objective("latency_ms", "cpu-i7-12700h"), "latency_ms@cpu-i7-12700h"),
        ("latency@a/b.yaml", Objective("latency_ms", "a/b.yaml"), "latency_ms@a/b.yaml"),
        (" top-1 ", Objective("top1"), "top1"),
    ],
)
def test_devices_and_other_names(text: str, objective: Objective, shown: str) -> None:
    assert parse_objective(text) == objective
    assert str(objective) == shown
    assert parse_objective(shown) == objective


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flops", "objective: .*flops"),
        ("", "objective: "),
        ("param", "params"),
        ("params@iphone12", "only latency_ms is of a device"),
        ("latency_ms@", "only latency_ms is of a device"),
    ],
)
def test_what_is_no_objective_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_objective(text)


def test_the_field_at_fault_is_named() -> None:
    with pytest.raises(ValueError, match=r"^constraint: "):
        parse_constraint("speed<=3")


@pytest.mark.parametrize(
    ("text", "constraint", "shown"),
    [
        ("params<=6e6", Constraint(Objective("params"), "<=", 6e6), "params<=6e+06"),
        ("latency@slow<=20", Constraint(Objective("latency_ms", "slow"), "<=", 20.0), "latency_ms@slow<=20"),
        (" top1 >= 78.5 ", Constraint(Objective("top1"), ">=", 78.5), "top1>=78.5"),
    ],
)
def test_constraints_read_and_read_back(text: str, constraint: Constraint, shown: str) -> None:
    assert parse_constraint(text) == constraint
    assert str(constraint) == shown
    assert parse_constraint(shown) == constraint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params", "is none"),
        ("params=6", "is none"),
        ("params<6", "is none"),
        ("params<=", "is none"),
        ("params>=6", "bounded by <=; turn it round"),
        ("top1<=80", "bounded by >=; turn it round"),
        ("params<=many", "'many' is no number > 0"),
        ("params<=0", "'0' is no number > 0"),
        ("params<=-1", "'-1' is no number > 0"),
        ("params<=inf", "'inf' is no number > 0"),
        ("params<=nan", "'nan' is no number > 0"),
    ],
)
def test_what_is_no_constraint_is_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_constraint(text)
    assert "\n" not in str(caught.value)


def test_objectives_stand_once_each() -> None:
    check_objectives(DEFAULT)
    check_objectives((Objective("latency_ms"), Objective("latency_ms", "slow")))
    with pytest.raises(ValueError, match="at least one"):
        check_objectives(())
    with pytest.raises(ValueError, match="latency_ms stands there twice"):
        check_objectives((*DEFAULT, Objective("latency_ms")))


def test_on_another_device() -> None:
    objective = Objective("latency_ms", "slow")
    assert objective.on(None) == Objective("latency_ms")
    assert Objective("latency_ms").on("slow") == objective
