"""A suite of TFLite files: its instructions run as they stand, and what they write comes back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from hvnas.arch import load_arch
from hvnas.latency.remote.importing import Given, import_files, load_format
from hvnas.latency.remote.suite import Settings, Suite, SuiteEntry, export_suite, readme

PRINTED = """\
INFO: STARTING!
INFO: Num threads: [1]
INFO: Graph: [{graph}]
INFO: Loaded model {graph}
INFO: Running benchmark for at least 50 iterations and at least 1 seconds
INFO: count=50 first=3322 curr=3313 min=3268 max=3323 avg=3307.18 std=12 p5=3290 median=3308 p95=3320

INFO: Inference timings in us: Init: 3501, First inference: 4000, Warmup (avg): 3400, Inference (avg): 3307.18
"""
ADB = """\
#!/bin/sh
[ "$1" = push ] && exit 0
for word in "$@"; do case $word in --graph=*) graph=${word#--graph=} ;; esac; done
[ -z "$graph" ] || sed "s|{graph}|$graph|" "$PRINTED"
"""


def copied_block() -> str:
    """The commands that the suite's README tells its user to copy, up to the import."""
    text = readme("tflite", space="hybrid-mobile", depth=4)
    return text.partition("```sh\n")[2].partition("hvnas latency import")[0]


def test_the_copied_block_drives_a_phone_and_its_results_are_read(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vit_c_1gf.tflite").touch()
    (tmp_path / "suite.csv").write_text("file,kind,key,resolution,depth\nvit_c_1gf,model,vit_c_1gf,224,1\n")
    (tmp_path / "adb").write_text(ADB)
    (tmp_path / "adb").chmod(0o755)
    (tmp_path / "printed").write_text(PRINTED)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PRINTED": str(tmp_path / "printed")}
    subprocess.run(["bash", "-euc", copied_block()], cwd=tmp_path, env=environment, check=True)
    facts = {"device": "my phone", "os": "Android 15", "runtime_version": "2.17", "precision": "float32"}
    (source,) = import_files(
        [tmp_path / "results" / "vit_c_1gf.txt"],
        load_format("tflite-text"),
        given=Given(suite=tmp_path / "suite.csv", facts={**facts, "batch": 1}),
        out=tmp_path / "measurements.csv",
    )
    (row,) = source.rows
    assert (row.key, row.ms, row.statistic, row.n) == ("vit_c_1gf", 3.308, "median", 50)
    assert (row.runtime, row.compute_unit, row.threads) == ("tflite", "cpu", 1)


def test_models_are_written(tmp_path: Path) -> None:
    pytest.importorskip("litert_torch", reason="pip install 'hvnas[litert]' brings it")
    arch = load_arch("vit_c_1gf").shrunk().with_(resolution=32, name="small")
    settings = Settings(space="vit", space_hash="0", format="tflite", networks=1, blocks=0, depth=4, seed=0)
    entry = SuiteEntry(
        file="small", kind="model", key="networks/small.yaml", resolution=32, depth=1, source=arch
    )
    done = export_suite(Suite(settings, (entry,), ()), tmp_path / "suite")
    assert (done.written, done.kept) == (1, 0)
    names = {path.relative_to(tmp_path / "suite").as_posix() for path in (tmp_path / "suite").rglob("*.*")}
    assert {"models/small.tflite", "networks/small.yaml", "suite.csv", "README.md"} <= names
