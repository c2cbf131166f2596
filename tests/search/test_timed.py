"""Searches whose networks are timed, on a backend that computes its times: nothing here waits for a clock."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from hvnas._files import read_yaml
from hvnas._records import read_csv
from hvnas.arch import Arch, load_arch
from hvnas.latency import load_device
from hvnas.latency.measure.backends import Sampler
from hvnas.latency.remote.measurements import read_measurements
from hvnas.latency.scores import StudentT
from hvnas.search import resume, search
from hvnas.search.runs.result import SearchResult
from hvnas.search.timed import Timing, known_noise, posterior, repeated
from hvnas.testing.latency import FormulaBackend, registered

BUDGET = 9.0


@dataclass
class Host(FormulaBackend):
    """Whole networks take each its own share of `noise` more or less.

    After `most` networks were timed the next one ends in KeyboardInterrupt.
    """

    noise: float = 0.0
    most: int | None = None
    built: int = 0

    def network(self, arch: Arch) -> Sampler:
        if self.most is not None and self.built >= 2 * self.most:
            raise KeyboardInterrupt
        self.built += 1
        shift = int(arch.hash[:6], 16) / 0xFFFFFF - 0.5
        ms = super().network(arch)(1)[0] * (1 + self.noise * shift)
        return lambda n: [ms] * n


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with registered("formula", Host()) as backend:
        yield backend


@pytest.fixture(scope="module")
def table(host: Host, table_of: Callable[[FormulaBackend], Path]) -> Path:
    return table_of(host)


@pytest.fixture(autouse=True)
def as_the_table_says(host: Host) -> Iterator[Host]:
    host.slow, host.noise, host.most, host.built = 1.0, 0.0, None, 0
    host.timed.clear()
    return host  # type: ignore[return-value]


def find(table: Path, out: Path | None = None, *, measure: int | None = 8, **options: object) -> SearchResult:
    asked: dict[str, object] = {"budget_ms": BUDGET, "evals": 500, "strategy": "evolution"}
    return search("efficientformer", table, measure=measure, out=out, **{**asked, **options})  # type: ignore[arg-type]


def outputs(out: Path) -> dict[str, bytes]:
    files = [out / "pareto.csv", out / "best.yaml", *sorted((out / "archs").iterdir())]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def alone(host: Host, arch: Arch) -> float:
    """What a network takes on the host."""
    return replace(host, most=None).network(arch)(1)[0]


@pytest.mark.parametrize(("slow", "seed"), [(1.0, 0), (1.12, 1), (1.3, 2)])
def test_the_best_network_is_measured_and_keeps_the_budget(
    table: Path, host: Host, tmp_path: Path, slow: float, seed: int
) -> None:
    host.slow, host.noise = slow, 0.06
    result = find(table, tmp_path / "run", seed=seed, measure=12)
    best, timed = result.best, result.timed
    assert timed is not None and timed.best is not None and best.is_measured
    assert best.latency_ms == best.measured_ms == pytest.approx(alone(host, best.arch), abs=1e-9)
    assert best.latency_ms <= BUDGET and best.p_within_budget >= 0.9
    ratios = timed.ms[timed.timed] / timed.table.ms[timed.timed]
    # The table's file counts as one network more.
    assert timed.factor == pytest.approx(np.exp(np.log([1.0, *ratios]).mean()), rel=0.03)
    # No other network that was timed and keeps the budget is better, and none but guesses follows it.
    kept = [k for k in np.flatnonzero(timed.timed) if timed.ms[k] <= 0.93 * BUDGET]
    assert all(timed.table.top1[k] - timed.table.sd[k] <= best.objective + 1e-9 for k in kept)
    assert result.archive.evaluations.costs[-1, 0] == pytest.approx(-best.objective)


def test_it_comes_nearer_to_the_budget_than_a_search_that_must_keep_a_reserve(
    table: Path, host: Host
) -> None:
    host.slow = 0.8
    fast = find(table, measure=12)
    assert fast.timed is not None and fast.timed.factor < 0.85
    # The front of the table ended short of the budget, so that the search went on.
    assert fast.evaluated > 500
    assert 0.9 * BUDGET < fast.best.latency_ms <= BUDGET


def test_every_output_says_that_it_is_measured(table: Path, host: Host, tmp_path: Path) -> None:
    out = tmp_path / "run"
    host.slow = 1.05
    result = find(table, out)
    best = result.best
    rows = [row.cells for row in read_csv(out / "pareto.csv", optional=None)]
    (own,) = [row for row in rows if row["name"] == best.name]
    assert own["measured_ms"] == own["latency_ms"] == f"{best.measured_ms:.4f}" and own["file"]
    assert {row["measured_ms"] for row in rows if row["name"] != best.name} & {""}
    found = load_arch(out / "best.yaml").found
    assert found is not None and found["latency_method"].startswith("measured: this network was timed")
    assert found["measured_ms"] == pytest.approx(best.measured_ms, abs=1e-4)
    assert found["predicted_ms"] == pytest.approx(best.measured_ms / 1.05, rel=0.05)
    others = [load_arch(file).found for file in (out / "archs").iterdir()]
    assert any(each["latency_method"].startswith("predicted, times") for each in others if each)
    facts = result.to_json()
    assert facts["best"]["measured_ms"] == facts["best"]["latency_ms"]
    assert facts["measured"]["keeps_budget"] and facts["measured"]["networks"] == len(result.timed.timings)  # type: ignore[union-attr]
    assert (out / "log.txt").read_text().count("timed ") == facts["measured"]["networks"]


def test_measurements_are_kept_in_the_format_that_devices_are_calibrated_with(
    table: Path, tmp_path: Path
) -> None:
    result = find(table, tmp_path / "run")
    rows = read_measurements(tmp_path / "run" / "measured" / "measurements.csv")
    assert len(rows) == len(result.timed.timings)  # type: ignore[union-attr]
    assert {row.runtime for row in rows} == {"formula"}
    for row in rows:
        assert load_arch(tmp_path / "run" / "measured" / row.key).hash == Path(row.key).stem


def test_a_run_that_was_cut_goes_on_to_the_same_front(table: Path, host: Host, tmp_path: Path) -> None:
    host.slow, host.noise = 1.25, 0.1
    find(table, tmp_path / "whole")
    recorded = read_measurements(tmp_path / "whole" / "measured" / "measurements.csv")
    assert len(recorded) >= 2
    host.most, host.built = len(recorded) - 1, 0
    with pytest.raises(KeyboardInterrupt):
        find(table, tmp_path / "cut")
    host.most = None
    host.timed.clear()
    resume(tmp_path / "cut")
    assert outputs(tmp_path / "cut") == outputs(tmp_path / "whole")
    # None of those that were there was timed again.
    assert len(host.timed) == 1


def test_recorded_times_give_the_same_result_whatever_the_host_takes_now(
    table: Path, host: Host, tmp_path: Path
) -> None:
    host.noise = 0.05
    find(table, tmp_path / "run")
    host.slow = 2.0
    before = outputs(tmp_path / "run")
    host.timed.clear()
    resume(tmp_path / "run")
    assert outputs(tmp_path / "run") == before and not host.timed
    # Nor does it matter in which folder they lie.
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    (tmp_path / "other" / "best.yaml").unlink()
    resume(tmp_path / "other")
    assert outputs(tmp_path / "other") == before


def test_a_stop_keeps_what_was_timed(table: Path, host: Host, tmp_path: Path) -> None:
    stop = Event()

    class Stopping:
        def chosen(self, strategy: str, reason: str) -> None: ...
        def reachable(self, reach: object) -> None: ...
        def failed(self, row: object, reason: str) -> None: ...
        def advanced(self, archive: object, *, evals: int) -> None: ...
        def timed(self, front: object, count: int) -> None:
            stop.set()

    result = find(table, tmp_path / "run", progress=Stopping(), stop=stop)
    assert result.stopped and result.timed is not None and len(result.timed.timings) == 1
    assert not resume(tmp_path / "run").stopped


def test_runs_without_timings_are_as_before(table: Path, tmp_path: Path) -> None:
    result = find(table, tmp_path / "run", measure=None)
    assert result.timed is None and not result.best.is_measured
    assert "measure" not in read_yaml(tmp_path / "run" / "config.yaml", schema="hvnas.run/1")
    assert "measured" not in (tmp_path / "run" / "pareto.csv").read_text().partition("\n")[0]
    assert not {"measured", "measured_ms"} & {*result.to_json(), *result.to_json()["best"]}


def test_what_timings_make_of_the_error_of_a_table() -> None:
    table = StudentT(8.0, 0.02, 0.05)
    assert posterior(table, np.empty(0)).loc == 0.02
    rng = np.random.default_rng(0)
    told = posterior(table, rng.normal(0.15, 0.02, 40))
    assert told.loc == pytest.approx(0.15, abs=0.01) and told.scale == pytest.approx(0.027, abs=0.01)
    # It holds a further network of the same kind about as often as it says, also after few timings.
    inside = []
    for _ in range(600):
        bias, sd = rng.normal(0.02, 0.05), 0.05
        e = rng.normal(bias, sd, 5)
        t = posterior(table, e[:4])
        inside.append(math.log(t.factor(0.05)) <= e[4] <= math.log(t.factor(0.95)))
    assert 0.86 <= np.mean(inside) <= 0.96


def test_the_noise_of_timings() -> None:
    calm, wild = (repeated({k: Timing(10.0, s, 30) for k in range(30)}) for s in (0.05, 1.0))
    assert 1.04 < calm.factor(0.9) < 1.06 < 1.1 < wild.factor(0.9)
    assert calm.factor(0.9) < repeated({}).factor(0.9)
    spread = {1: Timing(10.0, 0.05, 30)}
    assert repeated(spread, least=0.005).factor(0.9) < 1.015


def test_what_a_validation_found_of_the_noise_is_taken(table: Path) -> None:
    device = load_device(table)
    assert known_noise(device) == 0.03
    report = {"validation": {"noise_floor": {"pairs": 40, "mape": 1.0, "max": 2.0}}}
    assert known_noise(replace(device, report=report)) == pytest.approx(0.0089, abs=1e-4)
    assert known_noise(replace(device, report={"validation": {"noise_floor": None}})) == 0.03


def test_the_file_of_a_run_that_measures(table: Path, tmp_path: Path) -> None:
    find(table, tmp_path / "run", measure=2)
    assert read_yaml(tmp_path / "run" / "config.yaml", schema="hvnas.run/1")["measure"] == 2
    assert json.loads(json.dumps(resume(tmp_path / "run").to_json()))["measured"]["networks"] == 2
    assert load_device(table).default_margin() >= 0
