"""Device files: what loads, and the one line that says why something does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvnas.latency import load_device
from hvnas.latency.rows import read_rows, write_rows

TABLES = Path(__file__).resolve().parents[2] / "latency_tables"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the shipped device: YAML and CSV."""
    for name in ("iphone12.yaml", "iphone12.csv"):
        (tmp_path / name).write_text((TABLES / name).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path / "iphone12.yaml", tmp_path / "iphone12.csv"


def replace(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def set_cell(path: Path, row: int, column: str, value: str) -> None:
    """Set a field of the CSV; `row` is the file's line."""
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    lines[row - 1][lines[0].index(column)] = value
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_device(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_copy_loads(files: tuple[Path, Path]) -> None:
    assert load_device(files[0]).hash == load_device("iphone12").hash


def test_the_former_key_of_all_networks_is_read(files: tuple[Path, Path]) -> None:
    shipped = load_device(files[0])
    replace(files[0], "all_networks", "without_gate", count=-1)
    assert "all_networks" not in files[0].read_text(encoding="utf-8")
    former = load_device(files[0])
    assert former.report == shipped.report
    assert former.hash == shipped.hash
    assert shipped.report["family_left_out"]["all_networks"]["mape"] > 0


def test_rows_round_trip() -> None:
    rows = read_rows(TABLES / "iphone12.csv")
    assert write_rows(rows) == (TABLES / "iphone12.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("ms", "nan", "row 4: ms: must be a finite number, got nan"),
        ("ms", "inf", "row 4: ms: must be a finite number, got inf"),
        ("ms", "0", "row 4: ms: must be > 0, got 0"),
        ("ms", "-1.5", "row 4: ms: must be > 0, got -1.5"),
        ("ms", "fast", "row 4: ms: must be a number, got 'fast'"),
        ("ms", "", "row 4: ms: must be a number, got ''"),
        ("source", " ", "row 4: source: is empty"),
        ("protocol", "", "row 4: protocol: is empty"),
        ("resolution", "22.5", "row 4: resolution: must be a whole number"),
        ("act_bytes", "-1", "row 4: act_bytes: must be >= 0, got -1"),
        ("weight_bytes", "nan", "row 4: weight_bytes: must be a finite number, got nan"),
    ],
)
def test_bad_cells(files: tuple[Path, Path], column: str, value: str, says: str) -> None:
    set_cell(files[1], 4, column, value)
    message = refusal(files[0])
    assert message.startswith(str(files[1])) and says in message


def test_contradicting_rows(files: tuple[Path, Path]) -> None:
    lines = files[1].read_text(encoding="utf-8").splitlines()
    files[1].write_text("\n".join([*lines, lines[3]]) + "\n", encoding="utf-8")
    load_device(files[0])  # the same said twice is no contradiction
    set_cell(files[1], len(lines) + 1, "ms", "9.5")
    assert f"rows 4 and {len(lines) + 1}: ms: disagree" in refusal(files[0])
    set_cell(files[1], len(lines) + 1, "ms", lines[3].split(",")[4])
    set_cell(files[1], len(lines) + 1, "macs", "1")
    assert f"rows 4 and {len(lines) + 1}: macs: disagree" in refusal(files[0])


@pytest.mark.parametrize("column", ["ms", "source", "family"])
def test_missing_column(files: tuple[Path, Path], column: str) -> None:
    replace(files[1], column, f"{column}x")
    assert f"row 1: {column}: missing column" in refusal(files[0])


def test_missing_or_unknown_term(files: tuple[Path, Path]) -> None:
    replace(files[1], "swish_on_maps", "swish")
    assert "row 1: swish: unknown column" in refusal(files[0])
    replace(files[1], ",swish,", ",matmul_bytes,")
    assert "row 1: matmul_bytes: this column appears twice" in refusal(files[0])
    replace(files[0], "column: input_size", "column: params")
    files[1].write_text((TABLES / "iphone12.csv").read_text(encoding="utf-8"), encoding="utf-8")
    load_device(files[0])
    replace(files[1], ",params,", ",input_size,")
    assert "row 1: input_size: this column appears twice" in refusal(files[0])


def test_truncated_csv(files: tuple[Path, Path]) -> None:
    text = files[1].read_text(encoding="utf-8")
    files[1].write_text(text[: len(text) // 2].rpartition(",")[0], encoding="utf-8")
    assert "is the file complete?" in refusal(files[0])
    files[1].write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    assert "holds a header and no rows" in refusal(files[0])
    files[1].write_text("", encoding="utf-8")
    assert "is empty; the first row must be network, model, family" in refusal(files[0])
    files[1].unlink()
    assert "rows: there is no file" in refusal(files[0])
    replace(files[0], f"rows: {files[1].name}", f"rows: {'x' * 700}")
    assert "rows: there is no file" in refusal(files[0])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("hvnas.device/1", "hvnas.device/9", "schema: must be hvnas.device/1, got 'hvnas.device/9'"),
        ("method: calibrated", "method: guessed", "method: must be 'measured' or 'calibrated'"),
        ("fixed_ms: 0", "fixed_ms: -0", "parameters.fixed_ms must be >= 0"),
        ("fixed_ms: 0", "fixed_ms: .nan #", "parameters.fixed_ms: must be a finite number"),
        ("ms_per_mega: 0", "ms_per_mega: -0", "parameters.terms.0: ms_per_mega must be a finite number >= 0"),
        (
            "column: pool_bytes\n",
            "column: pool_byte\n",
            "parameters.terms.8: unknown latency column 'pool_byte'",
        ),
        ("above: 256", "over: 256", "rules.5.over"),
        ("above: 256", "above: .inf", "rules.5.above: must be a finite number"),
        ("name: returns", "name: switches", "two have the same name"),
        ("    df: 8.0\n", "", "interval.inside.df: is missing; give it a value"),
        ("    df: 8.0\n", "    df: -1\n", "interval.inside: a Student t needs"),
        ("batch: 1", "batch: 0", "batch must be >= 1"),
        (
            "rows: iphone12.csv",
            "rows: ../iphone12.csv",
            "rows: must be the name of a file in the same folder",
        ),
        ("soc: Apple A14 Bionic\n", "", "soc: is missing; give it a value"),
        ("name: iphone12\n", "name: iphone12\nname: x\n", "appears twice"),
        ("soc: Apple", "soc: !!python/object:os.system Apple", "not valid YAML"),
        ("error:\n", "extra: 1\nerror:\n", "extra: "),
    ],
)
def test_bad_yaml(files: tuple[Path, Path], old: str, new: str, says: str) -> None:
    replace(files[0], old, new)
    message = refusal(files[0])
    assert message.startswith(str(files[0])) and says in message


def test_provenance_must_be_there(files: tuple[Path, Path]) -> None:
    text = files[0].read_text(encoding="utf-8")
    start, rest = text.split("source: ", 1)
    files[0].write_text(f"{start}source: ''\nprotocol: {rest.split('protocol: ', 1)[1]}", encoding="utf-8")
    assert "source is empty" in refusal(files[0])


def test_truncated_yaml(files: tuple[Path, Path]) -> None:
    # Behind its last lines stands the report of errors alone, of which any beginning is one.
    text = files[0].read_text(encoding="utf-8").partition("\nerror:")[0]
    for share in (0.02, 0.2, 0.5, 0.9):
        files[0].write_text(text[: int(len(text) * share)], encoding="utf-8")
        assert refusal(files[0]).startswith(str(files[0]))


def test_no_such_file(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "none.yaml")
