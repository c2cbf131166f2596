"""Networks as they were shipped: run folders, exported folders and files, and what may be missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hvnas
from hvnas.arch import load_arch, save_arch
from hvnas.export import export_onnx, export_torch
from hvnas.nn.weights import read_safetensors, save_weights
from hvnas.train.folder import TrainFolder
from hvnas.train.request import TrainRequest
from hvnas.train.run import train_in_folder
from hvnas.train.score import evaluate
from hvnas.train.shipped import open_shipped, predict
from hvnas.train.starting import start

COLOURS = {"blue": (30, 60, 200), "green": (20, 180, 60), "red": (210, 40, 30)}
SIDE = 32


def paint(folder: Path, *, count: int, seed: int) -> None:
    """Noisy images of one colour each, in a folder per class."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(np.array(colour) + rng.normal(0, 90, (SIDE, SIDE, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on images of three colours, which lie beside it in ``data``."""
    pytest.importorskip("PIL")
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("shipped")
    paint(place / "data" / "train", count=40, seed=0)
    paint(place / "data" / "test", count=12, seed=1)
    save_arch(load_arch("efficientvit_b0").shrunk(), place / "net.yaml")
    request = TrainRequest(source=str(place / "net.yaml"), data=f"folder:{place / 'data'}", epochs=2, seed=0)
    train_in_folder(start(request, place / "run"), device="cpu")
    return place / "run"


def exported(run: Path, kind: str) -> Path:
    """What `run` is when it is exported, made once."""
    from hvnas.cli.export import load_network

    path = run.parent / {"torch": "folder", "onnx": "model.onnx"}[kind]
    if not path.exists():
        network = load_network(str(run), weights=None, classes=None, resolution=None)
        export: Callable[..., Any] = {"torch": export_torch, "onnx": export_onnx}[kind]
        export(network.arch, path, weights=network.weights, images=network.images)
    return path


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_what_is_shipped_scores_as_the_training(run: Path, kind: str) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    path, data = exported(run, kind), f"folder:{run.parent / 'data'}"
    ours, theirs = evaluate(str(run)), evaluate(str(path), data=data)
    assert theirs.scores.top1 == ours.scores.top1 == TrainFolder(run).metrics()["top1"]
    assert theirs.scores.loss == pytest.approx(ours.scores.loss, rel=1e-4)
    assert (theirs.name, theirs.arch_hash, theirs.remark) == (ours.name, ours.arch_hash, "")
    assert theirs.data.mean == ours.data.mean
    assert (theirs.arch is None) == (kind == "onnx")


@pytest.mark.parametrize("kind", ["run", "torch", "onnx"])
def test_predictions_name_the_classes(run: Path, kind: str) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    path = run if kind == "run" else exported(run, kind)
    images = [run.parent / "data" / "test" / name / "0.png" for name in COLOURS]
    found = predict(path, images, top=5)
    assert [each.image for each in found] == list(map(str, images))
    model, data = hvnas.build(exported(run, "torch")), TrainFolder(run).config.load_data()
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (data.mean, data.std))
    for i, each in enumerate(found):
        assert {guess.name for guess in each.top} == set(COLOURS)
        assert sum(guess.probability for guess in each.top) == pytest.approx(1.0, abs=1e-5)
        pixels = torch.from_numpy(data.test.batch(np.array([12 * i])).images)
        with torch.no_grad():
            logits = model.eval()((pixels / 255 - mean) / std)
        assert each.top[0].index == int(logits.argmax())
        assert each.top[0].probability == pytest.approx(float(logits.softmax(1).max()), rel=1e-4)


def test_a_folder_is_built_without_running_its_code(run: Path, tmp_path: Path) -> None:
    path = exported(run, "torch")
    (tmp_path / "folder").mkdir()
    for name in ("config.yaml", "model.safetensors"):
        (tmp_path / "folder" / name).write_bytes((path / name).read_bytes())
    (tmp_path / "folder" / "model.py").write_text("raise SystemExit('run')", encoding="utf-8")
    state = hvnas.build(tmp_path / "folder").state_dict()
    theirs = read_safetensors(TrainFolder(run).weights)
    assert all(torch.equal(state[key], theirs[key]) for key in theirs)


def test_a_folder_whose_network_cannot_be_built_is_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(exported(run, "torch"), tmp_path / "folder")
    config = tmp_path / "folder" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("act: hardswish", "act: hardwish"))
    with pytest.raises(ValueError, match="unknown activation 'hardwish'") as caught:
        open_shipped(tmp_path / "folder")
    assert str(tmp_path / "folder") in str(caught.value)


def damaged(run: Path, tmp_path: Path, **facts: str | None) -> Path:
    """The exported folder with another text in the header of its weights."""
    path = exported(run, "torch")
    (tmp_path / "config.yaml").write_bytes((path / "config.yaml").read_bytes())
    good = {"hvnas.class_names": json.dumps(list(COLOURS)), "hvnas.mean": "[0.5, 0.5, 0.5]"}
    texts = {"hvnas.std": "[0.5, 0.5, 0.5]", **good, **{f"hvnas.{k}": v for k, v in facts.items()}}
    header = {key: text for key, text in texts.items() if text is not None}
    save_weights(
        read_safetensors(path / "model.safetensors"), tmp_path / "model.safetensors", metadata=header
    )
    return tmp_path


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"class_names": None}, "hvnas.class_names: is missing"),
        ({"class_names": "[[]]"}, "hvnas.class_names: must be a list of names"),
        ({"class_names": '["a"]'}, "names 1 classes, but scores 3"),
        ({"class_names": "[" * 99_999}, "hvnas.class_names: must be a list in JSON"),
        ({"mean": "[1, 2]"}, "hvnas.mean: must be three numbers"),
        ({"std": "[0, 1, 1]"}, "hvnas.std: must be three numbers"),
        ({"std": "[NaN, 1, 1]"}, "hvnas.std: must be a list in JSON"),
        ({"mean": f"[{10**400}, 1, 1]"}, "hvnas.mean: must be a list in JSON"),
        ({"mean": f"[{10**30}, 1, 1]"}, "are not finite"),
        ({"mean": "[1e308, 1, 1]"}, "are not finite"),
        ({"class_names": None, "mean": None, "std": None}, "does not say its classes"),
    ],
)
def test_what_is_missing_or_damaged_is_one_line(
    run: Path, tmp_path: Path, facts: dict[str, str | None], said: str
) -> None:
    path = damaged(run, tmp_path, **facts)
    with pytest.raises(ValueError, match=r"^[^\n]{1,500}$") as caught:
        predict(path, [run.parent / "data" / "test" / "red" / "0.png"])
    assert said in str(caught.value) and str(path / "model.safetensors") in str(caught.value)


def test_a_file_that_says_nothing_is_scored_as_the_data_is(run: Path, tmp_path: Path) -> None:
    path = damaged(run, tmp_path, class_names=None, mean=None, std=None)
    found = evaluate(str(path), data=f"folder:{run.parent / 'data'}")
    assert found.scores.top1 == evaluate(str(run)).scores.top1
    assert "does not say what it was trained on" in found.remark


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("net.mlpackage", "Core ML runs on Apple's systems"),
        ("none.onnx", "none.onnx"),
        (".", "is no trained network"),
        ("mobilevit_xxs", "is no trained network"),
    ],
)
def test_what_cannot_be_run_is_refused(source: str, said: str, tmp_path: Path) -> None:
    path = source if source == "mobilevit_xxs" else tmp_path / source
    with pytest.raises((ValueError, OSError), match=said):
        open_shipped(path)


@pytest.mark.parametrize("side", ["0", "1000000", "9" * 5000])
def test_a_size_of_images_that_cannot_be_is_refused(side: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    sides = ["n", 3, "side", "side"]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides) for name in "xy"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "net", ends[:1], ends[1:]
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.helper.set_model_props(made, {"hvnas.resolution": side})
    onnx.save(made, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"net\.onnx: takes images of \d{1,9} px; must be 1 to ") as caught:
        open_shipped(tmp_path / "net.onnx")
    assert len(str(caught.value)) <= 500


def test_other_data_is_refused(run: Path) -> None:
    path = exported(run, "torch")
    with pytest.raises(ValueError, match="data digits: has other classes"):
        evaluate(str(path), data="digits")
    with pytest.raises(ValueError, match="data: is missing"):
        evaluate(str(path))
    with pytest.raises(ValueError, match=r"resolution: .* has its own"):
        evaluate(str(path), data="digits", resolution=64)
