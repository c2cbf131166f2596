"""TFLite's benchmark_model: its text, and the CSV of its op profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvnas.latency.remote.importing import runtimes

DATA = Path(__file__).parent / "data"
TEXT = (DATA / "quicknet_pi4.txt").read_text()
STARTED = (DATA / "ops_started.csv").read_text()
DELEGATED = (DATA / "ops_delegated.csv").read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.txt"


def test_text_without_a_median() -> None:
    (reading,) = runtimes.read_tflite_text(DATA / "quicknet_pi4.txt")
    assert (reading.ms, reading.statistic, reading.n, reading.spread) == (33.0718, "mean", 50, 0.129)
    assert reading.names == ("quicknet", "quicknet_pi4")
    assert reading.stated == {"runtime": "tflite", "threads": 1, "compute_unit": "cpu"}


def test_log_with_percentiles() -> None:
    (reading,) = runtimes.read_tflite_text(DATA / "logcat_percentiles.txt")
    assert (reading.ms, reading.statistic, reading.n, reading.spread) == (141.253, "median", 25, 13.583)
    assert reading.names == ("best_int8", "logcat_percentiles")
    assert reading.stated == {"runtime": "tflite", "threads": 4, "compute_unit": "cpu"}


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("Use gpu: [1]", "gpu"),
        ("Use NNAPI: [1]", "nnapi"),
        ("Use xnnpack: [1]", "cpu"),
        ("Use gpu: [0]", "cpu"),
        ("Explicitly applied GPU delegate, and the model graph will be completely executed.", "gpu"),
        ("Explicitly applied XNNPACK delegate, and so on", "cpu"),
    ],
)
def test_delegates(path: Path, line: str, unit: str) -> None:
    path.write_text(f"{line}\n{TEXT}")
    assert runtimes.read_tflite_text(path)[0].stated["compute_unit"] == unit


def test_the_default_number_of_threads_is_not_stated(path: Path) -> None:
    path.write_text(TEXT.replace("Num threads: [1]", "Num threads: [-1]"))
    assert "threads" not in runtimes.read_tflite_text(path)[0].stated


def test_the_warm_up_is_never_taken_for_the_runs(path: Path) -> None:
    path.write_text("\n".join(line for line in TEXT.splitlines() if "count=50" not in line))
    (reading,) = runtimes.read_tflite_text(path)
    assert (reading.ms, reading.n, reading.spread) == (33.0718, None, None)


def test_runs_that_are_all_the_same(path: Path) -> None:
    same = "count=50 curr=33072(all same)"
    text = TEXT.replace(next(line for line in TEXT.splitlines() if "count=50" in line), same)
    path.write_text(text.replace("Inference (avg): 33071.8", "Inference (avg): 33072"))
    assert (runtimes.read_tflite_text(path)[0].ms, runtimes.read_tflite_text(path)[0].n) == (33.072, 50)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT[:600], "no line 'Inference timings in us'; did the benchmark end?"),
        ("", "no line 'Inference timings in us'"),
        (TEXT + TEXT, "2 runs of the benchmark; save each in a file of its own"),
        (TEXT.replace("(avg): 33071.8", "(avg): nan"), "Inference (avg): must be > 0, got nan"),
        (TEXT.replace("(avg): 33071.8", "(avg): -1"), "Inference (avg): must be > 0, got -1"),
        (TEXT.replace("(avg): 33071.8", "(avg): 0"), "Inference (avg): must be > 0, got 0"),
        ("ERROR: Failed to apply GPU delegate.\n" + TEXT, "the GPU delegate was not applied"),
        (TEXT.replace("Loaded", "#threads used for CPU inference: [4]\nLoaded"), "says 1 and 4 threads"),
    ],
)
def test_other_texts(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        runtimes.read_tflite_text(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_profile_of_the_older_layout() -> None:
    (reading,) = runtimes.read_tflite_csv(DATA / "ops_started.csv")
    assert (reading.ms, reading.statistic, reading.n, reading.spread) == (0.207216, "mean", 4777, 0.009)
    ops = runtimes.tflite_ops(DATA / "ops_started.csv")
    assert len(ops) == 12
    assert (ops[0].name, ops[0].kind, ops[0].us) == ("[sequential_11/conv2d_33/Conv2D]:0", "CONV_2D", 93.0388)
    # The file prints the sum as shares: the first op is 44.8994 % of it.
    assert sum(op.us for op in ops) == pytest.approx(93.0388 / 0.448994, rel=1e-5)


def test_profile_with_commas_and_many_calls() -> None:
    (reading,) = runtimes.read_tflite_csv(DATA / "ops_delegated.csv")
    assert (reading.ms, reading.names) == (1.186, ("ops_delegated",))
    ops = runtimes.tflite_ops(DATA / "ops_delegated.csv")
    assert [op.kind for op in ops] == [
        "QUANTIZE",
        "Convolution (NHWC, QC8) IGEMM",
        "Convolution (NHWC, QC8) DWConv",
        "Add (ND, QS8)",
    ]
    assert ops[2].us == pytest.approx(13 * 44)


def test_older_profiles_list_the_delegate_and_what_is_in_it(path: Path) -> None:
    """Then the run is the delegate's node and what is outside, as `Timings` says."""
    node = "DELEGATE, 1, 0.983, 1%, 1%, 0, 1, [out]:72\n"
    path.write_text(DELEGATED.replace("QUANTIZE, 0.199", node + "QUANTIZE, 0.199"))
    assert runtimes.read_tflite_csv(path)[0].ms == 1.186


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT, "no part 'Operator-wise Profiling Info for Regular Benchmark Runs'"),
        ("", "no part 'Operator-wise"),
        (STARTED[: STARTED.index("Operator-wise")], "no part 'Operator-wise"),
        (STARTED[: STARTED.index("AVERAGE_POOL")], "no line 'Timings (microseconds)' after the operators"),
        (STARTED.replace("node type, start, first, avg_ms,", "[node type] [start]"), "no table of operators"),
        (
            STARTED.replace("CONV_2D, 0, 0.11, 0.0930388,", "CONV_2D, 0, 0.11,"),
            "not a row of operators: 'CONV_2D",
        ),
        (STARTED.replace("times called, name", "calls, name"), "no table of operators"),
        (STARTED.replace("0.0930388", "-0.0930388"), "avg_ms and times called must be numbers >= 0"),
        (STARTED.replace("0.0930388", "nan"), "avg_ms and times called must be numbers >= 0"),
        (
            STARTED.replace("0.0930388", "93.0388"),
            "the operators add up to 93.153 ms, but a run took 0.207 ms",
        ),
        (
            DELEGATED.replace("0, 13, Del", "0, 1, Del", 1),
            "the operators add up to 0.658 ms, but a run took 1.186",
        ),
        (DELEGATED.replace("avg=1186 std=21", "").replace("curr=1180", "curr=0"), "nothing was measured"),
        (DELEGATED.replace("avg=1186", "avg=1.1.8"), "Timings: avg: must be a number, got '1.1.8'"),
    ],
)
def test_other_profiles(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        runtimes.read_tflite_csv(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
