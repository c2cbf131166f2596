"""``hvnas latency calibrate``: before and after, files that load, and refusals that lose nothing."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from hvnas.latency import load_device
from hvnas.latency.calibration.family import candidates, load_family, most_informative
from hvnas.latency.remote.measurements import ModelMeasurement, write_measurements

ASK = ("latency", "calibrate", "--device", "iphone12")


def test_before_and_after(hvnas, own_csv, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    result = hvnas(*ASK, "--measurements", own_csv(), "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "iphone12 refitted to 7 measured networks" in result.stdout
    errors = {
        line.split()[0]: float(line.split()[1])
        for line in result.stdout.splitlines()
        if line.split()[:1] in (["iphone12"], ["refitted"]) and "%" in line
    }
    assert errors["refitted"] < 10 < 30 < errors["iphone12"]
    assert "fixed, ms" in result.stdout and "1.7" in result.stdout
    device = load_device(out)
    assert (device.name, device.info.device, device.info.method) == ("mine", "iPhone SE", "calibrated")
    predicted = hvnas("latency", "predict", "--device", out, "--arch", "efficientformer_l1").stdout
    assert "left out of the fit one at a time" in predicted


def test_json(hvnas, own_csv, tmp_path: Path) -> None:
    result = hvnas(*ASK, "--measurements", own_csv(), "--out", tmp_path / "mine.yaml", "--json")
    facts = json.loads(result.stdout)
    assert facts["improved"] and facts["networks"] == 7 and facts["interval"]["df"] == 6
    assert facts["error_after"]["mape"] < facts["error_before"]["mape"]
    assert facts["parameters_before"].keys() == facts["parameters_after"].keys()


def test_no_better_is_written_with_a_warning(hvnas, own_csv, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    result = hvnas(*ASK, "--measurements", own_csv(factor=1.0), "--out", out)
    assert result.exit_code == 0 and "warning: the refit lowers no error" in result.stderr
    assert load_device(out).info.method == "calibrated"


def test_other_units_are_asked_about_and_converted(hvnas, own_csv, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    micro = own_csv(factor=1000.0)
    refused = hvnas(*ASK, "--measurements", micro, "--out", out)
    assert refused.exit_code == 2 and not out.exists()
    assert f"{micro}: ms: the times are " in refused.stderr and "give --unit us" in refused.stderr
    assert hvnas(*ASK, "--measurements", micro, "--out", out, "--unit", "us").exit_code == 0
    assert load_device(out).rows[0].ms < 10
    assert hvnas(*ASK, "--measurements", micro, "--out", out, "--unit", "ms", "--force").exit_code == 0
    assert load_device(out).rows[0].ms > 100


def test_too_few(hvnas, own_csv, tmp_path: Path) -> None:
    result = hvnas(*ASK, "--measurements", own_csv(count=4), "--out", tmp_path / "mine.yaml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        "own.csv: a refit of iphone12 needs at least 5 measured networks in its gate, got 4" in result.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["own.csv"]


def test_a_full_disk_names_the_file_that_was_asked_for(
    hvnas, own_csv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "mine.yaml"

    def full(files: dict[Path, str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", f"{out}.part")

    monkeypatch.setattr("hvnas.latency.files.write_together", full)
    result = hvnas(*ASK, "--measurements", own_csv(), "--out", out)
    assert result.exit_code == 2
    assert result.stderr == f"hvnas: error: {out}: cannot be written: no space left on device\n"


@pytest.mark.parametrize("changed", [{"batch": 8}, {"precision": "int8"}, {"compute_unit": "GPU"}])
def test_another_protocol_needs_saying_so(hvnas, own_csv, tmp_path: Path, changed: dict) -> None:
    args = (*ASK, "--measurements", own_csv(**changed), "--out", tmp_path / "mine.yaml")
    result = hvnas(*args)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    (name,) = changed
    assert f"own.csv: {name}: the measurements have" in result.stderr and "--force-protocol" in result.stderr
    assert hvnas(*args, "--force-protocol").exit_code == 0
    assert getattr(load_device(tmp_path / "mine.yaml").info, name) == changed[name]


def test_nothing_is_overwritten_unasked(hvnas, own_csv, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    out.write_text("precious", encoding="utf-8")
    result = hvnas(*ASK, "--measurements", own_csv(), "--out", out)
    assert result.exit_code == 2 and "already exists" in result.stderr
    assert out.read_text(encoding="utf-8") == "precious"
    assert hvnas(*ASK, "--measurements", own_csv(), "--out", out, "--force").exit_code == 0
    load_device(out)


def test_the_measurements_are_never_overwritten(hvnas, own_csv, tmp_path: Path) -> None:
    csv = own_csv(name="mine.csv")
    before = csv.read_bytes()
    result = hvnas(*ASK, "--measurements", csv, "--out", tmp_path / "mine.yaml", "--force")
    assert result.exit_code == 2 and "its rows would replace" in result.stderr
    assert csv.read_bytes() == before


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--out", "mine"), "mine: a device file must end in .yaml"),
        (("--out", "none/mine.yaml"), "there is no folder none"),
        (("--out", "mine.yaml", "--measurements", "absent.csv"), "absent.csv: no such file"),
        (("--out", "mine.yaml", "--device", "iphone"), "unknown device 'iphone'"),
    ],
)
def test_one_line(
    hvnas, own_csv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = hvnas(*ASK, "--measurements", own_csv(), *args)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert says in result.stderr


FAMILY = ("latency", "calibrate", "--family", "snapdragon")


def family_csv(path: Path, chip: str = "galaxy-s25", *, factor: float = 1.0, count: int = 5) -> Path:
    """A chip's published times of the networks to time first, as if it were new."""
    family = load_family("snapdragon")
    first = most_informative(family, candidates(family), most=count)
    times = {row.network: row.ms for row in family.device.rows if row.cohort == chip}
    said = {"kind": "model", "spread": None, "n": None, "statistic": "minimum", "device": "my phone"}
    said |= {"os": "Android", "runtime": "QAIRT", "runtime_version": "2.42", "compute_unit": "NPU"}
    said |= {"precision": "fp16", "threads": None, "batch": 1, "protocol": "profile job", "source": "me"}
    rows = [
        ModelMeasurement(key=c.name, resolution=c.resolution, ms=times[c.name] * factor, **said)  # type: ignore[arg-type]
        for c in first
    ]
    write_measurements(path, rows)
    return path


def test_a_family_says_what_to_expect_and_what_to_time_first(hvnas) -> None:
    shown = hvnas(*FAMILY).stdout
    assert "Networks to time first" in shown and "Mean error to expect" in shown
    facts = json.loads(hvnas(*FAMILY, "--json").stdout)
    assert [e["timed"] for e in facts["expected"]] == [3, 5, 10, 20]
    assert all(e["known"] < e["unseen"] for e in facts["expected"])
    assert len(facts["time_first"]) == 20 and len(facts["chips"]) == 7


@pytest.mark.parametrize("unused", [("--out", "x.yaml"), ("--unit", "ms"), ("--force",)])
def test_what_nothing_is_measured_for_is_refused(hvnas, unused: tuple[str, ...]) -> None:
    result = hvnas("latency", "calibrate", "--family", "snapdragon", *unused)
    assert result.exit_code == 2 and result.stdout == ""
    assert f"{unused[0]} is for what was measured" in result.stderr


def test_a_device_of_a_family(hvnas, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    result = hvnas(*FAMILY, "--measurements", family_csv(tmp_path / "m.csv"), "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "snapdragon refitted to 5 measured networks" in result.stdout
    said = hvnas("latency", "predict", "--device", out, "--arch", "mobilevit_xs", "--json").stdout
    assert json.loads(said)["latency"]["mine"]["inside"]
    known = hvnas("latency", "predict", "--device", out, "--arch", "efficientvit_b2").stdout
    assert "measured on 7 other chips of the family snapdragon, scaled" in known
    micro = family_csv(tmp_path / "us.csv", factor=1000.0)
    refused = hvnas(*FAMILY, "--measurements", micro, "--out", tmp_path / "other.yaml")
    assert refused.exit_code == 2 and "give --unit us" in refused.stderr
    ask = (*FAMILY, "--measurements", micro, "--out", tmp_path / "other.yaml", "--unit", "us")
    assert hvnas(*ask).exit_code == 0
    assert load_device(tmp_path / "other.yaml").rows[0].ms == pytest.approx(load_device(out).rows[0].ms)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ((), "give what to start from as either --device or --family"),
        (("--device", "iphone12", "--family", "snapdragon"), "either --device or --family"),
        (("--device", "iphone12"), "give --measurements FILE as well"),
        (("--family", "hexagon"), "unknown family 'hexagon'"),
        (("--device", "iphone12", "--suite", "suite.csv"), "--suite chooses what to time first"),
        (("--family", "snapdragon", "--suite", "suite.csv"), "suite.csv"),
    ],
)
def test_what_to_start_from(hvnas, ask: tuple[str, ...], said: str) -> None:
    result = hvnas("latency", "calibrate", *ask)
    assert result.exit_code == 2 and said in result.stderr and "Traceback" not in result.stderr
