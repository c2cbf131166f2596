"""Which terms a calibrated device has: one at a time, judged with families left out.

A candidate qualifies where it lowers the family-left-out error of all networks and, of those in the gate,
raises it by no more than `ALLOWANCE` points: what only networks outside the gate contain cannot lower that
one. Of those that qualify, the one that lowers the first error most enters, and so on. How many enter is
judged with the choice inside the left-out family's fit: as many as keep lowering that error too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvnas.latency.calibrate import Candidate, Evidence, Floats, Networks, mape

ALLOWANCE = 0.1
MOST = 3


@dataclass(frozen=True, slots=True)
class Score:
    """Two mean absolute errors in percent: of the networks in the gate, and of all."""

    inside: float
    everywhere: float

    def improves(self, other: Score) -> bool:
        """Whether this is better than `other`, in the sense of the module."""
        return self.everywhere < other.everywhere and self.inside <= other.inside + ALLOWANCE


def score(nets: Networks, predicted: Floats) -> Score:
    """The errors of predicted milliseconds [n]."""
    inside = nets.inside
    return Score(mape(predicted[inside], nets.ms[inside]), mape(predicted, nets.ms))


def choose(evidence: Evidence, candidates: Sequence[Candidate], *, most: int = MOST) -> list[Candidate]:
    """Up to `most` candidates, in the order in which they enter."""
    chosen: list[Candidate] = []
    reached = score(evidence.nets, evidence.family_left_out(chosen))
    while len(chosen) < most:
        rest = [c for c in candidates if c not in chosen]
        found = {c: score(evidence.nets, evidence.family_left_out([*chosen, c])) for c in rest}
        better = [c for c, s in found.items() if s.improves(reached)]
        if not better:
            break
        chosen.append(min(better, key=lambda c: found[c].everywhere))
        reached = found[chosen[-1]]
    return chosen


def left_out_with_choice(evidence: Evidence, candidates: Sequence[Candidate]) -> list[Floats]:
    """Milliseconds [n], family left out of fit and choice, of up to 0, 1, ... `MOST` candidates."""
    nets = evidence.nets
    counts = range(min(MOST, len(candidates)) + 1)
    predicted = [np.empty(len(nets.ms)) for _ in counts]
    for family in np.unique(nets.families):
        held, rest = nets.families == family, evidence.without(family)
        chosen = choose(rest, candidates)
        for most in counts:
            predicted[most][held] = rest.predicted(nets.kept(held), chosen[:most])
    return predicted


def how_many(scores: Sequence[Score]) -> int:
    """How many candidates may enter, from the errors, choice included, of up to 0, 1, ... of them."""
    count = 0
    while count + 1 < len(scores) and scores[count + 1].improves(scores[count]):
        count += 1
    return count
