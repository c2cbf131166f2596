"""Damaged files of every kind that is read here: one short line that names the file, and soon."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hvnas.latency import load_device
from hvnas.latency.calibration.calibrate import read_differences
from hvnas.latency.remote.importing import coreml, read_suite, runtimes
from hvnas.latency.remote.measurements import FIELDS, read_measurements
from hvnas.latency.tables.block_keys import load_block_key
from hvnas.latency.tables.op_model import Context, Drawn, write_measured
from hvnas.latency.tables.op_regressor import Choice
from hvnas.latency.tables.op_rows import header, read_op_rows, read_whole_rows

TABLES = Path(__file__).resolve().parents[2] / "latency_tables"
DATA = Path(__file__).parent / "importing" / "data"
TRIES = 40
OPS = f"""{header()}conv,64x28x28,128x14x14,3x3,2x2,1,1,,0,relu,0.25,0.01,9,used
linear,196x384,196x1536,1x1,1x1,1,1,,0,gelu,0.5,0.02,9,used
"""
SUITE = "file,kind,key,resolution,depth\na,model,efficientformer_l1,224,1\nb,block,xyz,56,3\n"
WHOLE = "kind,key,ms,spread,macs\nblock,abc,-0.1,0.01,1000\nnetwork,def,1.5,0.02,2000\n"
MEASURED = f"""{",".join(FIELDS)}
model,efficientformer_l1,224,1.4,0.1,50,median,phone,iOS 16,coreml,6,all,float16,,1,report,me
block,abc,56,0.5,0.1,50,median,phone,iOS 16,coreml,6,all,float16,,1,report,me
"""
KEY = """schema: hvnas.block/1
name: x
block: {type: poolformer, width: 48}
given: {map: [48, 56, 56]}
uses: 3
"""
WORDS = ["nan", "inf", "1e308", "1e999", "-1", "0", "9" * 400, "9" * 5000, "true", "[]", "{}", "&a [*a]"]
WORDS += ["!!python/object:os.system x", "*a", "'", '"', "x" * 200_000, "\0", ",", ";", "\ufeff", "\x1b[2J"]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: its name, a valid text, what else lies beside it, and what reads it."""

    file: str
    text: str
    read: Callable[[Path], Any]
    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)


def both(read: Callable[[Path], Any], ops_of: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda path: (read(path), ops_of(path))


def first_lines(path: Path, n: int) -> str:
    return "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:n])


def measured_yaml(folder: Path) -> str:
    path = folder / "own.yaml"
    info = dataclasses.replace(load_device("iphone12").info, method="measured", threads=1)
    write_measured(
        path,
        "own",
        info,
        Drawn(space="hybrid", space_hash="0", seed=0, ops=2, blocks=0, networks=0),
        noise_bound=0.25,
        complete=True,
        context=Context(factors={"linear": 1.0}),
        regressors={"linear": Choice(2.0, 0.1, 3.0)},
    )
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    device, rows = ((TABLES / f"iphone12.{suffix}").read_text(encoding="utf-8") for suffix in ("yaml", "csv"))
    own = measured_yaml(tmp_path_factory.mktemp("own"))
    profile = (DATA / "tiny_2026-11-22_18-48-58_271.json").read_text(encoding="utf-8")
    report = (DATA / "spike_segformer-you.mlperf" / "report.json").read_text(encoding="utf-8")
    return {
        "calibrated device": Kind("iphone12.yaml", device, load_device, {"iphone12.csv": rows}),
        "its rows": Kind(
            "iphone12.csv",
            "".join(rows.splitlines(keepends=True)[:9]),
            lambda path: load_device(path.with_suffix(".yaml")),
            {"iphone12.yaml": device},
        ),
        "measured device": Kind("own.yaml", own, load_device, {"own.csv": OPS}),
        "its ops": Kind(
            "own.csv", OPS, lambda path: load_device(path.with_suffix(".yaml")), {"own.yaml": own}
        ),
        "ops that grow": Kind("ops.csv", OPS, lambda path: read_op_rows(path, growing=True)),
        "blocks and networks": Kind("own.whole.csv", WHOLE, read_whole_rows),
        "differences": Kind("d.csv", first_lines(TABLES / "iphone12_differences.csv", 4), read_differences),
        "measurements": Kind("m.csv", MEASURED, read_measurements),
        "suite": Kind("suite.csv", SUITE, read_suite),
        "block": Kind("key.yaml", KEY, load_block_key),
        "coremltools": Kind("c.json", (DATA / "coremltools.json").read_text(), coreml.read_coremltools),
        "xcode": Kind("report.json", report, coreml.read_xcode),
        "ort-profile": Kind("p.json", profile, both(runtimes.read_ort_profile, runtimes.ort_ops)),
        "tflite-text": Kind("t.txt", (DATA / "quicknet_pi4.txt").read_text(), runtimes.read_tflite_text),
        "tflite-csv": Kind(
            "t.csv",
            (DATA / "ops_delegated.csv").read_text(),
            both(runtimes.read_tflite_csv, runtimes.tflite_ops),
        ),
    }


NAMES = [
    "calibrated device",
    "its rows",
    "measured device",
    "its ops",
    "ops that grow",
    "blocks and networks",
]
NAMES += ["differences", "measurements", "suite", "block"]
TOOLS = ["coremltools", "xcode", "ort-profile", "tflite-text", "tflite-csv"]


def put(kind: Kind, folder: Path, data: bytes | str) -> Path:
    for name, text in kind.beside.items():
        (folder / name).write_text(text, encoding="utf-8")
    path = folder / kind.file
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def check(kind: Kind, path: Path) -> str:
    """Read a file that may be damaged; what was said of it, empty where it loads."""
    start, said = time.process_time(), ""
    try:
        kind.read(path)
    except ValueError as error:
        said = str(error)
        assert "\n" not in said and len(said) <= 500 and str(path.parent) in said
    assert time.process_time() - start < 2
    return said


def damaged(text: str, rng: random.Random) -> bytes | str:
    lines, how = text.splitlines(keepends=True), rng.randrange(8)
    at = rng.randrange(len(lines))
    if how == 0:
        data = bytearray(text.encode())
        for _ in range(rng.choice((1, 3, 20))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data)
    if how == 1:
        return text[: rng.randrange(len(text))]
    if how == 2:
        return "".join(lines[:at] + lines[at + 1 :])
    if how == 3:
        return "".join([*lines[:at], lines[at] * rng.choice((2, 100, 2_000)), *lines[at:]])
    if how == 4:
        return "".join([*lines[:at], lines[at].strip("\n") * 500, *lines[at:]])
    word = rng.choice(list(re.finditer(r"[\w.+-]+", text)))
    return text[: word.start()] + rng.choice(WORDS) + text[word.end() :]


@pytest.mark.parametrize("name", [*NAMES, *TOOLS])
def test_mutations(kinds: dict[str, Kind], name: str, tmp_path: Path) -> None:
    kind, rng = kinds[name], random.Random(name)
    assert check(kind, put(kind, tmp_path, kind.text)) == ""
    refused = sum(bool(check(kind, put(kind, tmp_path, damaged(kind.text, rng)))) for _ in range(TRIES))
    assert refused > TRIES // 8


@pytest.mark.parametrize("name", [*NAMES, *TOOLS])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", ""),
        (b"\xff\xfea\0", "UTF-16"),
        (b"\xc3\x28", "not a text file"),
        (b"\0" * 99, ""),
        (b"a" * 10**6, ""),
    ],
)
def test_other_files(kinds: dict[str, Kind], name: str, tmp_path: Path, data: bytes, says: str) -> None:
    if name == "ops that grow" and b"\xff" not in data:
        pytest.skip("half a line is what it may hold")
    assert says in check(kinds[name], path := put(kinds[name], tmp_path, data))
    assert path.is_file()


@pytest.mark.parametrize("name", [*NAMES, *TOOLS])
def test_a_mark_of_byte_order_is_passed_over(kinds: dict[str, Kind], name: str, tmp_path: Path) -> None:
    kind = kinds[name]
    assert check(kind, put(kind, tmp_path, b"\xef\xbb\xbf" + kind.text.encode())) == ""


@pytest.mark.parametrize("name", ["its rows", "its ops", "measurements", "suite"])
def test_a_table_that_a_spreadsheet_saved(kinds: dict[str, Kind], name: str, tmp_path: Path) -> None:
    kind = kinds[name]
    if any(mark in kind.text for mark in ('"', ";")):
        text = kind.text
    else:
        text = re.sub(r"(\d)\.(\d)", r"\1,\2", kind.text.replace(",", ";"))
    assert check(kind, put(kind, tmp_path, text.replace("\n", "\r\n") + "\r\n" * 3)) == ""


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("calibrated device", "batch: 1", "batch: true", "batch: must be a whole number, got True"),
        ("calibrated device", "batch: 1", "batch: 10000000", "batch must be at most 1000000, got 10000000"),
        ("calibrated device", "df: 8.0", "df: 0.001", "a Student t of latencies has df >= 0.5"),
        (
            "calibrated device",
            "rows: iphone12.csv",
            "rows: ..",
            "rows: must be the name of a file",
        ),
        ("calibrated device", "fixed_ms: 0.", "fixed_ms: 1.0e+308 # ", "fixed_ms must be at most 1e+09"),
        ("measured device", "linear: 1.0", "linear: 1.0e+300", "factors.linear must be from 0 to 1e+06"),
        (
            "measured device",
            "noise: 0.1",
            "noise: 0.0",
            "regressors.linear: noise must be from 1e-06",
        ),
        (
            "its ops",
            "64x28x28",
            f"64x28x{'9' * 5000}",
            "row 2: shape_in: must be at most 100000000, got '64x28",
        ),
        ("its ops", "0.25", "1e308", "row 2: ms: must be at most 1e+09, got 1e308"),
        ("its ops", ",9,used", ",1e308,used", "row 2: n: must be at most 1e+15, got 1e308"),
        ("blocks and networks", "1.5", "1e300", "row 3: ms: must be at most 1e+09"),
        ("blocks and networks", "2000", "1e300", "row 3: macs: must be at most 1e+15, got 1e300"),
        ("measurements", "1.4", "1e-320", "row 2: ms: must be from 1e-06 to 1e+09"),
        ("measurements", ",224,", ",1e9,", "row 2: resolution: must be at most 65536, got 1e9"),
        ("measurements", "report", "x" * 40_000, "row 2: protocol: a cell of more than 32,767 characters"),
        ("measurements", "report", "x" * 200_000, "row 2: protocol: a cell of more than 32,767 characters"),
        ("measurements", "report", '"report', "row 2: not valid CSV: a quote is not closed"),
        ("measurements", "report", "re\0port", "row 2: holds a NUL byte"),
        ("suite", ",224,", ",-1,", "row 2: resolution: must be a whole number >= 1, got -1"),
        ("block", "[48, 56, 56]", "[48, 56, 1000000]", "given.map: must be 3 integers from 1 to 65536"),
        ("coremltools", '"samples": [', '"samples": [1e400,', "'1e400' is not a finite number (line "),
        ("coremltools", '"unit"', '"unit": "ms", "unit"', "the key 'unit' appears twice (line "),
        (
            "xcode",
            '"jsonVersion": 1',
            '"jsonVersion": true',
            "jsonVersion: must be 1, the one known, got True",
        ),
        ("ort-profile", '"dur" :', f'"dur" : {"[" * 999}', "nested too deeply (line 2)"),
        ("tflite-text", "count=50", "count=1e999", ""),
        ("tflite-csv", "count=", "count=1e999 x=", "Timings: count: must be a finite number, got 1e999"),
        ("tflite-csv", "QUANTIZE", "x" * 40_000, "characters; the longest line has 32,767"),
    ],
)
def test_fields(kinds: dict[str, Kind], name: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    kind = kinds[name]
    assert old in kind.text
    assert says in check(kind, put(kind, tmp_path, kind.text.replace(old, new, 1)))


@pytest.mark.parametrize(
    "unit", ["Inference timings in us: ", "count=1 first=", "Graph: [", "a", "Use a: [", "a="]
)
def test_long_logs_take_linear_time(kinds: dict[str, Kind], unit: str, tmp_path: Path) -> None:
    kind = kinds["tflite-text"]
    line = unit * (32_000 // len(unit))
    assert check(kind, put(kind, tmp_path, kind.text + f"{line}\n" * 50)) == ""


def test_an_op_is_known_by_any_index(kinds: dict[str, Kind], tmp_path: Path) -> None:
    events = json.loads(kinds["ort-profile"].text)
    for event in events:
        if "node_index" in event.get("args", {}):
            event["args"]["node_index"] = {"of": [event["args"]["node_index"]]}
    path = put(kinds["ort-profile"], tmp_path, json.dumps(events))
    assert len(runtimes.ort_ops(path)) == 8


def test_one_row_a_hundred_thousand_times(kinds: dict[str, Kind], tmp_path: Path) -> None:
    kind = kinds["its ops"]
    path = put(kind, tmp_path, OPS + OPS.splitlines()[1] + "\n" * 1 + f"{OPS.splitlines()[1]}\n" * 90_000)
    assert "rows 2 and 4: the same op twice" in check(kind, path)
