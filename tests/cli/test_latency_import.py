"""``hvnas latency import``: a table from the tools' files, or one line that says what is wrong."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from hvnas.latency.remote.measurements import read_measurements

DATA = Path(__file__).parents[1] / "latency" / "importing" / "data"
PROFILE = DATA / "tiny_2026-11-22_18-48-58_271.json"
FACTS = ("--device", "host", "--os", "Linux", "--runtime-version", "1.32", "--threads", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(
    hvnas, *files: object, form: str = "ort-profile", out: str = "m.csv", more: tuple[object, ...] = FACTS
):
    return hvnas("latency", "import", *files, "--format", form, "--out", out, *more)


def refused(hvnas, *files: object, **options) -> str:
    """The one line that the import ends in; nothing is written."""
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    result = run(hvnas, *files, **options)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("hvnas: error: ")
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    return line


def test_a_table(hvnas) -> None:
    result = run(hvnas, PROFILE, more=(*FACTS, "--key", "efficientvit_b0"))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["file", "kind", "key", "input", "runs", "median", "ms", "spread", "ms"]
    assert lines[1].split() == [PROFILE.name, "model", "efficientvit_b0", "32", "11", "0.045", "0.001"]
    assert lines[3] == "host (Linux), onnxruntime 1.32, cpu, float32, 1 thread, batch 1"
    assert lines[4] == "m.csv: 1 row from 1 file"
    (row,) = read_measurements("m.csv")
    assert (row.ms, row.n, row.source) == (0.045, 11, PROFILE.name)


def test_json(hvnas) -> None:
    more = ("--key", "efficientvit_b0", "--source", "own", "--json")
    result = run(hvnas, DATA / "spike_segformer-you.mlperf", form="xcode", more=more)
    data = json.loads(result.stdout)
    assert data["out"] == "m.csv"
    ((row,),) = [file["rows"] for file in data["files"]]
    assert (row["ms"], row["threads"], row["source"]) == (12.690485, None, "own")
    assert read_measurements("m.csv")[0].ms == row["ms"]


def test_several_files_by_a_suite(hvnas, folder: Path) -> None:
    Path("suite.csv").write_text(
        "file,kind,key,resolution,depth\nnet_a,model,efficientvit_b0,32,\nnet_b,model,efficientvit_b1,32,\n"
    )
    for name in ("net_a", "net_b"):
        Path(f"{name}_2026-11-22_18-48-58_271.json").write_bytes(PROFILE.read_bytes())
    result = run(hvnas, *sorted(folder.glob("net*")), more=(*FACTS, "--suite", "suite.csv"))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "m.csv: 2 rows from 2 files"
    assert [row.key for row in read_measurements("m.csv")] == ["efficientvit_b0", "efficientvit_b1"]


def test_a_table_is_replaced_only_by_force(hvnas) -> None:
    more = (*FACTS, "--key", "efficientvit_b0")
    assert run(hvnas, PROFILE, more=more).exit_code == 0
    assert "m.csv: exists; give --force to replace it" in refused(hvnas, PROFILE, more=more)
    assert run(hvnas, PROFILE, more=(*more, "--force")).exit_code == 0


@pytest.mark.parametrize(
    ("form", "more", "said"),
    [
        ("ort-profile", FACTS, "which model is this? Give --key NAME, or --suite FILE"),
        ("ort-profile", ("--key", "efficientvit_b0"), "give --device, --os, --runtime-version, --threads"),
        ("ort", FACTS, "unknown format 'ort'; did you mean 'ort-profile'?"),
        (
            "modelbench",
            FACTS,
            "modelbench is not supported: Apple's ModelBench app shows times on the screen",
        ),
        ("tflite-text", FACTS, "no line 'Inference timings in us'; did the benchmark end?"),
        ("xcode", FACTS, "deviceResults: missing; this is not a performance report, check --format"),
        ("csv", FACTS, "row 1: "),
        ("ort-profile", (*FACTS, "--key", "x", "--kind", "layer"), "kind: must be model or block or op"),
        (
            "ort-profile",
            (*FACTS, "--key", "efficientvit_b0", "--precision", "float16"),
            "precision: the file says float32, the command line says float16",
        ),
    ],
)
def test_one_line(hvnas, form: str, more: tuple[object, ...], said: str) -> None:
    assert said in refused(hvnas, PROFILE, form=form, more=more)


def test_no_folder_and_no_file(hvnas) -> None:
    assert "there is no folder none" in refused(hvnas, PROFILE, out="none/m.csv")
    assert "gone.json: no such file" in refused(hvnas, "gone.json", more=(*FACTS, "--key", "efficientvit_b0"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_more(hvnas, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    more = (*FACTS, "--key", "efficientvit_b0", "--force")
    assert run(hvnas, PROFILE, more=more).exit_code == 0

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    assert f"m.csv: cannot be written: {os.strerror(code).lower()}" in refused(hvnas, PROFILE, more=more)


def test_help(hvnas) -> None:
    result = hvnas("latency", "import", "--help")
    assert result.exit_code == 0
    from hvnas.latency.remote.importing import list_formats

    # Lines break after hyphens.
    shown = "".join(result.stdout.split())
    for form in list_formats():
        assert form.name in shown
    assert "import" in hvnas("latency").stdout
