"""Objectives and constraints as text."""

from __future__ import annotations

import pytest

from hvnas.search.objectives import (
    DEFAULT,
    METRICS,
    Constraint,
    Objective,
    check_constraints,
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
        ("params<=6e6", Constraint(Objective("params"), "<=", 6e6), "params<=6000000"),
        ("params<=6M", Constraint(Objective("params"), "<=", 6e6), "params<=6000000"),
        ("params>=1.5 M", Constraint(Objective("params"), ">=", 1.5e6), "params>=1500000"),
        ("macs>=123456789", Constraint(Objective("macs"), ">=", 123456789.0), "macs>=123456789"),
        ("macs<=1.2G", Constraint(Objective("macs"), "<=", 1.2e9), "macs<=1200000000"),
        ("latency<=900us", Constraint(Objective("latency_ms"), "<=", 0.9), "latency_ms<=0.9"),
        ("size_mb<=20MB", Constraint(Objective("size_mb"), "<=", 20.0), "size_mb<=20"),
        ("peak_memory<=4MiB", Constraint(Objective("peak_memory"), "<=", 2.0**22), "peak_memory<=4194304"),
        ("top1<=80%", Constraint(Objective("top1"), "<=", 80.0), "top1<=80"),
        ("latency@slow<=20", Constraint(Objective("latency_ms", "slow"), "<=", 20.0), "latency_ms@slow<=20"),
        ("params ≤ 6 m", Constraint(Objective("params"), "<=", 6e6), "params<=6000000"),
        ("macs=>0.5g", Constraint(Objective("macs"), ">=", 5e8), "macs>=500000000"),
        ("macs⩾1.5G", Constraint(Objective("macs"), ">=", 1.5e9), "macs>=1500000000"),
        ("latency =< 2 MS", Constraint(Objective("latency_ms"), "<=", 2.0), "latency_ms<=2"),
        ("size_mb<=20mb", Constraint(Objective("size_mb"), "<=", 20.0), "size_mb<=20"),
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
        ("params", "cannot read 'params'"),
        ("params=6", "cannot read"),
        ("params<6", "cannot read"),
        ("params<=", "cannot read"),
        ("1<=params<=2", "cannot read.*bounds from both sides are two constraints"),
        ("60M<=macs", "cannot read '60M<=macs'; expected METRIC<=NUMBER or METRIC>=NUMBER"),
        ("latency<=6m", "unknown unit 'm'; latency_ms takes a number alone, or one with us, ms, s"),
        ("params<=6,000,000", "must be a number > 0, got '6,000,000'; write one, such as 6e6"),
        ("params<=" + "9" * 5000 + "x", "unknown unit 'x'"),
        ("params<=many", "must be a number > 0, got 'many'"),
        ("params<=0", "must be a number > 0, got '0'"),
        ("params<=-1", "must be a number > 0, got '-1'"),
        ("params<=inf", "must be a number > 0, got 'inf'"),
        ("params<=nan", "must be a number > 0, got 'nan'"),
        ("params<=1e999", "must be a number > 0"),
        ("params<=6ms", "unknown unit 'ms'; params takes a number alone, or one with k"),
        ("latency<=6M", "unknown unit 'M'"),
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
    with pytest.raises(ValueError, match="latency_ms is listed twice"):
        check_objectives((*DEFAULT, Objective("latency_ms")))


def test_on_another_device() -> None:
    objective = Objective("latency_ms", "slow")
    assert objective.on(None) == Objective("latency_ms")
    assert Objective("latency_ms").on("slow") == objective


def test_bounds_that_leave_nothing_are_told() -> None:
    check_constraints((parse_constraint("macs>=60e6"), parse_constraint("macs<=80e6")))
    check_constraints((parse_constraint("macs>=80e6"), parse_constraint("params<=60e6")))
    with pytest.raises(ValueError, match="no network can meet both macs>=80000000 and macs<=60000000"):
        check_constraints((parse_constraint("macs<=60M"), parse_constraint("macs>=80M")))
