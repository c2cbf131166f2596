"""accuracy evaluate: the report for programs and for people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hvnas.accuracy import evaluate as evaluation
from hvnas.accuracy.evaluate import SPACE_FAMILIES

OVERALL = {"mae", "mae_low", "mae_high", "rmse", "tau", "tau_low", "tau_high", "rho", "n"}
OVERALL |= {"coverage80", "coverage80_low", "coverage80_high"}
BASELINES = {"params", "macs", "acts", "log params + log acts"}
COMMAND = ("accuracy", "evaluate", "--estimator", "params", "--families", "space")
STUDIES = ("stems", "poolformer_mixer")


@pytest.fixture(scope="module")
def counted(hvnas) -> dict[str, Any]:
    """What is said of the parameters."""
    found: dict[str, Any] = json.loads(hvnas(*COMMAND, "--json").stdout)
    return found


def test_json_has_the_documented_keys(hvnas, monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(row for row in evaluation.load_ablations() if row.study in STUDIES)
    monkeypatch.setattr(evaluation, "load_ablations", lambda: few)
    found = json.loads(hvnas("accuracy", "evaluate", "--families", "coatnet,poolformer", "--json").stdout)
    assert set(found) == {"estimator", "overall", "families", "bands", "ablations", "baselines"}
    assert found["estimator"] == "surrogate"
    assert set(found["overall"]) == OVERALL | {"bias", "within"}
    assert all(isinstance(value, int | float) for value in found["overall"].values())
    assert set(found["families"]) == {"coatnet", "poolformer"}
    assert found["overall"]["n"] == sum(row["n"] for row in found["families"].values())
    assert set(found["baselines"]) == BASELINES
    keys = {"n", "right", "share", "mae", "near", "seen", "contrasts", "studies", "rows"}
    assert keys == set(found["ablations"])
    assert {row["study"] for row in found["ablations"]["rows"]} == set(STUDIES)


def test_counts_have_ranks_and_no_points(counted: dict[str, Any]) -> None:
    assert set(counted["families"]) == set(SPACE_FAMILIES)
    assert counted["overall"]["mae"] is counted["overall"]["within"] is None
    assert counted["overall"]["tau"] == counted["baselines"]["params"]["tau"]


def test_lines_for_people_say_what_json_says(
    hvnas, counted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = counted
    monkeypatch.setattr(evaluation, "evaluate", lambda name, families: found)
    lines = hvnas(*COMMAND).stdout.splitlines()
    assert lines[0] == f"params: each family left out in turn, {found['overall']['n']} published results"
    tau = next(line for line in lines if line.startswith("  Kendall tau"))
    assert f"{found['overall']['tau']:.3f} [" in tau
    names = {line.split()[0] for line in lines if line.strip()}
    assert names >= set(SPACE_FAMILIES)
    seen = found["ablations"]["seen"]
    assert any(line.startswith(f"  {seen['right']} of {seen['n']} signs right") for line in lines)


def test_what_cannot_be_evaluated_is_refused_in_one_line(hvnas) -> None:
    for wrong in (("--families", "coatnets"), ("--estimator", "zico"), ("--estimator", "surogate")):
        result = hvnas("accuracy", "evaluate", *wrong)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
