"""The CSV of measurements: what is written is read back, and what is wrong is refused by row and field."""

from __future__ import annotations

import csv
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hvnas.latency.remote.measurements import (
    FIELDS,
    ModelMeasurement,
    check_rows,
    read_measurements,
    write_measurements,
)

ROW = ModelMeasurement(
    kind="model",
    key="efficientvit_b0",
    resolution=224,
    ms=1.0 / 3.0,
    spread=None,
    n=50,
    statistic="median",
    device="a host, quiet",
    os="Linux",
    runtime="onnxruntime",
    runtime_version="1.32",
    compute_unit="cpu",
    precision="float32",
    threads=1,
    batch=1,
    protocol='interleaved, "warm"',
    source="own",
)
ROWS = (ROW, replace(ROW, key="nets/a.yaml", ms=2.5, spread=0.25), replace(ROW, kind="block", n=None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.csv"


def edited(path: Path, **columns: str) -> Path:
    """A table of one row with other cells."""
    write_measurements(path, [ROW])
    cells = {name: "" if (v := getattr(ROW, name)) is None else str(v) for name in FIELDS} | columns
    quoted = [f'"{cell.replace(chr(34), 2 * chr(34))}"' for cell in cells.values()]
    path.write_text(",".join(cells) + "\n" + ",".join(quoted) + "\n")
    return path


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read_measurements(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_round_trip_is_exact(path: Path) -> None:
    write_measurements(path, ROWS)
    assert read_measurements(path) == ROWS
    assert path.read_text().splitlines()[0] == ",".join(FIELDS)


def test_columns_may_be_in_any_order_and_a_spreadsheet_may_have_saved_them(path: Path) -> None:
    write_measurements(path, ROWS)
    lines = [line.split(",", 1) for line in path.read_text().splitlines()]
    path.write_text("\ufeff" + "\r\n".join(f"{rest},{first}" for first, rest in lines) + "\r\n\r\n")
    assert read_measurements(path) == ROWS


def test_a_row_that_stands_twice_is_one(path: Path) -> None:
    write_measurements(path, [ROW])
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    assert read_measurements(path) == (ROW,)


@pytest.mark.parametrize(
    "name",
    [
        "us",
        "s",
        "seconds",
        "latency_ms",
        "µs",
        "ns",
        "msec",
        "Latency",
        "time",
        "time (us)",
        "ms_mean time",
        "mean_s",
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_times_in_other_columns(path: Path, name: str, beside: bool) -> None:
    write_measurements(path, [ROW])
    header, row = path.read_text().splitlines()
    if beside:
        path.write_text(f"{header},{name}\n{row},1\n")
    else:
        path.write_text(f"{header.replace(',ms,', f',{name},')}\n{row}\n")
    assert f"row 1: {name}: unknown column; give milliseconds in the column ms" in refused(path)


def test_columns(path: Path) -> None:
    write_measurements(path, [ROW])
    header, row = path.read_text().splitlines()
    path.write_text(f"{header},colour\n{row},red\n")
    assert "row 1: colour: unknown column; the columns are kind, key," in refused(path)
    path.write_text(f"{header},os\n{row},Linux\n")
    assert "row 1: os: this column appears twice" in refused(path)
    path.write_text(f"{header.removeprefix('kind,')}\n{row.removeprefix('model,')}\n")
    assert "row 1: kind: missing column" in refused(path)
    path.write_text(f"{header}\n")
    assert "holds a header and no rows" in refused(path)
    path.write_text(f"{header}\n{row.rpartition(',')[0]}\n")
    assert "row 2: 16 fields where the header has 17; is the file complete?" in refused(path)
    path.write_text(header.replace(",", "\t") + "\n")
    assert "not separated by commas" in refused(path)
    path.write_text("")
    assert "is empty" in refused(path)


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        ("ms", "-1", "must be a finite number > 0, got -1"),
        ("ms", "0", "must be a finite number > 0, got 0"),
        ("ms", "nan", "must be a finite number of milliseconds, got nan"),
        ("ms", "inf", "must be a finite number of milliseconds, got inf"),
        ("ms", "", "must be a number of milliseconds, got ''"),
        ("ms", "1,5", "must be a number of milliseconds with a decimal point, as 1.5, got '1,5'"),
        ("ms", "1200 us", "must be a number of milliseconds without a unit, got '1200 us'"),
        ("spread", "-0.1", "must be a finite number >= 0"),
        ("n", "0", "must be a whole number >= 1"),
        ("n", "2.5", "must be a whole number >= 1"),
        ("batch", "", "must be a number"),
        ("resolution", "224x224", "must be a number"),
        ("kind", "layer", "must be model or block or op, got 'layer'"),
        ("statistic", "best", "must be median or mean or minimum, got 'best'"),
        ("threads", "", "is empty; a time on a CPU says on how many threads"),
        *(
            (name, " ", "is empty")
            for name in ("key", "device", "os", "runtime_version", "protocol", "source")
        ),
    ],
)
def test_cells(path: Path, column: str, text: str, said: str) -> None:
    message = refused(edited(path, **{column: text}))
    assert f"row 2: {column}: " in message
    assert said in message


def test_core_ml_has_no_threads(path: Path) -> None:
    edited(path, threads="", runtime="coreml")
    assert read_measurements(path)[0].threads is None
    edited(path, threads="", compute_unit="all")
    assert read_measurements(path)[0].threads is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", "b host"),
        ("os", "macOS"),
        ("runtime", "torch"),
        ("runtime_version", "1.33"),
        ("compute_unit", "cuda"),
        ("precision", "float16"),
        ("threads", 2),
        ("batch", 8),
        ("statistic", "mean"),
    ],
)
def test_mixed_protocols(path: Path, field: str, value: object) -> None:
    other = replace(ROW, key="efficientvit_b1", **{field: value})
    with pytest.raises(
        ValueError, match=rf"m\.csv: row 4: {field}: mixed protocols: {value} here, .* in row 2"
    ):
        write_measurements(path, [ROW, replace(ROW, key="efficientvit_b2"), other])
    assert not path.exists()


def test_duplicates_that_disagree() -> None:
    labels = ["t.csv: row 2", "t.csv: row 3"]
    with pytest.raises(
        ValueError, match=r"t\.csv: row 3: ms: 0\.4 for .* 0\.333333 in row 2; keep the right one"
    ):
        check_rows([ROW, replace(ROW, ms=0.4)], labels)
    with pytest.raises(ValueError, match="1000 times apart: is one of them in other units than milliseconds"):
        check_rows([ROW, replace(ROW, ms=ROW.ms * 1000)], labels)
    check_rows([ROW, replace(ROW, ms=0.4, resolution=256)], labels)
    check_rows([ROW, replace(ROW, ms=0.4, kind="op")], labels)


def test_no_rows(path: Path) -> None:
    with pytest.raises(ValueError, match="there are no rows to write"):
        write_measurements(path, [])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_write_that_fails_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write_measurements(path, ROWS)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ValueError, match=rf"m\.csv: cannot be written: {os.strerror(code).lower()}; nothing"):
        write_measurements(path, [ROW])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be written: no such file or directory; nothing was written"):
        write_measurements(tmp_path / "none" / "m.csv", ROWS)


def test_semicolons_with_decimal_commas_and_empty_rows_are_read(path: Path) -> None:
    """As a spreadsheet saves where the comma is the decimal mark."""
    edited(path)
    expected = read_measurements(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    written = [";".join(cell.replace(".", ",") for cell in row) for row in csv.reader(lines[1:])]
    text = "\ufeff" + "\r\n".join([lines[0].replace(",", ";"), *written, ";" * lines[0].count(","), "", ""])
    path.write_text(text, encoding="utf-8")
    assert [row.ms for row in read_measurements(path)] == [row.ms for row in expected]
