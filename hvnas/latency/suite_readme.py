"""The instructions that lie in an exported suite."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
# What is copied into a suite, to run where the device is.
SCRIPTS = {"onnx": _HERE / "measure_onnx.py", "coreml": _HERE / "importing" / "measure_coreml.py"}

_WHAT = """\
# Models to time

Networks and blocks of the search space `{space}`, written by `hvnas latency export-suite` as {format},
batch 1, with random weights. Time them on your device, bring the times back, and fit a device to them.

* `models/`: the models.
* `suite.csv`: what each file is. `file` is its name without ending; `key` a model's name, the path of an
  architecture file, or a block's entry; `resolution` the side of the image, of a block that of what it is
  given; `depth` how often the block is in the file.
* `networks/*.yaml`, `blocks/*.yaml`: the networks and blocks. `blocks/NAME.yaml` is in the files
  `NAME-d1` and `NAME-d{depth}`; a block's own time, without what every call costs, is
  `(ms of NAME-d{depth} - ms of NAME-d1) / {more}`. A block that does not leave the shape that it is given
  cannot be repeated: `NAME-d0` holds one linear layer on its output, `NAME-d1` the block and that layer,
  and the block's time is the difference.

Let the device rest, plugged in, nothing else running; time all files in one go.
"""

_ONNX = """\
## 1. Time them with ONNX Runtime

On the machine to be measured, with `pip install onnxruntime`:

```sh
python measure_onnx.py models/*.onnx --suite suite.csv --device "my board" --threads 1 \\
  --out measurements.csv
```

It times whole runs on the CPU, in several rounds over all files, writes `measurements.csv`, and goes on where
it was stopped.

Where there is no Python, run ONNX Runtime's own `onnxruntime_perf_test` (built with the runtime, or copied to
the device), one file after the other:

```sh
for model in models/*.onnx; do
  name=$(basename "$model" .onnx)
  onnxruntime_perf_test -e cpu -o 99 -I -m times -r 100 -x 1 -y 1 -p "profiles/$name" "$model"
done
```

`-I` makes random inputs, `-o 99` switches every graph optimisation on, `-x` and `-y` are the threads, and
`-p` writes ONNX Runtime's profile, which is what the next command reads. Profiling adds a little time to
every op: prefer the script where you can.

```sh
hvnas latency import profiles/*.json --format ort-profile --suite suite.csv --out measurements.csv \\
  --device "my board" --os "Linux 6.6" --runtime-version 1.23 --precision float32 --threads 1 --batch 1
```
"""

_COREML = """\
## 1. Time them with Core ML

The models are mlprograms in float16 for iOS 16 and later. Networks take an RGB image whose values from 0 to
255 go in as they are, blocks take arrays. On a Mac, with one of:

**coremltools** (version 9 or later), all models in one command, on a tethered iPhone or on the Mac itself.
`measure_coreml.py` runs its `MLModelBenchmarker`; a phone needs Xcode, developer mode, and a development
team to sign the app that coremltools installs there:

```sh
pip install "coremltools>=9" pillow
python measure_coreml.py models/*.mlpackage --out results --device "iPhone 12" \\
  --iphone "My iPhone" --team ABCDE
hvnas latency import results/*.json --format coremltools --suite suite.csv --out measurements.csv \\
  --precision float16 --batch 1
```

**Xcode**, one model at a time: open the `.mlpackage`, tab *Performance*, *+*, choose the phone and *All*
compute units, run, and export the report under the model's own name into `results/`:

```sh
hvnas latency import results/*.mlperf --format xcode --suite suite.csv --out measurements.csv \\
  --precision float16 --batch 1
```

The shipped device `iphone12` is calibrated on Xcode's medians with all compute units; choose the same to
compare.
"""

_NEXT = """\
## 2. Fit a device

```sh
hvnas latency calibrate --device BASE --measurements measurements.csv --out my-device.yaml
hvnas search --space {space} --device my-device.yaml --budget-ms 2
```

`BASE` is the calibrated device that is nearest to yours; `hvnas devices` lists them. `measurements.csv`
must stay in this folder: it names the networks by their paths here.
"""


def readme(format: str, *, space: str, depth: int) -> str:
    """The README of a suite in `format`, ``onnx`` or ``coreml``, with blocks at `depth`."""
    named = {"onnx": "ONNX", "coreml": "Core ML programs"}[format]
    middle = {"onnx": _ONNX, "coreml": _COREML}[format]
    what = _WHAT.format(space=space, format=named, depth=depth, more=depth - 1)
    return "\n".join([what, middle, _NEXT.format(space=space)])
