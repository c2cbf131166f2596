"""Which terms enter a calibrated device: what the synthetic truth has, judged by families left out."""

from __future__ import annotations

import numpy as np
import pytest

from hvnas.latency.calibration.calibrate import Candidate, Difference, Evidence, Networks
from hvnas.latency.calibration.error_report import MOST, choose, gain, how_many, judged, left_out_with_choice

BASE = ("weight_bytes", "act_bytes")
TRUE = Candidate("grouped_macs")
NOISE = Candidate("pool_bytes")


def networks(*, attention_outside: bool = False) -> Networks:
    """Six families of four: fixed cost, weights, activations, and grouped MACs; 2 % noise."""
    rng = np.random.default_rng(0)
    n = 24
    values = {name: rng.uniform(5, 40, n) * 1e6 for name in (*BASE, "grouped_macs", "pool_bytes")}
    values["matmul_bytes"] = np.zeros(n)
    ms = 0.5 + 0.03 * values["weight_bytes"] / 1e6 + 0.004 * values["act_bytes"] / 1e6
    ms += 0.02 * values["grouped_macs"] / 1e6
    families = np.repeat([f"family{i}" for i in range(6)], 4)
    inside = np.ones(n, bool)
    if attention_outside:
        inside[20:] = False
        values["matmul_bytes"][20:] = 1e7
        ms[20:] += 2.0
    ms *= np.exp(0.02 * rng.standard_normal(n))
    return Networks(tuple(f"n{i}@224" for i in range(n)), families, ms, inside, values)


def difference(families: str, ms: float = 2.0) -> Difference:
    values = dict.fromkeys((*BASE, "grouped_macs", "pool_bytes"), 0.0) | {"matmul_bytes": 1e7}
    return Difference("attention", "attention", families, ms, 3.0, "P", "here", values)


def test_what_the_truth_has_enters_and_noise_does_not() -> None:
    assert choose(Evidence(networks(), BASE), [NOISE, TRUE])[0] == TRUE


def test_a_difference_prices_what_no_network_in_the_gate_has() -> None:
    evidence = Evidence(networks(attention_outside=True), (*BASE, "grouped_macs"), (difference("family0"),))
    attention = Candidate("matmul_bytes", ("attention",))
    assert choose(evidence, [Candidate("matmul_bytes"), attention]) == [attention]
    assert evidence.parameters([attention])[-1] == pytest.approx(0.2, rel=0.02)
    left = evidence.family_left_out([attention])[20:]
    assert left == pytest.approx(evidence.nets.ms[20:], rel=0.1)


def test_a_difference_goes_with_its_families() -> None:
    evidence = Evidence(networks(), BASE, (difference("family0 family3"),))
    assert not evidence.without("family3").differences
    assert evidence.without("family1").differences
    assert "family3" not in evidence.without("family3").nets.families


def test_a_networks_own_name_leaves_it_out_alone() -> None:
    rest = Evidence(networks(), BASE, (difference("family0"),)).without("n3@224")
    assert len(rest.nets.ms) == 23 and rest.differences


def test_the_left_out_familys_times_have_no_say() -> None:
    """Neither in the fit nor in the choice, nor in the prior's."""
    nets = networks()
    candidates = [NOISE, TRUE]
    first = left_out_with_choice(Evidence(nets, BASE, prior=Evidence(nets, BASE)), candidates)
    nets.ms[:4] *= 7
    second = left_out_with_choice(Evidence(nets, BASE, prior=Evidence(nets, BASE)), candidates)
    assert len(first) == 3
    for before, after in zip(first, second, strict=True):
        assert after[:4] == pytest.approx(before[:4])
        assert not np.allclose(after[4:], before[4:])


def test_a_prior_decides_where_the_networks_cannot() -> None:
    """All networks alike but for size: alone, the fit cannot tell weights from activations."""
    nets = networks()
    few = nets.where(np.arange(24) < 6)
    few.values["act_bytes"][:] = few.values["weight_bytes"]
    few.values["grouped_macs"][:] = 0
    few.ms[:] = 2 * (0.5 + 0.034 * few.values["weight_bytes"] / 1e6)
    prior = Evidence(nets, BASE)
    _, weights, activations = Evidence(few, BASE, prior=prior).parameters()
    _, prior_weights, prior_activations = prior.parameters()
    assert weights / activations == pytest.approx(prior_weights / prior_activations, rel=0.5)


def predicted(nets: Networks, *errors: float) -> np.ndarray:
    """Milliseconds of which those of each of the six families are too long by one of `errors`, in percent."""
    return nets.ms * (1 + np.repeat(errors, 4) / 100)


@pytest.mark.parametrize(
    ("errors", "count"),
    [
        ([(16,) * 6, (15,) * 6, (14,) * 6, (14,) * 6], 2),
        ([(16,) * 6, (16.5,) * 6, (12,) * 6], 0),
        # Better by 2 points on the average, with a standard error of 1; and of 2.9.
        ([(8,) * 6, (4, 8, 8, 4, 8, 4)], 1),
        ([(8,) * 6, (1, 10, 1, 10, 10, 13)], 0),
        ([(16,) * 6], 0),
    ],
)
def test_how_many(errors: list[tuple[float, ...]], count: int) -> None:
    nets = networks()
    assert how_many(Evidence(nets, BASE), [predicted(nets, *each) for each in errors]) == count


def test_the_gate_is_not_made_worse() -> None:
    """Nor by what lowers the error of all networks."""
    nets = networks(attention_outside=True)
    before, after = predicted(nets, *(8,) * 5, 40), predicted(nets, *(9,) * 5, 2)
    assert judged(Evidence(nets, BASE), after).everywhere < judged(Evidence(nets, BASE), before).everywhere
    assert how_many(Evidence(nets, BASE), [before, after]) == 0


def test_a_family_without_a_say_has_none() -> None:
    nets = networks()
    evidence = Evidence(nets, BASE, uncounted=("family5",))
    assert gain(evidence, predicted(nets, *(8,) * 6), predicted(nets, *(7,) * 5, 90)) == pytest.approx((1, 0))


def test_no_more_than_the_most() -> None:
    nets = networks()
    for i in range(MOST + 2):
        nets.values[f"x{i}"] = np.zeros(len(nets.ms))
    assert len(choose(Evidence(nets, BASE), [Candidate(f"x{i}") for i in range(MOST + 2)])) <= MOST
