"""``hvnas latency validate``: of measured files and of this host (a fake one), stored where that is right."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

import hvnas.latency as latency
import hvnas.latency.calibration.validation as validation
from hvnas.arch import Arch
from hvnas.latency import Device, load_device
from hvnas.latency.measure.sampling import host_cpu
from hvnas.latency.tables.op_model import PARTIAL

ASK = ("latency", "validate", "--device")


def test_a_file_of_the_same_device(hvnas, own_csv, iphone12_copy: Path) -> None:
    csv = own_csv(factor=1.0, device="iPhone 12")
    result = hvnas(*ASK, iphone12_copy, "--measurements", csv)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "iphone12 against 7 measured networks" in result.stdout
    for heading in ("By family", "By size", "calibrated, not measured", f"Report stored in {iphone12_copy}"):
        assert heading in result.stdout
    stored = load_device(iphone12_copy).report["validation"]
    assert stored["networks"] == 7 and stored["overall"]["mape"] < 5
    assert stored["source"]["measurements"] == "own.csv" and stored["source"]["device"] == "iPhone 12"


def test_another_device_is_compared_but_not_stored(hvnas, own_csv, iphone12_copy: Path) -> None:
    before = iphone12_copy.read_bytes()
    result = hvnas(*ASK, iphone12_copy, "--measurements", own_csv(), "--json")
    facts = json.loads(result.stdout)
    assert facts["stored"] == "not stored: the times are of iPhone SE, not of iPhone 12"
    assert facts["overall"]["mape"] > 30 > 5 > facts["one_factor"]["mape"]
    assert len(facts["models"]) == 7 and facts["models"][0]["name"] == "efficientformer_l1"
    assert iphone12_copy.read_bytes() == before


@pytest.mark.parametrize("why", ["read-only", "asked"])
def test_not_stored_says_so(
    hvnas, own_csv, iphone12_copy: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def refuse(found: object, path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(validation, "store", refuse)
    args = ("--no-store",) if why == "asked" else ()
    csv = own_csv(factor=1.0, device="iPhone 12")
    result = hvnas(*ASK, iphone12_copy, "--measurements", csv, *args)
    assert result.exit_code == 0
    said = "as asked" if why == "asked" else f"{iphone12_copy}: permission denied"
    assert result.stdout.splitlines()[-1].startswith("Report not stored") and said in result.stdout


def test_the_plot(hvnas, own_csv, iphone12_copy: Path, tmp_path: Path) -> None:
    args = ("--measurements", own_csv(), "--plot", tmp_path / "x.png")
    assert hvnas(*ASK, iphone12_copy, *args).exit_code == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def this_host(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """iphone12 passes for a table of this host, on which everything takes 10 % longer; records the calls."""
    device = load_device("iphone12")
    info = dataclasses.replace(device.info, method="measured", threads=1, device=host_cpu())
    device = dataclasses.replace(device, info=info)
    calls: list[dict] = []

    def time_networks(archs: Sequence[Arch], *, backend: str, threads: int, passes: int, on_step) -> list:
        calls.append({"hashes": [a.hash for a in archs], "backend": backend, "threads": threads})
        ms = [device.latency(arch.lower()).ms for arch in archs]
        on_step(len(archs), archs[0].name)
        return [(1.08 * t, 1.12 * t) for t in ms]

    module = ModuleType("networks")
    module.time_networks = time_networks  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hvnas.latency.measure.run", module)
    monkeypatch.setattr(validation, "backend_of", lambda device: "torch-cpu")

    def load(name: str) -> Device:
        return device

    monkeypatch.setattr(latency, "load_device", load)
    return calls


def test_networks_are_drawn_and_measured_twice(hvnas, this_host: list[dict], iphone12_copy: Path) -> None:
    result = hvnas(*ASK, iphone12_copy, "--archs", 6, "--json")
    facts = json.loads(result.stdout)
    assert facts["overall"]["n"] == 6 and facts["overall"]["mape"] == pytest.approx(9.09, abs=0.01)
    assert facts["one_factor"] == {"factor": 1.1, "mape": 0.0}
    assert facts["noise_floor"] == {"pairs": 6, "mape": 3.64, "max": 3.64}
    assert facts["source"]["drawn"]["space"] == "hybrid-mobile"
    (call,) = this_host
    assert (call["backend"], call["threads"], len(call["hashes"])) == ("torch-cpu", 1, 6)
    stored = load_device(iphone12_copy)  # the fake load_device is the package's; this one reads the file
    assert stored.report["validation"]["noise_floor"]["pairs"] == 6


def test_the_noise_floor_is_said(hvnas, this_host: list[dict], iphone12_copy: Path) -> None:
    out = hvnas(*ASK, iphone12_copy, "--archs", 3, "--threads", 1).stdout
    assert "The same network measured twice differs by 3.6 %" in out


def test_a_table_that_is_not_complete(hvnas, this_host: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    device = latency.load_device("iphone12")  # what passes for the host's
    device = dataclasses.replace(device, rules=(*device.rules, PARTIAL))
    monkeypatch.setattr(latency, "load_device", lambda name: device)
    result = hvnas(*ASK, "iphone12")
    assert (result.exit_code, this_host) == (2, [])
    assert "iphone12 is not complete; run hvnas latency measure again" in result.stderr


def test_a_table_of_another_machine(
    hvnas, this_host: list[dict], iphone12_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = iphone12_copy.read_bytes()
    monkeypatch.setattr("hvnas.latency.measure.sampling.host_cpu", lambda: "Another CPU")
    result = hvnas(*ASK, iphone12_copy)
    assert (result.exit_code, result.stdout, result.stderr.count("\n"), this_host) == (2, "", 1, [])
    says = f"iphone12: measured on {host_cpu()}, while this host is Another CPU; give times measured there"
    assert says in result.stderr and iphone12_copy.read_bytes() == before


def test_other_threads_are_refused(hvnas, this_host: list[dict]) -> None:
    result = hvnas(*ASK, "iphone12", "--threads", 2)
    assert (result.exit_code, result.stderr.count("\n"), this_host) == (2, 1, [])
    assert "iphone12 states threads: 1, not 2" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "iphone12 is calibrated, not a table of this host; give measured times"),
        (("--threads", "2"), "iphone12 states no number of threads, not 2"),
        (("--measurements", "absent.csv"), "absent.csv: no such file"),
        (("--measurements", "int8.csv"), "int8.csv: precision: the measurements have int8"),
        (("--archs", "1"), "--archs"),
        (("--plot", "x.gif"), "x.gif: a figure's name ends in"),
    ],
)
def test_one_line(
    hvnas, own_csv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    own_csv(name="int8.csv", precision="int8")
    result = hvnas(*ASK, "iphone12", *args)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert says in result.stderr
