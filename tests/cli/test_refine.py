"""``hvnas search --measure`` and ``hvnas refine``: what is printed, refused, written and taken back."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hvnas.latency.remote.suite as suites
from hvnas._records import read_csv
from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.latency.remote.measurements import ModelMeasurement, read_measurements, write_measurements
from hvnas.testing.latency import FormulaBackend, registered


@pytest.fixture(scope="module")
def backend() -> Iterator[FormulaBackend]:
    with registered("formula", FormulaBackend()) as made:
        yield made


@pytest.fixture(scope="module")
def table(backend: FormulaBackend, table_of: Callable[[FormulaBackend], Path]) -> Path:
    return table_of(backend)


@pytest.fixture(autouse=True)
def as_the_table_says(backend: FormulaBackend) -> None:
    backend.slow = 1.0
    backend.timed.clear()


def test_a_device_much_slower_than_its_table(
    hvnas, table: Path, backend: FormulaBackend, tmp_path: Path
) -> None:
    backend.slow = 4.0
    ask = ("search", "--space", "efficientformer", "--device", table, "--budget-ms", 9, "--evals", 300)
    done = hvnas(*ask, "--measure", 4, "--out", tmp_path / "run")
    assert done.exit_code == 3 and "none of the 4 timed keeps 9 ms" in done.stdout
    assert "the best one here is predicted, not measured" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("hvnas: error:")]
    assert "none of the 4 networks that were timed keeps 9 ms; time more with hvnas refine" in line
    assert "predicted" in done.stdout and (tmp_path / "run" / "best.yaml").is_file()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            ("--device", "iphone12"),
            "iphone12 is calibrated, not a table of this host; search without --measure",
        ),
        (("--device", "TABLE", "--device", "iphone12"), "measure: takes one device"),
        (
            ("--device", "TABLE", "--objective", "top1"),
            "measure: needs a front of faster and slower networks",
        ),
        (("--device", "TABLE", "--constraint", "latency<=5"), "measure: takes no constraint on latency"),
    ],
)
def test_wrong_uses_are_refused_before_a_folder_is_made(
    hvnas, table: Path, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    given = [str(table) if word == "TABLE" else word for word in more]
    done = hvnas(
        "search",
        "--space",
        "efficientformer",
        *given,
        "--budget-ms",
        9,
        "--measure",
        3,
        "--out",
        tmp_path / "run",
    )
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr and not (tmp_path / "run").exists()
    if "iphone12 is" in says:
        assert "hvnas refine RUN" in done.stderr


def test_a_table_of_another_machine_names_refine(
    hvnas, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hvnas.latency.measure.sampling.host_cpu", lambda: "Another CPU")
    ask = ("search", "--space", "efficientformer", "--device", table, "--budget-ms", 9)
    done = hvnas(*ask, "--measure", 3, "--out", tmp_path / "run")
    assert done.exit_code == 2 and "Another CPU" in done.stderr and "hvnas refine RUN" in done.stderr


def test_a_device_so_slow_that_nothing_is_left(
    hvnas, table: Path, backend: FormulaBackend, tmp_path: Path
) -> None:
    backend.slow = 500.0
    ask = ("search", "--space", "efficientformer", "--device", table, "--budget-ms", 9, "--evals", 300)
    done = hvnas(*ask, "--measure", 3, "--out", tmp_path / "run")
    assert (done.exit_code, done.stderr.count("hvnas: error: budget_ms: none of the 3")) == (3, 1)
    assert "Measure the table again" in done.stderr and "Traceback" not in done.stderr


def test_a_search_that_measures_says_so(hvnas, table: Path, backend: FormulaBackend, tmp_path: Path) -> None:
    backend.slow = 1.1
    ask = ("search", "--space", "efficientformer", "--device", table, "--budget-ms", 9, "--evals", 300)
    done = hvnas(*ask, "--measure", 5, "--out", tmp_path / "run")
    assert done.exit_code == 0
    assert "ms, measured on own" in done.stdout and "Timed on own: " in done.stdout
    assert "the latency of the best network is measured, not predicted" in done.stdout
    assert "measured" in done.stdout.rpartition("Written to")[2]
    facts = json.loads(hvnas("resume", tmp_path / "run", "--json").stdout)
    assert facts["best"]["measured_ms"] <= 9 and facts["measured"]["keeps_budget"]
    assert "measured on own" in hvnas("show", tmp_path / "run" / "best.yaml").stdout
    page = hvnas("report", tmp_path / "run", "--json")
    assert json.loads(page.stdout)["runs"]["runs"][0]["best"]["measured_ms"] == facts["best"]["measured_ms"]
    again = hvnas(*ask, "--measure", 6, "--out", tmp_path / "run", "--resume")
    assert again.exit_code == 2 and "measure" in again.stderr


def test_the_study_over_seeds(table: Path, capsys: pytest.CaptureFixture[str], repo_root: Path) -> None:
    study = runpy.run_path(str(repo_root / "scripts" / "study_timed.py"))
    asked = "--space efficientformer --budget-ms 9 --measure 4 --evals 300 --seeds 2".split()
    study["main"](["--device", str(table), *asked])
    said = capsys.readouterr().out
    assert "2 of 2 keep the budget by measurement, 2 when timed again, 2 once more." in said


@pytest.fixture
def phone_run(hvnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A search on iphone12; its suite holds empty files in the place of models."""

    def export(entry: suites.SuiteEntry, folder: Path, settings: suites.Settings) -> None:
        (folder / suites.MODELS / f"{entry.file}{suites.SUFFIXES[settings.format]}").touch()

    monkeypatch.setattr(suites, "_export", export)
    ask = ("search", "--space", "efficientformer", "--device", "iphone12", "--budget-ms", 2)
    assert hvnas(*ask, "--evals", 600, "--seed", 1, "--out", tmp_path / "run").exit_code == 0
    return tmp_path / "run"


def timed_there(suite: Path, *, slow: float, **changed: Any) -> Path:
    """What a phone measures of a suite, each network `slow` times what iphone12 says."""
    device = load_device("iphone12")
    said = {
        "kind": "model",
        "statistic": "median",
        "spread": 0.01,
        "n": 50,
        "threads": None,
        "batch": 1,
        "device": "iPhone 12",
        "os": "iOS 16",
        "runtime": "Core ML",
        "runtime_version": "7",
        "compute_unit": "all",
        "precision": "float16",
        "protocol": "report",
        "source": "me",
        **changed,
    }
    rows = []
    for row in read_csv(suite / "suite.csv", optional=None):
        arch = load_arch(suite / row.cells["key"])
        ms = slow * device.latency(arch.lower()).ms
        rows.append(ModelMeasurement(key=row.cells["key"], resolution=arch.resolution, ms=ms, **said))
    write_measurements(suite / "measurements.csv", rows)
    return suite / "measurements.csv"


def test_networks_go_out_and_times_come_back(hvnas, phone_run: Path) -> None:
    done = hvnas("refine", phone_run, "--networks", 5)
    suite = phone_run.with_name("run-suite")
    assert done.exit_code == 0 and done.stdout.startswith(f"{suite}: 5 networks of {phone_run} to time")
    assert (
        "hvnas refine" in (suite / "README.md").read_text() and "Core ML" in (suite / "README.md").read_text()
    )
    rows = list(read_csv(suite / "suite.csv", optional=None))
    assert len(rows) == 5 and len(list((suite / "models").iterdir())) == 5
    # Of different speeds: what is off by how much is not known yet.
    device = load_device("iphone12")
    ms = [device.latency(load_arch(suite / row.cells["key"]).lower()).ms for row in rows]
    assert ms == sorted(ms, reverse=True) and ms[0] > 1.05 * ms[-1]
    before = (phone_run / "pareto.csv").read_bytes()
    names = names_in(phone_run)

    taken = hvnas("refine", phone_run, "--measurements", timed_there(suite, slow=1.04))
    assert taken.exit_code == 0, taken.stderr
    assert "ms, measured on iphone12" in taken.stdout
    assert "the latency of the best network is measured, not predicted" in taken.stdout
    best = load_arch(phone_run / "best.yaml").found
    assert best is not None and best["latency_method"].startswith("measured") and best["measured_ms"] <= 2
    assert (phone_run / "pareto.csv").read_bytes() != before
    # A network is called as before, so that nobody looks for a file in vain.
    both = names.keys() & names_in(phone_run).keys()
    assert len(both) > 10 and {names[mark] for mark in both} == {names_in(phone_run)[mark] for mark in both}
    assert len(read_measurements(phone_run / "measured" / "measurements.csv")) == 5
    # The run is what it is now: shown again, and reported.
    facts = json.loads(hvnas("resume", phone_run, "--json").stdout)
    assert facts["measured"]["networks"] == 5 and facts["measured"]["factor"] == pytest.approx(1.04, abs=0.02)

    # The next suite holds others.
    assert hvnas("refine", phone_run, "--networks", 3, "--out", phone_run.with_name("more")).exit_code == 0
    more = {
        row.cells["key"][-17:] for row in read_csv(phone_run.with_name("more") / "suite.csv", optional=None)
    }
    assert len(more) == 3 and not more & {row.cells["key"][-17:] for row in rows}


def names_in(run: Path) -> dict[str, str]:
    """The names of the networks of a run by the hash that they end in; files are called by them."""
    rows = [row.cells for row in read_csv(run / "pareto.csv", optional=None)]
    assert {path.stem for path in (run / "archs").iterdir()} <= {row["name"] for row in rows}
    assert all(row["file"] in ("", f"archs/{row['name']}.yaml") for row in rows)
    return {row["name"][-6:]: row["name"] for row in rows}


def test_a_time_is_taken_back(hvnas, phone_run: Path) -> None:
    whole = {path.name: path.read_bytes() for path in phone_run.glob("*.[cy]*") if path.name != "history.csv"}
    hvnas("refine", phone_run, "--networks", 3)
    hvnas("refine", phone_run, "--measurements", timed_there(phone_run.with_name("run-suite"), slow=1.04))
    times = phone_run / "measured" / "measurements.csv"
    lines = times.read_text().splitlines(keepends=True)
    times.write_text("".join(lines[:-1]))
    assert json.loads(hvnas("resume", phone_run, "--json").stdout)["measured"]["networks"] == 2
    shutil.rmtree(phone_run / "measured")
    assert "measured" not in json.loads(hvnas("resume", phone_run, "--json").stdout)
    assert whole == {name: (phone_run / name).read_bytes() for name in whole}


def test_a_phone_that_is_much_slower(hvnas, phone_run: Path) -> None:
    hvnas("refine", phone_run, "--networks", 3)
    taken = hvnas(
        "refine", phone_run, "--measurements", timed_there(phone_run.with_name("run-suite"), slow=3.0)
    )
    assert taken.exit_code == 3 and "none of the 3 networks that were timed keeps 2 ms" in taken.stderr
    assert "predicted" in taken.stdout


@pytest.mark.parametrize(("slow", "unit"), [(950.0, "us"), (0.00095, "s")])
def test_times_in_another_unit_are_asked_about_and_not_kept(
    hvnas, phone_run: Path, slow: float, unit: str
) -> None:
    hvnas("refine", phone_run, "--networks", 3)
    times = timed_there(phone_run.with_name("run-suite"), slow=slow, spread=0.01 * slow)
    before = {path: path.read_bytes() for path in phone_run.rglob("*") if path.is_file()}
    done = hvnas("refine", phone_run, "--measurements", times)
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 2 and f"Then give --unit {unit}" in line and str(times) in line
    assert before == {path: path.read_bytes() for path in phone_run.rglob("*") if path.is_file()}
    taken = hvnas("refine", phone_run, "--measurements", times, "--unit", unit)
    assert taken.exit_code == 0, taken.stderr
    kept = read_measurements(phone_run / "measured" / "measurements.csv")
    assert all(0.3 < row.ms < 3 for row in kept)


def test_times_of_other_networks_alone_are_told_so(hvnas, phone_run: Path) -> None:
    hvnas("refine", phone_run, "--networks", 1)
    row = read_measurements(timed_there(phone_run.with_name("run-suite"), slow=1.0))[0]
    path = phone_run.with_name("others.csv")
    write_measurements(path, [replace(row, key="efficientformer_l1", resolution=224, ms=1.4)])
    done = hvnas("refine", phone_run, "--measurements", path)
    assert done.exit_code == 3
    assert "none of the networks that were timed (1) was found by this search" in done.stderr


def test_what_refine_refuses(hvnas, phone_run: Path, tmp_path: Path) -> None:
    hvnas("refine", phone_run, "--networks", 3)
    suite = phone_run.with_name("run-suite")
    before = {path: path.read_bytes() for path in phone_run.rglob("*") if path.is_file()}
    other = timed_there(suite, slow=1.0, compute_unit="CPU", threads=2)
    for args, says in (
        ((phone_run, "--measurements", other), "compute_unit"),
        ((phone_run, "--measurements", suite / "suite.csv"), "suite.csv"),
        ((tmp_path / "nothing",), "holds no run"),
        ((phone_run, "--format", "bmp"), "bmp"),
        ((phone_run, "--unit", "us"), "--unit is for what was measured"),
    ):
        done = hvnas("refine", *args)
        assert (done.exit_code, done.stdout) == (2, ""), says
        (line,) = done.stderr.splitlines()
        assert says in line and len(line) <= 500
    stranger = load_arch("coatnet_0")
    row = read_measurements(timed_there(suite, slow=1.0))[0]
    write_measurements(suite / "measurements.csv", [replace(row, key=stranger.name)])
    done = hvnas("refine", phone_run, "--measurements", suite / "measurements.csv")
    assert done.exit_code == 2 and "is no network of efficientformer" in done.stderr
    assert before == {path: path.read_bytes() for path in phone_run.rglob("*") if path.is_file()}
    assert hvnas("refine", phone_run, "--measurements", other, "--force-protocol").exit_code in (0, 2)
