"""The doors for JSON and CSV: what is read, and the line that says why something is not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hvnas._files import read_json, read_text
from hvnas._names import shown
from hvnas._records import read_csv


def refused_json(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    start = time.process_time()
    with pytest.raises(ValueError) as caught:
        read_json(path)
    assert time.process_time() - start < 1
    assert str(caught.value).startswith(f"{path}: ") and len(str(caught.value)) <= 500
    return str(caught.value)


def table(path: Path, text: str, **how: object) -> list[dict[str, str]]:
    path.write_text(text, encoding="utf-8")
    return [row.cells for row in read_csv(path, ("a", "b"), **how)]  # type: ignore[arg-type]


class TestJson:
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_values(self, tmp_path: Path, mark: bytes) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(mark + b'{"a": [1, -2.5e3, null, "\\ud83d\\ude00 1e9999"], "b": {"a": true}}')
        assert read_json(path) == {"a": [1, -2500.0, None, "😀 1e9999"], "b": {"a": True}}
        path.write_text("[" * 32 + "]" * 32)
        assert read_json(path)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('{"a":\n NaN}', "'NaN' is not a finite number (line 2)"),
            ("[-Infinity]", "'-Infinity' is not a finite number (line 1)"),
            ("[1,\n\n1e999]", "'1e999' is not a finite number (line 3)"),
            ('{"a": 1,\n"b": {"c": 1, "c": 2}}', "the key 'c' appears twice (line 2)"),
            ('{"a": 1, "\\u0061": 2}', "the key 'a' appears twice (line 1)"),
            ("[" * 33 + "]" * 33, "nested too deeply (line 1)"),
            ("[" * 100_000, "nested too deeply (line 1)"),
            ('{"a":' * 100_000, "nested too deeply (line 1)"),
            ("9" * 41, "a number of 41 digits; the longest has 40 (line 1)"),
            ("-" + "9" * 5000, "a number of 5000 digits; the longest has 40 (line 1)"),
            ('["\\ud800"]', "holds half of a character (line 1)"),
            ('{"a": 1', "Expecting ',' delimiter (line 1); is it complete?"),
            ("", "Expecting value (line 1); is it complete?"),
            ('"' + "\\" * 200_001, "(line 1); is it complete?"),
            ('{"' + "k" * 9999 + '": 1, "' + "k" * 9999 + '": 2}', "appears twice (line 1)"),
        ],
    )
    def test_refusals(self, tmp_path: Path, text: str, says: str) -> None:
        assert says in refused_json(tmp_path / "a.json", text)

    def test_a_file_beyond_the_limit(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("[1]" + " " * 2**20)
        with pytest.raises(ValueError, match="larger than 1 MiB"):
            read_json(tmp_path / "a.json", limit=2**20)


class TestCsv:
    @pytest.mark.parametrize(
        "text",
        [
            "a,b\n1.5,x\n",
            "\ufeffb,a\r\nx,1.5\r\n",
            "a;b\n1,5;x\n",
            "a,b,,\n1.5,x,,\n,,,\n\n\n",
            "a,b\r1.5,x\r",
            'a,b\n"1.5"," x "',
        ],
    )
    def test_what_spreadsheets_write(self, tmp_path: Path, text: str) -> None:
        assert table(tmp_path / "t.csv", text) == [{"a": "1.5", "b": "x"}]

    def test_escaped_formulas(self, tmp_path: Path) -> None:
        assert table(tmp_path / "t.csv", "a,b\n'=1,'x\n") == [{"a": "=1", "b": "'x"}]

    def test_columns_that_may_be_there(self, tmp_path: Path) -> None:
        text, row = "a,b,c\n1,2,3\n", [{"a": "1", "b": "2", "c": "3"}]
        assert table(tmp_path / "t.csv", text, optional=("c",)) == row
        assert table(tmp_path / "t.csv", text, optional=None) == row

    def test_a_file_that_grows(self, tmp_path: Path) -> None:
        for text in ("", "a,", "a,b\n", "a,b\n1,"):
            assert table(tmp_path / "t.csv", text, growing=True) == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "is empty; the first row must be a, b"),
            ("a,b\n", "holds a header and no rows"),
            ("a\n1\n", "row 1: b: missing column; there must be a, b"),
            ("a,b,c\n1,2,3\n", "row 1: c: unknown column; the columns are a, b"),
            ("a,b,b\n1,2,3\n", "row 1: b: this column appears twice"),
            ("a\tb\n1\t2\n", "row 1: columns are not separated by commas"),
            ("a,b\n1\n", "row 2: 1 fields where the header has 2"),
            ("a,b\n1,2,3\n", "row 2: 3 fields where the header has 2"),
            ("a,b\n1,2\n1,\0\n", "row 3: holds a NUL byte"),
            ('a,b\n1,"x\n', "row 2: not valid CSV: a quote is not closed"),
            ('a,b\n"1"2,3\n', "row 2: not valid CSV: ',' expected after '\"'"),
            (f"a,b\n1,2\n1,{'x' * 32_768}\n", "row 3: b: a cell of more than 32,767 characters"),
            (f"a,b\n1,{'x' * 200_000}\n", "row 2: b: a cell of more than 32,767 characters"),
            (f'a,b\n"1,\n2","{"x" * 200_000}', "row 2: b: a cell of more than 32,767 characters"),
            ("," * 2**20, "row 1: more than 10,000 columns"),
            ("a,b\n" + "," * 2**20, "row 2: more than 10,000 fields"),
            ("\n" * 2**20, "more than 250,000 rows"),
        ],
    )
    def test_refusals(self, tmp_path: Path, text: str, says: str) -> None:
        start = time.process_time()
        with pytest.raises(ValueError) as caught:
            table(tmp_path / "t.csv", text)
        assert time.process_time() - start < 1
        assert str(caught.value).startswith(f"{tmp_path / 't.csv'}: ") and says in str(caught.value)
        assert len(str(caught.value)) <= 500

    @pytest.mark.parametrize(
        ("cell", "says"),
        [
            ("nan", "must be a finite number, got nan"),
            ("1e999", "must be a finite number, got 1e999"),
            ("1e308", "must be at most 1e+15, got 1e308"),
            ("-1", "must be >= 0, got -1"),
            ('"1,5"', "must be a number with a decimal point, as 1.5, got '1,5'"),
            ("x" * 9000, "must be a number, got 'xxx"),
            ("9" * 9000, "must be a finite number, got 999"),
        ],
    )
    def test_numbers(self, tmp_path: Path, cell: str, says: str) -> None:
        (tmp_path / "t.csv").write_text(f"a,b\n{cell},x\n")
        (row,) = read_csv(tmp_path / "t.csv", ("a", "b"))
        for read in (lambda: row.number_of("a", least=0), lambda: row.numbers(["a"], least=0)):
            with pytest.raises(ValueError) as caught:
                read()
            assert str(caught.value).startswith(f"{tmp_path / 't.csv'}: row 2: a: {says}")
            assert len(str(caught.value)) < 300

    def test_whole_numbers(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("a,b\n1e3,2.5\n")
        (row,) = read_csv(tmp_path / "t.csv", ("a", "b"))
        assert row.whole("a") == 1000
        with pytest.raises(ValueError, match=r"row 2: b: must be a whole number >= 1, got 2\.5"):
            row.whole("b")
        with pytest.raises(ValueError, match="row 2: a: must be at most 99, got 1e3"):
            row.whole("a", most=99)


class TestWhatIsNoFile:
    @pytest.mark.parametrize("read", [read_text, read_json, lambda path: list(read_csv(path))])
    def test_one_line(self, read: object, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        paths = [tmp_path, tmp_path / "pipe", tmp_path / "none", Path("/dev/zero"), Path("/proc/self/mem")]
        paths += [tmp_path / "a\0b", tmp_path / ("x" * 5000)]
        for path in paths:
            with pytest.raises(ValueError) as caught:
                read(path)  # type: ignore[operator]
            assert len(str(caught.value)) <= 500 and str(path)[:4] in str(caught.value)


def test_long_and_deep_values_are_shown_by_their_beginning() -> None:
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    for value in ("x" * 10**6, [0] * 10**6, {"a": deep}, deep, 10**5000, {k: k for k in range(10**5)}):
        assert len(shown(value)) <= 60
    assert shown({"b": 1, "a": [1, None]}) == "{'b': 1, 'a': [1, None]}"
