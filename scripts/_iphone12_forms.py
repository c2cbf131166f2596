"""The error of the iPhone's model where the choice of its form, too, is made without the family.

A form is how a network's time comes of its columns. Terms and their number are chosen for each form from what
is left without the family; then the form, by the error of the families that are left, each left out in its
turn together with those choices. Where a form in which no op takes less than its own arithmetic is within the
measurements' own noise of the best, it is taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hvnas.latency.calibration.calibrate import Candidate, Evidence, Floats, Networks, cost, errors
from hvnas.latency.calibration.error_report import Score, choose, how_many, judged, left_out_with_choice
from hvnas.latency.model import Term

BYTES = ("weight_bytes", "act_bytes")
ARITHMETIC = ("pointwise_macs", "spatial_macs", "depthwise_macs")
SHIPPED = "each op the longer of streaming and multiplying"
# Where the report has the two errors: the form by the rule above, and by the lowest error alone.
BY_RULE = "family_left_out_choice_of_terms_and_form_included"
BY_ERROR = "family_left_out_choice_by_the_lowest_error"
FORMS, LOWEST = "forms_choice_of_terms_included", "families_without_which_a_form_has_the_lowest_error"
KEYS = (BY_RULE, BY_ERROR, FORMS, LOWEST)


@dataclass(frozen=True)
class TwoSums(Evidence):
    """The larger of two sums over the whole network: of the terms, and of `floor`, its arithmetic."""

    floor: tuple[Term, ...] = ()

    def predicted(self, nets: Networks, chosen: Sequence[Candidate] = ()) -> Floats:
        """Milliseconds [n]; the floor's depthwise rate is what networks in the gate were found to reach."""
        fixed, *_ = self.parameters(chosen)
        terms = super().predicted(nets, chosen) - fixed
        gate = self.nets.where(self.nets.inside)
        *others, depthwise = self.floor
        rest = gate.ms - fixed - cost(others, gate.values)
        own = cost([depthwise], gate.values)
        shares = np.divide(rest, own, out=np.ones_like(rest), where=own > 0)
        scaled = replace(depthwise, ms_per_mega=depthwise.ms_per_mega * max(0.0, min(1.0, shares.min())))
        found: Floats = fixed + np.maximum(terms, cost([*others, scaled], nets.values))
        return found


def forms(shipped: Evidence, floor: Sequence[Term]) -> dict[str, Evidence]:
    """The forms by name, of what the shipped one is fitted to; `floor` is the arithmetic by `ARITHMETIC`."""
    plain = replace(shipped, known=())
    fields = {name: getattr(plain, name) for name in plain.__dataclass_fields__}
    return {
        SHIPPED: shipped,
        "the larger of two sums": TwoSums(**fields | {"base": BYTES, "floor": tuple(floor)}),
        "a sum of bytes": replace(plain, base=BYTES),
        "a sum of bytes and arithmetic": replace(plain, base=(*BYTES, *ARITHMETIC)),
    }


def form_left_out(
    candidates: Sequence[Candidate], by_name: dict[str, Evidence], *, noise: float
) -> dict[str, Any]:
    """Errors with the family left out of the fit, the choice of terms and of their number, and of the form.

    `noise` is what a form in which no op undercuts its arithmetic may be worse than the best, in points.
    Beside it what the form of the lowest error gives, and each form by itself.
    """
    by_name = {name: _lean(evidence, candidates) for name, evidence in by_name.items()}
    nets = by_name[SHIPPED].nets
    scores: dict[str, dict[str, Score]] = {}
    predicted = {name: np.empty(len(nets.ms)) for name in by_name}
    for family in np.unique(nets.families):
        held = nets.families == family
        scores[family] = {}
        for name, evidence in by_name.items():
            rest = evidence.without(family)
            with_choice = left_out_with_choice(rest, candidates)
            count = how_many(rest, with_choice)
            chosen = choose(rest, candidates, most=count)
            scores[family][name] = judged(rest, with_choice[count])
            predicted[name][held] = rest.predicted(nets.where(held), chosen)

    def best(of: dict[str, Score]) -> str:
        return min(of, key=lambda name: of[name].inside)

    def keeps_physics(of: dict[str, Score]) -> str:
        return SHIPPED if of[SHIPPED].inside <= of[best(of)].inside + noise else best(of)

    def by(rule: Callable[[dict[str, Score]], str]) -> dict[str, Any]:
        taken = {family: rule(of) for family, of in scores.items()}
        ms = np.stack([predicted[taken[family]][i] for i, family in enumerate(nets.families)])
        return {"in_gate": errors(ms[nets.inside], nets.ms[nets.inside]), "all_networks": errors(ms, nets.ms)}

    alone = {name: [each["mape"] for each in by(lambda _, name=name: name).values()] for name in by_name}
    lowest = dict(Counter(best(of) for of in scores.values()))
    return dict(zip(KEYS, (by(keeps_physics), by(best), alone, lowest), strict=True))


def _lean(evidence: Evidence, candidates: Sequence[Candidate]) -> Evidence:
    """`evidence` with the columns alone that a fit may read: every fit copies them all."""
    read = {*evidence.terms(candidates), *BYTES, *ARITHMETIC, *(term.column for term in evidence.known)}
    nets = evidence.nets
    return replace(evidence, nets=replace(nets, values={name: nets.values[name] for name in read}))
