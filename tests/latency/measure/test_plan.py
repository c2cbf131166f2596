"""Plans: the same everywhere, covering, and refused where they are too small."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import hvnas.latency.measure.plan as planning
from hvnas.latency.measure.plan import Plan, make_plan
from hvnas.latency.tables.op_regressor import NAMES, features, group_of
from hvnas.ops import Op
from hvnas.space import load_space

PRINT_PLAN = """
import hvnas.latency.measure.plan as planning
from hvnas.space import load_space
planning.LOOKED_AT = 12
plan = planning.make_plan(load_space("hybrid-mobile"), ops=300, blocks=30, networks=10, seed=5)
for what in (plan.ops, [key.name for key in plan.blocks], [arch.hash for arch in plan.networks]):
    print(*what, sep="\\n")
print(plan.distinct_by_group, plan.chosen_by_group)
"""


@pytest.fixture(scope="module")
def looked_at() -> list[Op]:
    """The distinct ops of the networks that the fixture `plan` was chosen from."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "LOOKED_AT", 40)
        archs = planning._looked_at(load_space("efficientformer"), 0, planning.MACS)
    return list(planning._uses(archs, without_inner=True))


def test_the_same_in_every_process() -> None:
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_PLAN],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (job.communicate(timeout=60)[0] for job in jobs)
    assert first == second and first.count("\n") > 300


def test_the_seed_matters() -> None:
    space = load_space("vit")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "LOOKED_AT", 6)
        plans = [make_plan(space, ops=200, blocks=0, networks=10, seed=seed) for seed in (0, 0, 1)]
    assert plans[0] == plans[1]
    assert [a.hash for a in plans[0].networks] != [a.hash for a in plans[2].networks]


def test_the_extremes_of_every_group_are_in_it(plan: Plan, looked_at: list[Op]) -> None:
    assert len(looked_at) == plan.distinct > len(plan.ops) >= 200
    assert sum(plan.distinct_by_group.values()) == plan.distinct
    assert sum(plan.chosen_by_group.values()) == len(plan.ops) == len(set(plan.ops))
    assert set(plan.ops) <= set(looked_at)
    for group in plan.distinct_by_group:
        every, chosen = (
            np.array([features(op)[: len(NAMES)] for op in ops if group_of(op) == group])
            for ops in (looked_at, plan.ops)
        )
        assert (every.min(0) == chosen.min(0)).all() and (every.max(0) == chosen.max(0)).all()


def test_what_it_counts(plan: Plan) -> None:
    assert (plan.space, plan.looked_at, len(plan.networks), len(plan.blocks)) == (
        "efficientformer",
        40,
        12,
        6,
    )
    assert plan.distinct_blocks > 6
    assert len({key.name for key in plan.blocks}) == 6
    # Three ops of one network at least are measured by themselves.
    own = {op._replace(inputs=()) for op in plan.networks[0].lower().fused().ops}
    assert len(own & set(plan.ops)) >= 3


def test_inner_parts_are_left_out_only_where_attention_is_one_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "LOOKED_AT", 3)
    space = load_space("vit")
    fused, parts = (
        make_plan(space, ops=200, blocks=0, networks=10, fuses_attention=fuses) for fuses in (True, False)
    )
    assert {"matmul_inner", "softmax_inner"} <= set(parts.chosen_by_group)
    assert not any(group.endswith("_inner") for group in fused.chosen_by_group)
    assert {"attention"} <= set(fused.chosen_by_group) & set(parts.chosen_by_group)


def test_networks_are_not_those_that_were_looked_at(plan: Plan) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "LOOKED_AT", 40)
        seen = {arch.hash for arch in planning._looked_at(load_space("efficientformer"), 0, planning.MACS)}
    assert not seen & {arch.hash for arch in plan.networks}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"ops": 199}, "ops must be >= 200, got 199"),
        ({"networks": 9}, "networks must be >= 10, got 9"),
        ({"blocks": 2}, "2 blocks cannot stand for"),
    ],
)
def test_too_small(asked: dict[str, int], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "LOOKED_AT", 3)
    with pytest.raises(ValueError, match=says):
        make_plan(load_space("efficientformer"), **{"ops": 200, "networks": 10, "blocks": 0} | asked)


def test_the_sizes_of_a_space_decide_which_members_are_drawn() -> None:
    small = load_space("hybrid-tiny").at(resolution=32)
    low, high = planning.macs_range(small)
    assert planning.macs_range(load_space("hybrid-mobile")) == (0.1e9, 3e9)
    assert 0.5e6 < low < 5e6 < 30e6 < high < 0.1e9


def test_a_space_put_to_a_resolution() -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "LOOKED_AT", 12)
        made = make_plan(load_space("hybrid-tiny").at(resolution=32), ops=200, blocks=0, networks=10)
    assert (made.space, made.resolution) == ("hybrid-tiny", 32)
    assert {arch.resolution for arch in made.networks} == {32}
    low, high = made.macs
    assert all(low <= arch.lower().macs <= high for arch in made.networks)
    assert max(op.shape_in[1] for op in made.ops if op.kind == "conv") == 32
