"""What an importer reads out of one file of a tool, and which importers there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from hvnas._files import read_text
from hvnas._names import shown
from hvnas._registry import Late, Registry
from hvnas.latency.remote.measurements import Statistic
from hvnas.latency.rows import LARGEST_SIDE

LONGEST_LINE = 32_767
# Microseconds of three years: nothing that is longer was measured.
LONGEST = 1e14
# Makes the median absolute deviation of a normal distribution its standard deviation: 1 / Phi^-1(3/4).
MAD_TO_SD = 1.4826
_PAIR = re.compile(r"(?<!\w)(\w++)=([-+.\w]++)")

Fact = str | int | None

# Tools that people ask for, and why their output is not read.
UNSUPPORTED = {
    "modelbench": "Apple's ModelBench app shows times on the screen; copy them into a table of format csv",
    "coreml-performance": "it prints to Xcode's console; copy its times into a table of format csv",
    "mlcomputeplan": "Core ML's MLComputePlan tells relative costs of ops, not times",
    "onnxruntime-perf-test": "its text is not read; import the profile of its option -p as ort-profile",
    "mlperf-mobile": "its results are of the app's own models",
    "trtexec": "its output is not read; copy its times into a table of format csv",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One time in a tool's file: milliseconds, and what the file itself states of how they came about.

    `stated` has names of the columns of `hvnas.latency.remote.measurements`; `protocol` is how the tool
    measures, which a user may put in better words; `names` is what the file calls the model, likeliest
    first.
    """

    ms: float
    statistic: Statistic
    spread: float | None = None
    n: int | None = None
    protocol: str | None = None
    names: tuple[str, ...] = ()
    stated: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpTime:
    """One op of a profiled model: microseconds per run of the model, summed over its calls.

    `shapes` are those of its inputs, where the file tells them.
    """

    name: str
    kind: str
    us: float
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: its name, what writes it, and how it is read."""

    name: str
    writer: str
    read: Callable[[Path], Sequence[Reading]]


_FORMATS: Registry[Format] = Registry("format")


def register_format(
    name: str, *, writer: str
) -> Callable[[Callable[[Path], Sequence[Reading]]], Callable[[Path], Sequence[Reading]]]:
    """Decorator: `read(path)`, which gives a file's readings, reads the format `name`."""

    def register(read: Callable[[Path], Sequence[Reading]]) -> Callable[[Path], Sequence[Reading]]:
        _FORMATS.add(name, Format(name, writer, read))
        return read

    return register


def list_formats() -> tuple[Format, ...]:
    """Return the formats there are, by name."""
    return tuple(_FORMATS[name] for name in _FORMATS.names())


def load_format(name: str) -> Format:
    """Return the format called `name`. Raises ValueError with those there are, and why some are not."""
    if _FORMATS.has(name):
        return _FORMATS[name]
    known = _FORMATS.names()
    if name.casefold() in UNSUPPORTED:
        reason = UNSUPPORTED[name.casefold()]
        raise ValueError(f"{name} is not supported: {reason}. Supported: {', '.join(known)}")
    others = "; ".join(f"{other} ({why})" for other, why in UNSUPPORTED.items())
    raise ValueError(f"{_FORMATS.unknown(name, known)}. Known, but not supported: {others}")


def from_samples(samples_ms: Sequence[float]) -> dict[str, Any]:
    """The fields of a Reading that summarise runs, in milliseconds: median, n and spread."""
    centre = median(samples_ms)
    deviation = median(abs(sample - centre) for sample in samples_ms)
    return {
        "ms": rounded(centre),
        "statistic": "median",
        "spread": rounded(MAD_TO_SD * deviation),
        "n": len(samples_ms),
    }


def rounded(ms: float) -> float:
    """Milliseconds to a nanosecond, finer than any clock that is read here."""
    return round(ms, 6)


def is_time(value: Any) -> bool:
    """Whether `value` is a number that can be a time, in any of the tools' units."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def positive_samples(samples: Any, where: str) -> list[float]:
    """`samples` as a list of finite times > 0. Raises ValueError beginning with `where`."""
    if not isinstance(samples, list) or not samples:
        raise ValueError(f"{where}: must be a list of times; is the file complete?")
    for sample in samples:
        if not is_time(sample) or sample == 0:
            raise ValueError(f"{where}: must hold times > 0, got {shown(sample)}")
    return [float(sample) for sample in samples]


register_format("coremltools", writer="measure_coreml.py on a Mac: MLModelBenchmarker of coremltools >= 9")(
    Late("hvnas.latency.remote.importing.coreml:read_coremltools")
)
register_format("csv", writer="you, or another import: the columns of hvnas.latency.remote.measurements")(
    Late("hvnas.latency.remote.importing.rows:read")
)
register_format("ort-profile", writer="ONNX Runtime, SessionOptions.enable_profiling")(
    Late("hvnas.latency.remote.importing.runtimes:read_ort_profile")
)
register_format("tflite-csv", writer="TFLite's benchmark_model --enable_op_profiling, its CSV")(
    Late("hvnas.latency.remote.importing.runtimes:read_tflite_csv")
)
register_format("tflite-text", writer="TFLite's benchmark_model, its standard output or log")(
    Late("hvnas.latency.remote.importing.runtimes:read_tflite_text")
)
register_format("xcode", writer="Xcode's performance report, exported: NAME.mlperf or its report.json")(
    Late("hvnas.latency.remote.importing.coreml:read_xcode")
)


def read_lines(path: Path) -> list[str]:
    """The lines of a tool's text. Raises ValueError naming the file, and the line that is no tool's."""
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, start=1):
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"{path}: line {number}: {len(line):,} characters; the longest line has {LONGEST_LINE:,}"
            )
    return lines


def pairs(text: str) -> dict[str, str]:
    """What ``name=value`` says in a line, as ``count=50 avg=33071.8``."""
    return dict(_PAIR.findall(text))


def image_facts(sizes: Sequence[Any]) -> dict[str, Fact]:
    """Batch and resolution of an input [batch, 3, side, side]; nothing of any other."""
    if len(sizes) != 4 or not all(type(size) is int and 1 <= size <= LARGEST_SIDE for size in sizes):
        return {}
    batch, channels, height, width = sizes
    return {"batch": batch, "resolution": height} if channels == 3 and height == width else {}
