"""A plan of a small space, and a backend that computes its times."""

from __future__ import annotations

import pytest

import hvnas.latency.measure.plan as planning
from hvnas.latency.measure.plan import Plan, make_plan
from hvnas.space import load_space
from hvnas.testing.latency import FormulaBackend


@pytest.fixture(scope="module")
def plan() -> Plan:
    """200 ops or some more, four blocks and twelve networks of the space efficientformer."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "LOOKED_AT", 40)
        space = load_space("efficientformer")
        return make_plan(space, ops=200, blocks=6, networks=12, fuses_attention=True)


@pytest.fixture
def backend() -> FormulaBackend:
    """Depthwise convolutions take longer in a network than by themselves, pointwise ones less."""
    return FormulaBackend(factors={"conv_pointwise": 0.8, "conv_spatial": 1.1})
