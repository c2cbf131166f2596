"""Folders of trainings and supernets, and files of weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch

from fuzzing.reader import ROOT, Reader, add, command, kept
from hvnas.arch import load_arch, save_arch
from hvnas.export import Images, export_huggingface, export_onnx, export_tflite, export_torch
from hvnas.export.torch_folder import read_weights
from hvnas.nn import build
from hvnas.nn.foreign.checkpoint import read_checkpoint
from hvnas.nn.weights import load_weights, save_weights
from hvnas.report.network import trained_network
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.request import SupernetRequest
from hvnas.supernet.run import start as start_supernet
from hvnas.supernet.run import train_supernet
from hvnas.train.request import TrainRequest
from hvnas.train.run import train_in_folder
from hvnas.train.shipped import open_shipped
from hvnas.train.starting import resume, start

RECIPE = """
schema: hvnas.recipe/1
epochs: 1
distilled: false
augmentation: basic
training:
  batch: 8
  optimizer: {lr: 1.0e-3}
  ema: 0.9
"""
ARCH = load_arch("efficientvit_b0").shrunk().with_(resolution=32, classes=4)


def _train(folder: Path) -> None:
    torch.set_num_threads(1)
    save_arch(ARCH, folder / "net.yaml")
    (folder / "short.yaml").write_text(RECIPE, encoding="utf-8")
    request = TrainRequest(
        source=str(folder / "net.yaml"),
        data="shapes",
        train_size=16,
        test_size=8,
        recipe=str(folder / "short.yaml"),
    )
    train_in_folder(start(request, folder / "whole"), device="cpu")


TRAINING = {"train.json": "json", "arch.yaml": "yaml", "metrics.json": "json"}


def _training(folder: Path) -> list[tuple[Path, str]]:
    kept(folder, "training", lambda: _train(folder))
    return [(folder / "whole" / name, kind) for name, kind in TRAINING.items()]


def _resumed(folder: Path) -> list[tuple[Path, str]]:
    kept(folder, "training", lambda: _train(folder))
    for name in ("model.safetensors", "metrics.json"):
        (folder / "whole" / name).unlink(missing_ok=True)
    return [
        (folder / "whole" / "checkpoint.safetensors", "safetensors"),
        (folder / "whole" / "train.json", "json"),
    ]


def _resume(path: Path) -> None:
    """Go on with a training whose weights are not written yet."""
    train_in_folder(resume(TrainRequest(), path.parent), device="cpu")
    for name in ("model.safetensors", "metrics.json"):
        (path.parent / name).unlink(missing_ok=True)


def _start_supernet(folder: Path) -> None:
    torch.set_num_threads(1)
    files = ROOT / "tests/supernet"
    for name in ("small.yaml", "short.yaml"):
        (folder / name).write_bytes((files / name).read_bytes())
    asked = SupernetRequest(
        space=str(folder / "small.yaml"),
        data="shapes",
        train_size=16,
        test_size=16,
        recipe=str(folder / "short.yaml"),
        epochs=1,
        bn_calib=16,
        scheme="single-path",
    )
    train_supernet(start_supernet(asked, folder / "net"), device="cpu")


def _supernet(folder: Path) -> list[tuple[Path, str]]:
    kept(folder, "supernet", lambda: _start_supernet(folder))
    return [
        (folder / "net" / "supernet.json", "json"),
        (folder / "net" / "checkpoint.safetensors", "safetensors"),
    ]


def _weights(folder: Path) -> list[tuple[Path, str]]:
    state = build(ARCH).state_dict()
    save_arch(ARCH, folder / "net.yaml")
    save_weights(state, folder / "weights.safetensors", metadata={"arch": ARCH.name})
    return [(folder / "weights.safetensors", "safetensors")]


def _foreign(folder: Path) -> list[tuple[Path, str]]:
    state = build(ARCH).state_dict()
    save_arch(ARCH, folder / "net.yaml")
    torch.save(state, folder / "weights.pth")
    torch.save(
        {"epoch": 3, "model": state, "model_ema": {"decay": 0.9, "module": state}}, folder / "nested.pt"
    )
    torch.save(state, folder / "old.bin", _use_new_zipfile_serialization=False)
    return [
        (folder / "weights.pth", "torch"),
        (folder / "nested.pt", "torch"),
        (folder / "old.bin", "torch"),
        *_weights(folder),
    ]


def _exported(folder: Path) -> list[tuple[Path, str]]:
    """The two folders that carry a network with the classes and the normalisation of its images."""
    kept(folder, "exported", lambda: _export(folder))
    return [
        (folder / "hub" / "config.json", "json"),
        (folder / "hub" / "model.safetensors", "safetensors"),
        (folder / "torch" / "config.yaml", "yaml"),
    ]


def _export(folder: Path) -> None:
    torch.set_num_threads(1)
    export_huggingface(ARCH, folder / "hub", images=IMAGES)
    export_torch(ARCH, folder / "torch", images=IMAGES)


SMALLEST = load_arch("mobilevit_xxs").shrunk().with_(resolution=32, classes=4)
IMAGES = Images(class_names=("a", "b", "c", "d"), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))


def _shipped(suffix: str) -> Callable[[Path], list[tuple[Path, str]]]:
    """A maker of an exported file, and of an image to show it."""

    def export(folder: Path) -> None:
        from PIL import Image

        torch.set_num_threads(1)
        Image.new("RGB", (32, 32), (200, 40, 30)).save(folder / "photo.png")
        exporter = {"onnx": export_onnx, "tflite": export_tflite}[suffix]
        exporter(build(SMALLEST).eval(), folder / f"model.{suffix}", images=IMAGES)

    def make(folder: Path) -> list[tuple[Path, str]]:
        kept(folder, suffix, lambda: export(folder))
        return [(folder / f"model.{suffix}", suffix)]

    return make


def _predict(path: Path) -> str:
    return command("predict", path, path.parent / "photo.png")


def _load(path: Path) -> None:
    load_weights(build(ARCH), path)


add(Reader(name="training", make=_training, read=lambda path: trained_network(path.parent), of_folder=True))
add(
    Reader(
        name="training-show",
        make=_training,
        read=lambda path: command("show", path.parent, "--device", "iphone12"),
        share=0.1,
        of_folder=True,
    )
)
add(Reader(name="training-resume", make=_resumed, read=_resume, share=0.4, of_folder=True))
add(
    Reader(
        name="supernet",
        make=_supernet,
        read=lambda path: SupernetFolder(path.parent).load(),
        share=0.3,
        of_folder=True,
    )
)
add(
    Reader(
        name="exported",
        make=_exported,
        read=lambda path: open_shipped(path.parent, device="cpu"),
        share=0.5,
        of_folder=True,
    )
)
# What makes them, and what runs them, need not be installed in one environment.
for name, packages in {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "tflite": ("litert_torch", "ai_edge_litert"),
}.items():
    if all(find_spec(package) is not None for package in packages):
        add(Reader(name=f"exported-{name}", make=_shipped(name), read=_predict, share=0.5))
add(Reader(name="weights", make=_weights, read=_load, share=0.5))
add(Reader(name="weights-exported", make=_weights, read=read_weights, share=0.5))
add(Reader(name="weights-foreign", make=_foreign, read=read_checkpoint))
add(
    Reader(
        name="weights-import",
        make=_foreign,
        read=lambda path: command(
            *("weights", "import", path, "--arch", path.parent / "net.yaml", "--family", "efficientvit"),
            *("--out", path.parent / "out.safetensors"),
        ),
        share=0.0,
    )
)
