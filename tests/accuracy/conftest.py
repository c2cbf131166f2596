"""The error report of the surrogate, which takes a fit for every family and every study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from hvnas.accuracy import Estimate
from hvnas.accuracy import evaluate as evaluation


@dataclass(frozen=True)
class Evaluated:
    """What `evaluate` says of the surrogate, and the estimates that it rests on: each family left out."""

    report: dict[str, Any]
    left_out: Estimate


@pytest.fixture(scope="session")
def evaluated() -> Evaluated:
    """The surrogate, evaluated once."""
    estimates: list[Estimate] = []

    def recorded(*args: Any) -> Estimate:
        estimates.append(leave_one_family_out(*args))
        return estimates[-1]

    leave_one_family_out = evaluation.leave_one_family_out
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(evaluation, "leave_one_family_out", recorded)
        report = evaluation.evaluate("surrogate")
    (left_out,) = estimates
    return Evaluated(report, left_out)
