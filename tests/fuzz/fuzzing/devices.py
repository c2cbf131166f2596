"""Files of devices and measurements, and what benchmarking tools write."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import hvnas.latency.measure.plan as planning
from fuzzing.reader import ROOT, Reader, add, command, copied, kept
from hvnas.arch import load_arch
from hvnas.latency import load_device
from hvnas.latency.calibration.calibrate import read_differences
from hvnas.latency.measure.plan import make_plan
from hvnas.latency.measure.table import build_table
from hvnas.latency.remote.importing import load_format, read_suite, runtimes
from hvnas.latency.remote.measurements import ModelMeasurement, read_measurements, write_measurements
from hvnas.latency.rows import read_rows
from hvnas.latency.tables.op_rows import read_op_rows
from hvnas.space import load_space
from hvnas.testing.latency import FormulaBackend

TABLES = ROOT / "latency_tables"
DATA = ROOT / "tests/latency/importing/data"
NETWORK = load_arch("efficientformer_l1").lower()
ROW = ModelMeasurement(
    kind="model",
    key="efficientformer_l1",
    resolution=224,
    ms=1.0,
    spread=0.02,
    n=50,
    statistic="median",
    device="a phone",
    os="iOS 16",
    runtime="coreml",
    runtime_version="1.32",
    compute_unit="all",
    precision="float16",
    threads=None,
    batch=1,
    protocol='interleaved, "warm"',
    source="own",
)
MEASURED = (
    "efficientformer_l1",
    "efficientformer_l3",
    "efficientformerv2_s0",
    "efficientformerv2_s1",
    "poolformer_s12",
    "efficientformerv2_s2",
    "efficientformerv2_l",
    "poolformer_s24",
)


def _read_device(path: Path) -> None:
    device = load_device(path.with_suffix(".yaml"))
    found = device.latency(NETWORK)
    assert all(map(math.isfinite, (found.ms, found.low, found.high))), found
    assert found.ms > 0 and device.default_margin(2.0) >= 0


def _calibrated(folder: Path) -> list[tuple[Path, str]]:
    for name in ("iphone12.yaml", "iphone12.csv", "iphone12_differences.csv"):
        shutil.copyfile(TABLES / name, folder / name)
    return [(folder / "iphone12.yaml", "yaml"), (folder / "iphone12.csv", "csv")]


def _family(folder: Path) -> list[tuple[Path, str]]:
    for name in ("snapdragon.yaml", "snapdragon.csv"):
        shutil.copyfile(TABLES / "families" / name, folder / name)
    return [(folder / "snapdragon.yaml", "yaml"), (folder / "snapdragon.csv", "csv")]


def _measured(folder: Path) -> list[tuple[Path, str]]:
    kept(folder, "table", lambda: _build(folder / "host.yaml"))
    return [(folder / "host.yaml", "yaml"), (folder / "host.csv", "csv")]


def _build(path: Path) -> None:
    planning.LOOKED_AT = 40
    plan = make_plan(load_space("efficientformer"), ops=200, blocks=6, networks=12, fuses_attention=True)
    build_table(plan, FormulaBackend(factors={"conv_pointwise": 0.8}), path)


def _measurements(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "measured.csv"
    device = load_device("iphone12")
    rows = [
        replace(ROW, key=name, resolution=arch.resolution, ms=round(1.5 * device.latency(arch.lower()).ms, 3))
        for name in MEASURED
        for arch in [load_arch(name)]
    ]
    write_measurements(path, rows)
    return [(path, "csv")]


def _suite(folder: Path) -> list[tuple[Path, str]]:
    path = folder / "manifest.csv"
    lines = ["file,kind,key,resolution,depth"]
    lines += [f"{name},model,{name},224,1" for name in MEASURED]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [(path, "csv")]


def _imported(form: str, *options: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        load_format(form).read(path)
        return command(
            *("latency", "import", path, "--format", form, "--out", path.parent / "out.csv", "--force"),
            *(*options, "--json"),
        )

    return read


FACTS = (
    "--key efficientvit_b0 --device a --os b --runtime-version 1 --precision float32 --batch 1"
    " --resolution 224"
).split()
XCODE = DATA / "spike_segformer-you.mlperf/report.json"


def _xcode(path: Path) -> object:
    return load_format("xcode").read(path)


add(Reader(name="device", make=_calibrated, read=_read_device))
add(
    Reader(
        name="device-predict",
        make=_calibrated,
        read=lambda path: command(
            *("latency", "predict", "--arch", "coatnet_0", "--device", path.with_suffix(".yaml"), "--json")
        ),
        share=0.15,
    )
)
add(Reader(name="device-rows", make=copied(TABLES / "iphone12.csv", "csv"), read=read_rows, share=0.5))
add(
    Reader(
        name="device-differences",
        make=copied(TABLES / "iphone12_differences.csv", "csv"),
        read=read_differences,
        share=0.5,
    )
)
add(Reader(name="table", make=_measured, read=_read_device))
add(
    Reader(
        name="table-rows",
        make=lambda folder: [(path, kind) for path, kind in _measured(folder) if kind == "csv"],
        read=lambda path: (read_op_rows(path), read_op_rows(path, growing=True)),
        share=0.5,
    )
)
add(
    Reader(
        name="family",
        make=_family,
        read=lambda path: command(
            *("latency", "calibrate", "--family", path.with_suffix(".yaml"), "--json"),
        ),
        share=0.3,
        of_folder=True,
    )
)
add(
    Reader(
        name="family-calibrate",
        make=_measurements,
        read=lambda path: command(
            *("latency", "calibrate", "--family", "snapdragon", "--measurements", path, "--force", "--json"),
            *("--force-protocol", "--unit", "ms", "--out", path.parent / "own.yaml"),
        ),
        share=0.1,
    )
)
add(Reader(name="measurements", make=_measurements, read=read_measurements))
add(
    Reader(
        name="calibrate",
        make=_measurements,
        read=lambda path: command(
            *("latency", "calibrate", "--device", "iphone12", "--measurements", path, "--force", "--json"),
            *("--force-protocol", "--out", path.parent / "own.yaml"),
        ),
        share=0.1,
    )
)
add(
    Reader(
        name="validate",
        make=_measurements,
        read=lambda path: command(
            *("latency", "validate", "--device", "iphone12", "--measurements", path, "--no-store", "--json"),
        ),
        share=0.1,
    )
)
add(Reader(name="suite", make=_suite, read=read_suite))
add(Reader(name="import-csv", make=_measurements, read=_imported("csv")))
add(
    Reader(
        name="import-coremltools",
        make=copied(DATA / "coremltools.json", "json"),
        read=load_format("coremltools").read,
    )
)
add(
    Reader(
        name="import-ort",
        make=copied(DATA / "tiny_2026-11-22_18-48-58_271.json", "json"),
        read=lambda path: (load_format("ort-profile").read(path), runtimes.ort_ops(path)),
    )
)
add(
    Reader(
        name="import-tflite-text",
        make=lambda folder: [
            *copied(DATA / "quicknet_pi4.txt", "text")(folder),
            *copied(DATA / "logcat_percentiles.txt", "text")(folder),
        ],
        read=_imported("tflite-text", *FACTS),
    )
)
add(
    Reader(
        name="import-tflite-csv",
        make=lambda folder: [
            *copied(DATA / "ops_started.csv", "text")(folder),
            *copied(DATA / "ops_delegated.csv", "text")(folder),
        ],
        read=lambda path: (load_format("tflite-csv").read(path), runtimes.tflite_ops(path)),
    )
)
add(Reader(name="import-xcode", make=copied(XCODE, "json"), read=_xcode))
