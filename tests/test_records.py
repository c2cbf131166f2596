"""Records: what a cell may hold by its field's type, and one table as text, JSON and CSV."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from hvnas._records import (
    Cell,
    Column,
    Table,
    csv_of,
    csv_text,
    field_names,
    json_text,
    read_csv,
    read_records,
)


@dataclass(frozen=True)
class Shot:
    name: Annotated[str, Cell(advice="say who")]
    count: Annotated[int, Cell(least=0, most=9)]
    ms: Annotated[float, Cell(above=0, unit="milliseconds")]
    spread: Annotated[float | None, Cell(least=0)]
    kind: Literal["near", "far"]
    seen: bool
    marks: tuple[str, ...]
    note: Annotated[str, Cell(optional=True)]


GOOD = "=a,3,1.5,,near,true,x;y,"


def read(path: Path, *lines: str) -> list[Shot]:
    path.write_text("\n".join([",".join(field_names(Shot)), *lines, ""]), encoding="utf-8")
    return read_records(path, Shot)


def test_a_field_s_type_says_how_its_cell_is_read(tmp_path: Path) -> None:
    first, second = read(tmp_path / "s.csv", GOOD, "b,0,2,0.5,far,false,,none")
    assert first == Shot("=a", 3, 1.5, None, "near", True, ("x", "y"), "")
    assert second == Shot("b", 0, 2.0, 0.5, "far", False, (), "none")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("=a,", ",", "name: is empty; say who"),
        (",3,", ",-1,", "count: must be a whole number >= 0, got -1"),
        (",3,", ",10,", "count: must be at most 9, got 10"),
        (",1.5,", ",0,", "ms: must be > 0, got 0"),
        (",1.5,", ",2 ms,", "ms: must be a number of milliseconds without a unit, got '2 ms'"),
        (",,near", ",-1,near", "spread: must be >= 0, got -1"),
        ("near", "close", "kind: must be near or far, got 'close'"),
        ("true", "yes", "seen: must be true or false, got 'yes'"),
    ],
)
def test_what_a_cell_may_not_hold(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "s.csv"
    with pytest.raises(ValueError) as caught:
        read(path, GOOD, GOOD.replace(old, new, 1))
    assert str(caught.value) == f"{path}: row 3: {says}"


def test_what_is_given_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("name,count\nb,x\n", encoding="utf-8")
    (row,) = read_csv(tmp_path / "s.csv", ("name", "count"))
    given = {"count": 1, "ms": 1.0, "spread": None, "kind": "far", "seen": True, "marks": (), "note": ""}
    assert row.record(Shot, given) == Shot("b", 1, 1.0, None, "far", True, (), "")


COLUMNS: tuple[Column[dict[str, object]], ...] = (
    Column("network", "name"),
    Column(">MACs G", "macs", lambda macs: f"{macs / 1e9:.1f}"),
    Column(">top-1", "published.top1"),
    Column("blocks", "blocks", len),
)
RECORDS: list[dict[str, object]] = [
    {"name": "=a", "macs": 2_500_000_000, "published": {"top1": 80.25}, "blocks": ["x", "y"]},
    {"name": "b", "macs": 1, "published": None, "blocks": []},
]


def test_one_table_for_people_and_for_programs() -> None:
    table = Table.of(COLUMNS, RECORDS, title="Two")
    assert table.columns == ("network", "MACs G", "top-1", "blocks")
    assert table.right == (1, 2)
    assert table.rows == (("=a", "2.5", "80.25", "2"), ("b", "0.0", "–", "0"))
    assert csv_of(COLUMNS, RECORDS) == ("name,macs,published.top1,blocks\n'=a,2500000000,80.25,x; y\nb,1,,\n")
    assert csv_of(COLUMNS, []) == "name,macs,published.top1,blocks\n"


def test_lines_of_csv_are_quoted_and_never_formulas() -> None:
    assert csv_text([{"a": "1,5", "b": "@x"}, {"c": 'a "b"'}]) == 'a,b,c\n"1,5",\'@x,\n,,"a ""b"""\n'


def test_json_has_no_number_that_is_none() -> None:
    data = {"a": (1.5, float("inf")), 2: {"b": float("nan")}, "path": Path("x")}
    assert json.loads(json_text(data)) == {"a": [1.5, None], "2": {"b": None}, "path": "x"}
