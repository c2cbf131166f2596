"""accuracy evaluate: the report for programs and for people."""

from __future__ import annotations

import json

from hvnas.accuracy.evaluate import SPACE_FAMILIES

OVERALL = {"mae", "mae_low", "mae_high", "rmse", "tau", "tau_low", "tau_high", "rho", "coverage80", "n"}
BASELINES = {"params", "macs", "acts", "log params + log acts"}
COMMAND = ("accuracy", "evaluate", "--estimator", "params", "--families", "space")


def test_json_has_the_documented_keys(hvnas) -> None:
    found = json.loads(hvnas("accuracy", "evaluate", "--families", "coatnet,poolformer", "--json").stdout)
    assert set(found) == {"estimator", "overall", "families", "bands", "ablations", "baselines"}
    assert found["estimator"] == "surrogate"
    assert set(found["overall"]) == OVERALL | {"bias", "within"}
    assert all(isinstance(value, int | float) for value in found["overall"].values())
    assert set(found["families"]) == {"coatnet", "poolformer"}
    assert found["overall"]["n"] == sum(row["n"] for row in found["families"].values())
    assert set(found["baselines"]) == BASELINES
    assert {"n", "right", "share", "seen", "studies", "rows"} == set(found["ablations"])


def test_counts_have_ranks_and_no_points(hvnas) -> None:
    found = json.loads(hvnas(*COMMAND, "--json").stdout)
    assert set(found["families"]) == set(SPACE_FAMILIES)
    assert found["overall"]["mae"] is found["overall"]["within"] is None
    assert found["overall"]["tau"] == found["baselines"]["params"]["tau"]


def test_lines_for_people_say_what_json_says(hvnas) -> None:
    found = json.loads(hvnas(*COMMAND, "--json").stdout)
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
