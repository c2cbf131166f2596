"""From readings to rows: keys, suites, what must be given and what must not be contradicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hvnas.arch import load_arch, save_arch
from hvnas.latency.remote.importing import (
    UNSUPPORTED,
    Given,
    import_files,
    list_formats,
    load_format,
    read_suite,
    register_format,
)
from hvnas.latency.remote.measurements import read_measurements, write_measurements

DATA = Path(__file__).parent / "data"
FACTS = {"device": "host", "os": "Linux", "runtime_version": "1.32", "threads": 1}
TFLITE = FACTS | {"precision": "float32", "batch": 1}
HEADER = "file,kind,key,resolution,depth\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(name: str, form: str, *, out: str = "m.csv", **given: Any):
    return import_files([DATA / name], load_format(form), given=Given(**given), out=out)[0].rows


def text_rows(**given: Any):
    return rows("quicknet_pi4.txt", "tflite-text", **{"facts": TFLITE, **given})


def test_every_format_has_its_fixture() -> None:
    assert [form.name for form in list_formats()] == [
        "coremltools",
        "csv",
        "ort-profile",
        "tflite-csv",
        "tflite-text",
        "xcode",
    ]
    assert not set(UNSUPPORTED) & {form.name for form in list_formats()}


def test_formats_by_name() -> None:
    with pytest.raises(
        ValueError, match=r"unknown format 'tflite'; .*There are: coremltools, csv.*modelbench \("
    ):
        load_format("tflite")
    with pytest.raises(ValueError, match=r"ModelBench is not supported: .* Supported: coremltools, csv"):
        load_format("ModelBench")
    with pytest.raises(ValueError, match="a format named 'csv' is registered already"):
        register_format("csv", writer="x")(lambda path: [])


def test_key_of_a_model() -> None:
    (row,) = text_rows(key="efficientvit_b1@r256")
    assert (row.kind, row.key, row.resolution) == ("model", "efficientvit_b1@r256", 256)
    assert (row.ms, row.threads, row.source) == (33.0718, 1, "quicknet_pi4.txt")
    assert row.protocol == "benchmark_model: mean of the timed runs after warm-up"


def test_prose_may_be_put_better() -> None:
    (row,) = text_rows(key="efficientvit_b0", facts=TFLITE | {"protocol": "cool", "source": "a page"})
    assert (row.protocol, row.source) == ("cool", "a page")


def test_key_of_a_file_is_relative_to_the_table(folder: Path) -> None:
    (folder / "nets").mkdir()
    (folder / "tables").mkdir()
    save_arch(load_arch("efficientvit_b0").with_(resolution=160), "nets/a.yaml")
    (row,) = text_rows(key="nets/a.yaml", out="tables/m.csv")
    assert (row.key, row.resolution) == ("../nets/a.yaml", 160)
    write_measurements("tables/m.csv", [row])
    (again,) = import_files(["tables/m.csv"], load_format("csv"), given=Given(), out="m2.csv")[0].rows
    assert again.key == "nets/a.yaml"
    assert read_measurements("tables/m.csv") == (row,)


def test_suite(folder: Path) -> None:
    (folder / "suite").mkdir()
    save_arch(load_arch("efficientvit_b0"), "suite/a.yaml")
    Path("suite/suite.csv").write_text(HEADER + "tiny,model,a.yaml,32,\nquicknet,block,mbconv-3,14,2\n")
    entries = read_suite("suite/suite.csv")
    assert [(e.kind, e.key, e.resolution) for e in entries.values()] == [
        ("model", "a.yaml", 32),
        ("block", "mbconv-3", 14),
    ]
    suite = Path("suite/suite.csv")
    (row,) = rows("tiny_2026-11-22_18-48-58_271.json", "ort-profile", suite=suite, facts=FACTS)
    assert (row.kind, row.key, row.resolution, row.precision) == ("model", "suite/a.yaml", 32, "float32")
    (row,) = text_rows(suite=suite)
    assert (row.kind, row.key, row.resolution) == ("block", "mbconv-3", 14)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("other,model,efficientvit_b0,224,\n", "unknown file of suite.csv 'quicknet'"),
        (
            "quicknet,model,efficientvit_b0,224,\nquicknet_pi4,model,efficientvit_b1,224,\n",
            "is it quicknet or quicknet_pi4 of suite.csv? Give --key for this file",
        ),
        ("quicknet,layer,x,224,\n", "suite.csv: row 2: kind: must be model or block or op, got 'layer'"),
        ("quicknet,block,,224,\n", "suite.csv: row 2: key: is empty"),
        ("quicknet,block,x,0,\n", "suite.csv: row 2: resolution: must be a whole number >= 1"),
        ("quicknet,block,x,8,\nquicknet,block,y,8,\n", "suite.csv: row 3: file: quicknet appears twice"),
        ("quicknet,model,nothing.yaml,224,\n", "quicknet_pi4.txt: key: nothing.yaml: no such file"),
    ],
)
def test_other_suites(text: str, said: str) -> None:
    Path("suite.csv").write_text(HEADER + text)
    with pytest.raises(ValueError) as caught:
        text_rows(suite=Path("suite.csv"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "which model is this? Give --key NAME, or --suite FILE"),
        ({"key": "efficientvit_b9"}, "key: unknown model 'efficientvit_b9'"),
        ({"key": "x", "kind": "block"}, "does not say resolution; give --resolution"),
        (
            {"key": "efficientvit_b0", "facts": {}},
            "does not say device, os, runtime version, precision, batch; "
            "give --device, --os, --runtime-version, --precision, --batch",
        ),
        ({"key": "efficientvit_b0", "facts": TFLITE | {"os": ""}}, "does not say os; give --os"),
        (
            {"key": "efficientvit_b0", "facts": TFLITE | {"threads": 4}},
            "threads: the file says 1, the command line",
        ),
        (
            {"key": "efficientvit_b0", "facts": TFLITE | {"compute_unit": "gpu"}},
            "compute_unit: the file says cpu, the command line says gpu; which is it?",
        ),
    ],
)
def test_what_must_be_given(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        text_rows(**given)
    assert str(caught.value).startswith(f"{DATA / 'quicknet_pi4.txt'}: ")
    assert said in str(caught.value)


def test_threads_are_asked_for_on_a_cpu_only() -> None:
    facts = {name: value for name, value in FACTS.items() if name != "threads"}
    with pytest.raises(ValueError, match="does not say threads; give --threads"):
        rows("tiny_2026-11-22_18-48-58_271.json", "ort-profile", key="efficientvit_b0", facts=facts)
    (row,) = rows("spike_segformer-you.mlperf", "xcode", key="efficientvit_b0")
    assert (row.threads, row.resolution, row.device) == (None, 513, "iPhone 16 Pro")


def test_rows_that_name_themselves_take_no_key() -> None:
    write_measurements("a.csv", text_rows(key="efficientvit_b0"))
    with pytest.raises(ValueError, match=r"a\.csv: the file says what each row measures; leave out --key"):
        import_files(["a.csv"], load_format("csv"), given=Given(key="efficientvit_b0"), out="b.csv")


def test_files_that_do_not_belong_together() -> None:
    write_measurements("a.csv", text_rows(key="efficientvit_b0"))
    other = TFLITE | {"precision": "int8"}
    write_measurements("b.csv", text_rows(key="efficientvit_b1", facts=other))
    with pytest.raises(ValueError, match=r"b\.csv: precision: mixed protocols: int8 here, float32 in a\.csv"):
        import_files(["a.csv", "b.csv"], load_format("csv"), given=Given(), out="c.csv")
