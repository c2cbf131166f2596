"""A folder of models that a user times on a device: the models, the list of them, and instructions."""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hvnas._files import check_parent, read_text, write_atomic
from hvnas._names import unknown_name
from hvnas._records import csv_text
from hvnas._request import check_unchanged
from hvnas._runs import RunFolder, RunKind
from hvnas.arch import Arch, load_arch, save_arch
from hvnas.latency.measure.plan import macs_range
from hvnas.latency.tables.block_keys import BlockKey, block_keys, cover, save_block_key
from hvnas.space.space import Space

MANIFEST, README = "suite.csv", "README.md"
MODELS, NETWORKS, BLOCKS = "models", "networks", "blocks"
COLUMNS = ("file", "kind", "key", "resolution", "depth")


SUFFIXES = {"onnx": ".onnx", "coreml": ".mlpackage", "tflite": ".tflite"}
BYTES_PER_WEIGHT = {"onnx": 4, "coreml": 2, "tflite": 4}
MOST_MACS = 5e9  # of the fixed points: larger ones tell little of networks for a phone
SAMPLED = 500  # networks whose blocks the chosen ones stand for


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a suite was asked for; the same settings give the same models.

    `run` is empty, or names a search and a hash of those of its networks that are to be timed.
    """

    space: str
    space_hash: str
    format: str
    networks: int
    blocks: int
    depth: int
    seed: int
    run: str = ""


@dataclass(frozen=True, kw_only=True)
class SuiteEntry:
    """One model of a suite, a row of its manifest.

    `file` is the stem of its file in ``models/``. `key` is a fixed point's name or the path of an
    architecture file (kind ``model``), or `file` itself (kind ``block``: NAME-dDEPTH, the block in
    ``blocks/NAME.yaml``). `resolution` is the image's, of a block the height of what it is given (the
    number of tokens where they have no grid). `depth` is 1 for networks; for blocks see `hvnas.nn.network`.
    """

    file: str
    kind: str
    key: str
    resolution: int
    depth: int
    source: Arch | BlockKey = field(compare=False, repr=False)

    @property
    def params(self) -> int:
        """Weights in the model."""
        if isinstance(self.source, Arch):
            return self.source.lower().params
        return self.source.program.params * max(1, self.depth)


@dataclass(frozen=True)
class Suite:
    """Settings, what they come to, and what the chosen blocks leave uncovered."""

    settings: Settings
    entries: tuple[SuiteEntry, ...]
    uncovered: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Roughly what the models take on disk."""
        return BYTES_PER_WEIGHT[self.settings.format] * sum(entry.params for entry in self.entries)


@dataclass(frozen=True)
class Exported:
    """How many models were written, and how many were there already."""

    written: int
    kept: int


def plan_suite(
    space: Space, *, format: str, networks: int = 40, blocks: int = 100, depth: int = 4, seed: int = 0
) -> Suite:
    """What goes into a suite for `space`.

    Fixed points of at most `MOST_MACS`, `networks` random members (of the MACs that
    `hvnas.latency.measure.plan.macs_range` gives), and `blocks` blocks
    (`hvnas.latency.tables.block_keys.cover`), each at two depths, `depth` being the larger. Raises ValueError
    for numbers that make no suite, a format that is not known, and too few blocks for the space.
    """
    check_format(format)
    _at_least(networks=(networks, 0), blocks=(blocks, 0), depth=(depth, 3), seed=(seed, 0))
    asked = Settings(
        space=space.name,
        space_hash=space.hash,
        format=format,
        networks=networks,
        blocks=blocks,
        depth=depth,
        seed=seed,
    )
    entries = [*_fixed_points(space), *_random_networks(space, networks, seed)]
    if not blocks:
        return Suite(asked, tuple(entries), ())
    keys = block_keys(space, SAMPLED, np.random.default_rng([seed, 1]))
    chosen = cover(keys, blocks)
    entries += [_block(key, d) for key in chosen.keys for d in key.depths(depth)]
    return Suite(asked, tuple(entries), chosen.missing)


def plan_networks(archs: Sequence[Arch], *, run: str, space: Space, format: str) -> Suite:
    """The suite of networks that a search found, the most promising first; `run` is what calls it.

    Raises ValueError for a format that is not known, and where there are no networks.
    """
    check_format(format)
    if not archs:
        raise ValueError(f"{run}: there is no network left to be timed")
    mark = hashlib.sha256(" ".join(arch.hash for arch in archs).encode()).hexdigest()[:12]
    asked = Settings(
        space=space.name,
        space_hash=space.hash,
        format=format,
        networks=len(archs),
        blocks=0,
        depth=1,
        seed=0,
        run=f"{run} {mark}",
    )
    entries = tuple(_network(f"front_{i:03d}_{arch.hash}", arch) for i, arch in enumerate(archs))
    return Suite(asked, entries, ())


def check_format(format: str) -> None:
    """Raise ValueError naming the formats of suites where `format` is none of them."""
    if format not in SUFFIXES:
        raise ValueError(unknown_name("format", format, tuple(SUFFIXES)))


def _at_least(**numbers: tuple[int, int]) -> None:
    for name, (number, least) in numbers.items():
        if number < least:
            raise ValueError(f"{name}: must be >= {least}, got {number}")


def _fixed_points(space: Space) -> list[SuiteEntry]:
    archs = [load_arch(name) for name in space.fixed_points()]
    return [
        SuiteEntry(file=a.name, kind="model", key=a.name, resolution=a.resolution, depth=1, source=a)
        for a in archs
        if a.lower().macs <= MOST_MACS
    ]


def _random_networks(space: Space, n: int, seed: int) -> list[SuiteEntry]:
    rows = space.sample(n, rng=np.random.default_rng([seed, 0]), macs=macs_range(space))
    archs = [space.decode(row) for row in rows]
    return [_network(f"random_{i:03d}_{arch.hash}", arch) for i, arch in enumerate(archs)]


def _network(name: str, arch: Arch) -> SuiteEntry:
    return SuiteEntry(
        file=name,
        kind="model",
        key=f"{NETWORKS}/{name}.yaml",
        resolution=arch.resolution,
        depth=1,
        source=arch.with_(name=name),
    )


def _block(key: BlockKey, depth: int) -> SuiteEntry:
    name = f"{key.name}-d{depth}"
    state = key.state
    if state.map is not None:
        size = state.map[1]
    else:
        assert state.tokens is not None
        size = state.grid[0] if state.grid else state.tokens[0]
    return SuiteEntry(file=name, kind="block", key=name, resolution=size, depth=depth, source=key)


# writing


Step = Callable[[int, str], None]


def export_suite(suite: Suite, out: str | Path, *, on_step: Step | None = None) -> Exported:
    """Write `suite` to the folder `out`; models that an earlier call wrote there are kept.

    Before each model `on_step` is given how many are there and the name of the next. Interrupted at any
    point, the folder lists exactly the models that are whole, and the same call goes on. Raises
    ValueError, before anything is written, where `out` holds something else or a suite of other
    settings, or where the disk is too small; and where a model cannot be exported.
    """
    folder = Path(out)
    run = _checked(SuiteFolder(folder), suite.settings)
    with run.at_work():
        if not run.holds_run:
            run.create(suite.settings)
        present = _present(folder, suite)
        missing = [entry for entry in suite.entries if entry.file not in present]
        _check_space(folder, suite, missing)
        for name in (MODELS, NETWORKS, BLOCKS):
            (folder / name).mkdir(exist_ok=True)
        _write_extras(folder, suite)
        for entry in missing:
            if on_step is not None:
                on_step(len(present), entry.file)
            _export(entry, folder, suite.settings)
            present.add(entry.file)
            _write_manifest(folder, [e for e in suite.entries if e.file in present])
        return Exported(written=len(missing), kept=len(suite.entries) - len(missing))


class SuiteFolder(RunFolder[Settings]):
    """The folder of a suite."""

    kind = RunKind(
        config=Settings,
        file="suite.yaml",
        schema="hvnas.suite/1",
        taken="holds a suite already; choose another folder",
        foreign="holds other files and no suite; choose a new or an empty folder",
        missing="holds no suite (suite.yaml is missing); write one with hvnas latency export-suite",
        folders=(MODELS,),
    )


def _checked(folder: SuiteFolder, asked: Settings) -> SuiteFolder:
    """`folder`, which is free or holds a suite of the settings `asked`. Raises ValueError elsewhere."""
    path = folder.path
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path}: is a file; choose another folder")
    check_parent(path)
    if not folder.holds_run:
        folder.refuse_if_taken()
        return folder
    what, remedy = f"the suite in {path}", "choose another folder"
    check_unchanged(vars(folder.config), vars(asked), what=what, remedy=remedy)
    return folder


def _present(folder: Path, suite: Suite) -> set[str]:
    """Models that are there, whole: exports move into place in one step."""
    suffix = SUFFIXES[suite.settings.format]
    return {entry.file for entry in suite.entries if (folder / MODELS / f"{entry.file}{suffix}").exists()}


def _check_space(folder: Path, suite: Suite, missing: Sequence[SuiteEntry]) -> None:
    needed = BYTES_PER_WEIGHT[suite.settings.format] * sum(entry.params for entry in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{folder}: the models take some {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free; make "
            "room, or ask for fewer networks and blocks"
        )


def _write_extras(folder: Path, suite: Suite) -> None:
    """All that can be written at once: the instructions, the script, what the networks and blocks are."""
    _write_manifest(folder, [e for e in suite.entries if e.file in _present(folder, suite)])
    asked = suite.settings
    write_atomic(
        folder / README,
        readme(asked.format, space=asked.space, depth=asked.depth, run=asked.run.rpartition(" ")[0]),
    )
    if script := SCRIPTS.get(asked.format):
        write_atomic(folder / script.name, read_text(script))
    for entry in suite.entries:
        if isinstance(entry.source, BlockKey):
            path = folder / BLOCKS / f"{entry.source.name}.yaml"
            if not path.exists():
                save_block_key(entry.source, path)
        elif entry.key != entry.file and not (folder / entry.key).exists():
            save_arch(entry.source, folder / entry.key)


def _write_manifest(folder: Path, entries: Sequence[SuiteEntry]) -> None:
    rows = ({column: getattr(entry, column) for column in COLUMNS} for entry in entries)
    write_atomic(folder / MANIFEST, csv_text(rows, COLUMNS))


def _export(entry: SuiteEntry, folder: Path, settings: Settings) -> None:
    """One model, its weights drawn from the suite's seed."""
    import torch

    from hvnas.export import export_coreml, export_onnx, export_tflite
    from hvnas.nn.network import stack

    path = folder / MODELS / f"{entry.file}{SUFFIXES[settings.format]}"
    writers: dict[str, Callable[..., object]] = {
        "onnx": export_onnx,
        "coreml": export_coreml,
        "tflite": export_tflite,
    }
    write = writers[settings.format]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if isinstance(entry.source, BlockKey):
            module = stack(entry.source.block, entry.source.state, depth=entry.depth)
            write(module, path, inputs=module.inputs)
            return
        # the papers time their networks on an image whose values go in as they are
        image = {"pixels": "raw_image"} if settings.format == "coreml" else {}
        write(entry.source, path, **image)


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


_TFLITE = """\
## 1. Time them with LiteRT

On an Android phone in developer mode, with `adb` and TFLite's `benchmark_model` for its processor (TensorFlow
offers it ready built):

```sh
adb push models benchmark_model /data/local/tmp/
adb shell chmod +x /data/local/tmp/benchmark_model
mkdir -p results
for model in models/*.tflite; do
  name=$(basename "$model" .tflite)
  adb shell /data/local/tmp/benchmark_model --graph="/data/local/tmp/models/$name.tflite" \\
    --use_xnnpack=true --num_threads=1 --warmup_runs=10 --num_runs=50 > "results/$name.txt" 2>&1
done
hvnas latency import results/*.txt --format tflite-text --suite suite.csv --out measurements.csv \\
  --device "my phone" --os "Android 15" --runtime-version 2.17 --precision float32 --batch 1
```

For the GPU write `--use_gpu=true` instead of `--use_xnnpack=true --num_threads=1`, and import with
`--precision float16`. A phone that grows warm slows down: time the first file once more at the end.
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


_WHAT_FOUND = """\
# Networks to time

The most promising networks that a search of `{space}` found, written by `hvnas refine {run}` as {format},
batch 1, with random weights. Time them on your device and give the times back: the search's front is then
ordered by what was measured.

* `models/`: the models.
* `suite.csv`: what each file is. `file` is its name without ending, `key` the path of its architecture file,
  `resolution` the side of the image.
* `networks/*.yaml`: the networks.

Let the device rest, plugged in, nothing else running; time all files in one go.
"""


_REFINE = """\
## 2. Give the times back

```sh
hvnas refine {run} --measurements measurements.csv
```

It says which network keeps the budget, by measurement. `measurements.csv` must stay in this folder: it names
the networks by their paths here.
"""


def readme(format: str, *, space: str, depth: int, run: str = "") -> str:
    """The README of a suite in a `format` of `SUFFIXES`, with blocks at `depth`, or of a `run`."""
    named = {"onnx": "ONNX", "coreml": "Core ML programs", "tflite": "TFLite files"}[format]
    middle = {"onnx": _ONNX, "coreml": _COREML, "tflite": _TFLITE}[format]
    if run:
        run = shlex.quote(run)
        what = _WHAT_FOUND.format(space=space, format=named, run=run)
        return "\n".join([what, middle, _REFINE.format(run=run)])
    what = _WHAT.format(space=space, format=named, depth=depth, more=depth - 1)
    return "\n".join([what, middle, _NEXT.format(space=space)])
