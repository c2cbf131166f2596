"""Print how well the surrogate places families that it has not seen.

    python scripts/evaluate_surrogate.py             # fitted again without each family; some seconds
    python scripts/evaluate_surrogate.py --recorded  # the report that ships, from fit_surrogate.py
    python scripts/evaluate_surrogate.py --all       # every family; only the fifteen are nested

For the fifteen families hyperparameters too were found without the family left out. With intervals, bands
of equal MACs and ablations: hvnas accuracy evaluate.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.evaluate import leave_one_family_out, report

FIELDS = ("n", "mae", "bias", "rmse", "tau", "rho", "within", "coverage80")


def line(name: str, row: dict[str, Any]) -> str:
    return f"{name:22s}" + "".join(f"{row[field]:>11}" for field in FIELDS)


def table(error: dict[str, Any]) -> str:
    """The report as text; errors in top-1 points."""
    lines = [f"{'left out':22s}" + "".join(f"{field:>11}" for field in FIELDS)]
    lines += [line(name, row) for name, row in error["families"].items()]
    lines += [line("families of the space", error["space_families"]), line("all of these", error["overall"])]
    lines += ["", "Kendall tau of counts, on the same rows:"]
    lines += [f"  {name:22s}{tau:>8}" for name, tau in error["baselines"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recorded", action="store_true", help="print the report that ships")
    parser.add_argument("--all", action="store_true", help="leave out every family, not only the fifteen")
    options = parser.parse_args()
    surrogate = load_estimator("surrogate")
    assert isinstance(surrogate, Surrogate)
    if options.recorded:
        print(table(surrogate.error))
        return
    evidence = surrogate.evidence
    chosen = {"families": np.unique(evidence.families)} if options.all else {}
    estimate = leave_one_family_out(evidence, surrogate.without, **chosen)
    print(table(report(evidence, estimate)))


if __name__ == "__main__":
    main()
