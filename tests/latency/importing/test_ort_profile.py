"""ONNX Runtime's profile: a real one, and what is left of it when parts are missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from hvnas.latency.remote.importing.runtimes import ort_ops as ops_of
from hvnas.latency.remote.importing.runtimes import read_ort_profile as read

PROFILE = Path(__file__).parent / "data" / "tiny_2026-11-22_18-48-58_271.json"
Change = Callable[[list[dict[str, Any]]], Any]


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = json.loads(PROFILE.read_text())
    return data


def changed(tmp_path: Path, events: list[dict[str, Any]], change: Change) -> Path:
    path = tmp_path / "changed.json"
    copy = json.loads(json.dumps(events))
    path.write_text(json.dumps(change(copy) or copy))
    return path


def test_the_median_of_the_runs_but_the_first(events) -> None:
    (reading,) = read(PROFILE)
    runs = [event["dur"] for event in events if event["name"] == "model_run"]
    assert len(runs) == 12
    assert reading.ms == median(runs[1:]) / 1000 == 0.045
    assert runs[0] == 180
    assert (reading.n, reading.statistic) == (11, "median")
    assert reading.names == ("tiny", "tiny_2026-11-22_18-48-58_271")


def test_what_it_states() -> None:
    assert read(PROFILE)[0].stated == {
        "runtime": "onnxruntime",
        "compute_unit": "cpu",
        "precision": "float32",
        "batch": 1,
        "resolution": 32,
    }


def test_ops_in_order(events) -> None:
    ops = ops_of(PROFILE)
    assert [op.kind for op in ops] == [
        "Conv",
        "ReorderOutput",
        "Conv",
        "QuickGelu",
        "GlobalAveragePool",
        "ReorderOutput",
        "Flatten",
        "Gemm",
    ]
    assert ops[0].name == "b_nchwc"
    assert ops[0].shapes == ((1, 3, 32, 32), (16, 3, 3, 3), (16,))
    first = [event["dur"] for event in events if event["name"] == "b_nchwc_kernel_time"]
    assert ops[0].us == median(first[1:])
    # The ops are inside the runs, around which the session has work of its own.
    assert 0 < sum(op.us for op in ops) < 45


def test_a_tenth_of_many_runs_is_warm_up(tmp_path, events) -> None:
    def many(copy):
        runs = [event for event in copy if event["name"] == "model_run"]
        return copy + runs[1:] * 3

    (reading,) = read(changed(tmp_path, events, many))
    assert reading.n == 12 + 33 - 4


def test_provider_and_precision_only_where_there_is_no_doubt(tmp_path, events) -> None:
    def gpu(copy):
        for event in copy:
            if event["cat"] == "Node" and event["args"]["op_name"] == "Conv":
                event["args"]["provider"] = "CUDAExecutionProvider"
                event["args"]["input_type_shape"] = [{"float16": [1, 8, 4, 4]}, {"int64": [1]}]

    stated = read(changed(tmp_path, events, gpu))[0].stated
    assert stated == {"runtime": "onnxruntime", "compute_unit": "cpu+cuda"}


def set_first(name: str, value: Any) -> Change:
    def change(copy):
        copy[-1][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda copy: copy[:40], "3 model_run events; run the session 6 times or more"),
        (lambda copy: {"traceEvents": copy}, "not a profile of ONNX Runtime, which is a list of events"),
        (lambda copy: [1, 2], "not a profile of ONNX Runtime"),
        (lambda copy: copy[:0] or [{}], "0 model_run events"),
        (set_first("dur", -3), "model_run: dur: must be microseconds >= 0, got -3"),
        (set_first("dur", "45"), "model_run: dur: must be microseconds >= 0, got '45'"),
        (set_first("dur", float("nan")), "'NaN' is not a finite number (line 1)"),
        (set_first("dur", 0), "model_run: dur: must be > 0, got 0"),
        (set_first("ts", None), "model_run: ts: must be microseconds >= 0, got None"),
    ],
)
def test_other_files(tmp_path, events, change: Change, said: str) -> None:
    path = changed(tmp_path, events, change)
    with pytest.raises(ValueError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "[", '[{"cat" : "Session"', "[" * 100_000, "\x00\x01"])
def test_broken_json(tmp_path, text: str) -> None:
    path = tmp_path / "half.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"half\.json: not valid JSON: .* \(line 1\)"):
        read(path)


def test_the_installed_onnxruntime_still_writes_it(tmp_path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    import numpy as np

    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = make.make_node("Relu", ["x"], ["y"], name="act")
    shape = [1, 3, 8, 8]
    infos = [[make.make_tensor_value_info(name, kind, shape)] for name in "xy"]
    model = make.make_model(make.make_graph([node], "g", *infos), opset_imports=[make.make_opsetid("", 17)])
    model.ir_version = 9
    options = runtime.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads = True, 1
    options.profile_file_prefix = str(tmp_path / "net.s0")
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for _ in range(8):
        session.run(None, {"x": np.ones(shape, np.float32)})
    path = Path(session.end_profiling())
    (reading,) = read(path)
    assert (reading.n, reading.names[0]) == (7, "net.s0")
    assert reading.stated["resolution"] == 8
    assert [(op.name, op.kind, op.shapes) for op in ops_of(path)] == [("act", "Relu", ((1, 3, 8, 8),))]
