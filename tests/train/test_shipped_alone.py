"""What is exported scores the same by ``hvnas evaluate`` and by a program that knows nothing of hvnas."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch, save_arch
from hvnas.train.request import TrainRequest
from hvnas.train.run import train_in_folder
from hvnas.train.score import evaluate
from hvnas.train.starting import start

# A folder with CIFAR-10 as train.parquet and test.parquet, images and labels as the hub has them.
CIFAR10 = "HVNAS_CIFAR10"
SIDE = 32
COLOURS = {"blue": (30, 60, 200), "green": (20, 180, 60), "red": (210, 40, 30)}
MOST_LOST = 5.0  # points that int8 may cost, of a network that is hardly trained
QUANTISED = ("efficientformer_l1",)
# What is exported, and the points of top-1 by which two ways to score it may differ.
FILES = {
    "folder": (("--format", "torch"), 0.2),
    "hub": (("--format", "huggingface"), 0.2),
    "model.onnx": (("--format", "onnx"), 0.2),
    "int8.onnx": (("--format", "onnx", "--precision", "int8"), 1.0),
    "model.tflite": (("--format", "tflite"), 0.2),
    "int8.tflite": (("--format", "tflite", "--precision", "int8"), 1.0),
}
NEEDED = {".onnx": ("onnx", "onnxscript", "onnxruntime"), ".tflite": ("litert_torch", "ai_edge_litert")}

# Prints top-1 of each file on DIR/CLASS/*.png. What a user of the file would write: no hvnas anywhere.
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hvnas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util, json
from pathlib import Path
import numpy as np
from PIL import Image

def of_folder(path):
    import torch
    spec = importlib.util.spec_from_file_location("model_" + path.name, path / "model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    network = model.load()
    def run(image):
        with torch.no_grad():
            return network(model.preprocess(image)).numpy()[0]
    return model.CLASS_NAMES, run

def read(image, side, facts):
    with Image.open(image) as file:
        width, height = file.size
        scale = side / min(width, height)
        size = (round(width * scale), round(height * scale))
        file = file.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = (file.width - side) // 2, (file.height - side) // 2
    pixels = np.asarray(file.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    mean, std = (np.array(json.loads(facts["hvnas." + name]), dtype=np.float32) for name in ("mean", "std"))
    return ((pixels - mean) / std).transpose(2, 0, 1)[None]

def of_onnx(path):
    import onnxruntime
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    side = int(facts["hvnas.resolution"])
    run = lambda image: session.run(None, {session.get_inputs()[0].name: read(image, side, facts)})[0][0]
    return json.loads(facts["hvnas.class_names"]), run

def of_tflite(path):
    from ai_edge_litert.interpreter import Interpreter
    model = Interpreter(str(path))
    model.allocate_tensors()
    (entry,), (leaves,) = model.get_input_details(), model.get_output_details()
    from ai_edge_litert.schema_py_generated import Model
    file = Model.GetRootAs(path.read_bytes(), 0)
    entries = [file.Metadata(i) for i in range(file.MetadataLength())]
    text = next(file.Buffers(each.Buffer()) for each in entries if each.Name() == b"hvnas")
    facts = json.loads(text.DataAsNumpy().tobytes())
    def run(image):
        pixels = read(image, int(facts["hvnas.resolution"]), facts)
        if entry["dtype"] == np.int8:  # as the file says; the order of int8 outputs is that of the scores
            scale, zero = entry["quantization"]
            pixels = np.clip(np.rint(pixels / scale) + zero, -128, 127).astype(np.int8)
        model.set_tensor(entry["index"], pixels)
        model.invoke()
        return model.get_tensor(leaves["index"])[0]
    return json.loads(facts["hvnas.class_names"]), run

kinds = {".onnx": of_onnx, ".tflite": of_tflite}
images = sorted(Path(sys.argv[1]).glob("*/*.png"))
scores = {}
for name in sys.argv[2:]:
    names, run = kinds.get(Path(name).suffix, of_folder)(Path(name))
    hits = sum(names[int(np.argmax(run(image)))] == image.parent.name for image in images)
    scores[name] = 100 * hits / len(images)
print(json.dumps(scores))
"""


def paint(folder: Path, *, count: int, seed: int) -> None:
    """Noisy images of one colour each, in a folder per class."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(np.array(colour) + rng.normal(0, 150, (SIDE, SIDE, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


def unpack(table: Path, folder: Path, *, count: int) -> None:
    """The first `count` images of a table as PNG files, in a folder per class."""
    from datasets import Dataset, Image

    rows = Dataset.from_parquet(str(table)).select(range(count))
    image, label = rows.column_names[:2]
    names = getattr(rows.features[label], "names", None)
    for i, row in enumerate(rows.cast_column(image, Image(decode=True))):
        place = folder / (names[row[label]] if names else f"class_{row[label]}")
        place.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        row[image].save(file, format="PNG")
        (place / f"{i:05d}.png").write_bytes(file.getvalue())


def check_scores(
    data: Path, place: Path, hvnas: Callable[..., object], *, network: str, epochs: int
) -> float:
    """Train, export in every form, and score each twice; top-1 of the training.

    Other networks than those of `QUANTISED` in float32 alone: export refuses what int8 makes of them after so
    few epochs.
    """
    torch.set_num_threads(1)
    save_arch(load_arch(network).shrunk(), place / "net.yaml")
    request = TrainRequest(source=str(place / "net.yaml"), data=f"folder:{data}", epochs=epochs, seed=0)
    metrics = train_in_folder(start(request, place / "run"), device="cpu").metrics
    files = {
        str(place / name): most
        for name, (_, most) in FILES.items()
        if ("int8" not in name or network in QUANTISED)
        and all(find_spec(package) is not None for package in NEEDED.get(Path(name).suffix, ()))
    }
    for file in files:
        options, _ = FILES[Path(file).name]
        result = hvnas("export", place / "run", *options, "--out", file)
        assert result.exit_code == 0, result.output  # type: ignore[attr-defined]
    command = [sys.executable, "-c", ALONE, str(data / "test"), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    for file, most in files.items():
        ours = evaluate(file, data=f"folder:{data}").scores.top1
        print(f"{Path(file).name}: {ours:.2f}, alone {alone[file]:.2f}, trained {metrics['top1']:.2f}")
        lost = MOST_LOST if "int8" in Path(file).name else most
        assert ours == pytest.approx(metrics["top1"], abs=lost), file
        assert alone[file] == pytest.approx(ours, abs=most), file
    return float(metrics["top1"])


@pytest.fixture
def hvnas() -> Callable[..., object]:
    """Runs ``hvnas`` with arguments."""
    from typer.testing import CliRunner

    from hvnas.cli.app import app

    return lambda *args: CliRunner().invoke(app, list(map(str, args)), catch_exceptions=False)


def test_every_form_scores_as_the_training(tmp_path: Path, hvnas: Callable[..., object]) -> None:
    pytest.importorskip("PIL")
    paint(tmp_path / "data" / "train", count=40, seed=0)
    paint(tmp_path / "data" / "test", count=30, seed=1)
    assert check_scores(tmp_path / "data", tmp_path, hvnas, network="efficientformer_l1", epochs=2) > 0


@pytest.mark.slow
@pytest.mark.parametrize("network", ["efficientformer_l1", "mobilevit_xxs"])
def test_every_form_scores_as_the_training_on_cifar10(
    network: str, tmp_path: Path, hvnas: Callable[..., object]
) -> None:
    place = os.environ.get(CIFAR10)
    if not place:
        pytest.skip(f"{CIFAR10} names no folder with CIFAR-10 (train.parquet, test.parquet)")
    pytest.importorskip("datasets")
    unpack(Path(place) / "train.parquet", tmp_path / "data" / "train", count=1000)
    unpack(Path(place) / "test.parquet", tmp_path / "data" / "test", count=1000)
    assert check_scores(tmp_path / "data", tmp_path, hvnas, network=network, epochs=3) > 12
