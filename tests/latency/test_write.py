"""Device files are written as they are read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from hvnas.latency import list_devices, load_device
from hvnas.latency.files import device_text, store_in_error, write_device
from hvnas.latency.model import LinearModel

TABLES = Path(__file__).resolve().parents[2] / "latency_tables"
CALIBRATED = [name for name in list_devices() if isinstance(load_device(name).model, LinearModel)]


@pytest.mark.parametrize("name", CALIBRATED)
def test_written_and_read_again(tmp_path: Path, name: str) -> None:
    device = load_device(name)
    write_device(device, tmp_path / f"{name}.yaml")
    again = load_device(tmp_path / f"{name}.yaml")
    assert dataclasses.replace(again, hash=device.hash) == device
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.csv", f"{name}.yaml"]


def test_a_shipped_file_is_what_the_writer_writes() -> None:
    text = (TABLES / "iphone12.yaml").read_text(encoding="utf-8")
    assert device_text(load_device("iphone12"), rows="iphone12.csv") == text


def test_other_models_are_refused() -> None:
    device = dataclasses.replace(load_device("iphone12"), model=object())
    with pytest.raises(ValueError, match="iphone12: only calibrated devices"):
        device_text(device, rows="x.csv")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("iphone12.yaml", "iphone12.csv"):
        (tmp_path / name).write_text((TABLES / name).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path / "iphone12.yaml"


def test_storing_keeps_every_other_line(copy: Path) -> None:
    before = copy.read_text(encoding="utf-8").replace("soc: Apple", "# mine\nsoc: Apple")
    copy.write_text(before, encoding="utf-8")
    store_in_error(copy, "validation", {"networks": 3, "overall": {"mape": 1.5}})
    after = copy.read_text(encoding="utf-8")
    start = before.index("error:\n")
    assert after[:start] == before[:start] and "# mine" in after
    errors = yaml.safe_load(after)["error"]
    assert errors.pop("validation") == {"networks": 3, "overall": {"mape": 1.5}}
    assert errors == yaml.safe_load(before)["error"]


def test_storing_again_replaces(copy: Path) -> None:
    for networks in (3, 4):
        store_in_error(copy, "validation", {"networks": networks})
    assert copy.read_text(encoding="utf-8").count("validation:") == 1
    assert load_device(copy).report["validation"] == {"networks": 4}


def test_a_report_changes_no_hash(copy: Path) -> None:
    before = load_device(copy)
    store_in_error(copy, "validation", {"networks": 3})
    assert load_device(copy).hash == before.hash
    copy.write_text(
        copy.read_text(encoding="utf-8").replace("fixed_ms: 0.", "fixed_ms: 1.", 1), encoding="utf-8"
    )
    assert load_device(copy).hash != before.hash


@pytest.mark.parametrize("section", ["", "error: {}\n", "error: {a: 1,\nb: 2}\n", "error:\n"])
def test_storing_into_files_laid_out_otherwise(copy: Path, section: str) -> None:
    """Flow style over lines, an empty section, none at all, and one that is not the last."""
    data = yaml.safe_load(copy.read_text(encoding="utf-8"))
    data.pop("error")
    rules = data.pop("rules")
    text = yaml.safe_dump(data, sort_keys=False) + section + yaml.safe_dump({"rules": rules})
    copy.write_text(text, encoding="utf-8")
    store_in_error(copy, "validation", {"networks": 3})
    stored = yaml.safe_load(copy.read_text(encoding="utf-8"))
    assert stored["error"]["validation"] == {"networks": 3}
    assert {**stored, "error": None} == {**yaml.safe_load(text), "error": None}
    load_device(copy)


def test_only_device_files(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("schema: hvnas.arch/1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"schema: must be hvnas\.device/1"):
        store_in_error(path, "validation", {})
