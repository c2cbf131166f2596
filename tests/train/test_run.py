"""A training's folder: begun, killed, continued, evaluated, taught from, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hvnas.arch import load_arch, save_arch
from hvnas.nn import build
from hvnas.nn.weights import save_weights
from hvnas.train.folder import TrainFolder, find_training
from hvnas.train.request import TrainRequest
from hvnas.train.run import train_in_folder
from hvnas.train.score import evaluate
from hvnas.train.starting import default_out, network_of, resume, start
from hvnas.train.trainer import Progress

RECIPE = """
schema: hvnas.recipe/1
epochs: 3
distilled: false
augmentation: basic
training:
  batch: 8
  optimizer: {lr: 1.0e-3}
  mix: {mixup: 0.2}
  ema: 0.9
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network's file, a recipe, and a training of both that was never stopped."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("place")
    save_arch(load_arch("efficientvit_b0").shrunk(), path / "net.yaml")
    (path / "short.yaml").write_text(RECIPE, encoding="utf-8")
    train_in_folder(start(asked(path), path / "whole"), device="cpu")
    return path


def asked(place: Path, **more: Any) -> TrainRequest:
    fields: dict[str, Any] = {
        "source": str(place / "net.yaml"),
        "data": "shapes",
        "train_size": 32,
        "test_size": 16,
        "recipe": str(place / "short.yaml"),
    }
    return TrainRequest(**(fields | more))


def stopping_after(steps: int) -> Callable[[], bool]:
    left = [steps]

    def stop() -> bool:
        left[0] -= 1
        return left[0] == 0

    return stop


def same_weights(a: Path, b: Path) -> bool:
    from safetensors.torch import load_file

    ours, theirs = load_file(a), load_file(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_folder_tells_what_was_trained_and_what_came_of_it(place: Path) -> None:
    folder = TrainFolder(place / "whole")
    assert (folder.arch.head.out, folder.arch.resolution) == (16, 32)
    assert folder.config.classes == len(folder.config.class_names) == 16
    metrics = json.loads((place / "whole" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["epochs_trained"] == len(metrics["history"]) == 3
    val = [entry["top1"] for entry in metrics["history"]]
    assert (metrics["val_top1"], metrics["best_epoch"]) == (max(val), val.index(max(val)) + 1)
    assert 0 <= metrics["top1"] <= 100
    assert metrics["params"] == folder.arch.lower().params
    assert metrics["images_per_s"] > 0
    assert "epoch 3 of 3: loss " in (place / "whole" / "log.txt").read_text(encoding="utf-8")
    built = build(folder.arch, weights=folder.trained_weights())
    assert not built.eval()(torch.zeros(1, 3, 32, 32)).isnan().any()


@pytest.mark.parametrize("steps", [2, 6])
def test_a_stopped_training_goes_on_to_the_same_curve(place: Path, tmp_path: Path, steps: int) -> None:
    folder = start(asked(place), tmp_path / "run")
    first = train_in_folder(folder, device="cpu", stop=stopping_after(steps))
    assert not first.result.finished
    assert not folder.finished
    seen: list[Progress] = []
    second = train_in_folder(resume(TrainRequest(), tmp_path / "run"), device="cpu", progress=seen.append)
    whole = TrainFolder(place / "whole").metrics()
    assert second.metrics["history"] == whole["history"]
    assert same_weights(folder.weights, place / "whole" / "model.safetensors")
    assert seen[0].epoch == (1 if steps == 2 else 2)


def test_a_finished_training_is_not_trained_again(place: Path) -> None:
    def progress(_: Progress) -> None:
        raise AssertionError

    again = train_in_folder(TrainFolder(place / "whole"), progress=progress)
    assert again.result.finished
    assert again.metrics == TrainFolder(place / "whole").metrics()


def test_evaluation_repeats_the_top1_of_the_training(place: Path) -> None:
    found = evaluate(str(place / "whole"), device="cpu")
    assert found.scores.top1 == TrainFolder(place / "whole").metrics()["top1"]
    assert found.scores.images == 16
    assert found.scores.top5 is not None
    assert found.scores.top5 >= found.scores.top1
    other = evaluate(
        str(place / "net.yaml"),
        data="shapes",
        weights=str(place / "whole" / "model.safetensors"),
        resolution=32,
        test_size=16,
        device="cpu",
    )
    assert other.scores == pytest.approx(found.scores) or other.scores.images == 16


def test_a_training_teaches_another(place: Path, tmp_path: Path) -> None:
    folder = start(asked(place, teacher=str(place / "whole"), epochs=1), tmp_path / "run")
    assert folder.config.load_recipe().training.distillation.kind == "hard"  # type: ignore[union-attr]
    assert train_in_folder(folder, device="cpu").result.finished
    with pytest.raises(ValueError, match=r"teacher .*: knows the classes of shapes, not those of digits"):
        start(asked(place, data="digits", teacher=str(place / "whole")), tmp_path / "no")
    with pytest.raises(ValueError, match=r"teacher efficientvit_b0: .* --teacher-weights"):
        start(asked(place, teacher="efficientvit_b0"), tmp_path / "no")
    with pytest.raises(ValueError, match=r"recipe efficientformer: distils a teacher.*--teacher none"):
        start(asked(place, recipe="efficientformer"), tmp_path / "no")
    assert not (tmp_path / "no").exists()
    alone = start(asked(place, recipe="efficientformer", teacher="none"), tmp_path / "alone")
    assert alone.config.load_recipe().training.distillation is None  # type: ignore[union-attr]


def test_a_network_begins_with_weights_of_other_classes(place: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = start(
        asked(place, data="digits", weights=str(place / "whole" / "model.safetensors"), epochs=1),
        tmp_path / "run",
    )
    outcome = train_in_folder(folder, device="cpu", report=said.append)
    assert outcome.result.finished
    assert any("classifier begins anew" in line for line in said)


def test_what_is_asked_for_again_must_be_the_same(place: Path) -> None:
    out = place / "whole"
    assert resume(asked(place), out).config.epochs == 3
    for change, named in (
        ({"epochs": 5}, "epochs: the training in .* was begun with 3, not 5"),
        ({"data": "digits"}, "data: the training in"),
        ({"seed": 1}, "seed: the training in"),
        ({"source": "efficientvit_b1"}, "network: the training in"),
    ):
        with pytest.raises(ValueError, match=named):
            resume(asked(place, **change), out)
    with pytest.raises(ValueError, match=r"holds a training already; continue it with --resume"):
        start(asked(place), out)


def test_another_process_on_the_same_folder_is_refused(place: Path) -> None:
    folder = TrainFolder(place / "whole")
    with folder.locked(), pytest.raises(ValueError, match="another process"):
        train_in_folder(folder, device="cpu")


def test_a_folder_that_was_tampered_with_is_refused(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(place / "whole", out)
    save_arch(load_arch("efficientvit_b1").shrunk(), out / "arch.yaml")
    with pytest.raises(ValueError, match=r"arch.yaml: is not the network that was trained"):
        evaluate(str(out))
    shutil.copy(place / "whole" / "arch.yaml", out / "arch.yaml")
    run = json.loads((out / "train.json").read_text(encoding="utf-8"))
    for name, wrong in (("epochs", "many"), ("epochs", -1), ("seed", 10**30), ("seed", -1), ("workers", -1)):
        (out / "train.json").write_text(json.dumps(run | {name: wrong}), encoding="utf-8")
        with pytest.raises(ValueError, match=rf"train.json: {name}: "):
            evaluate(str(out))
    nameless = {key: value for key, value in run["recipe"].items() if key != "name"}
    (out / "train.json").write_text(json.dumps(run | {"recipe": nameless}), encoding="utf-8")
    with pytest.raises(ValueError, match="was begun with recipe, not tiny"):
        resume(TrainRequest(recipe="tiny"), out)
    shutil.copy(place / "whole" / "train.json", out / "train.json")
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"model.safetensors: not a readable safetensors file"):
        evaluate(str(out))


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("it ran",))


def test_a_pickle_is_not_opened(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"bomb": Bomb()}, file)
    disguised = tmp_path / "weights.safetensors"
    shutil.copy(file, disguised)
    with pytest.raises(ValueError, match=r"weights.pt: a pickle may run code and is not opened"):
        evaluate(str(place / "whole"), weights=str(file))
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        evaluate(str(place / "whole"), weights=str(disguised))
    with pytest.raises(ValueError, match="a pickle may run code"):
        start(asked(place, weights=str(file)), tmp_path / "run")
    assert "it ran" not in capsys.readouterr().out


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for index in range(10):
            image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    (tmp_path / "pictures" / "dog" / "broken.png").write_bytes(b"\x89PNG no more")
    return tmp_path / "pictures"


def test_an_unreadable_image_is_named_and_counted_or_stops(
    place: Path, pictures: Path, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "data": f"folder:{pictures}",
        "resolution": 32,
        "train_size": None,
        "test_size": None,
        "epochs": 1,
    }
    folder = start(asked(place, **fields), tmp_path / "run")
    said: list[str] = []
    metrics = train_in_folder(folder, device="cpu", report=said.append).metrics
    assert metrics["skipped"]["count"] == 1
    assert metrics["skipped"]["images"][0][0].endswith("broken.png")
    assert "1 unreadable images left out" in said[0]
    assert "broken.png: " in said[0]
    assert folder.config.class_names == ["cat", "dog"]
    with pytest.raises(ValueError, match=r"broken.png: not a readable image"):
        start(asked(place, **fields, strict=True), tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_a_search_folder_gives_its_best_and_takes_the_training(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "net.yaml", tmp_path / "best.yaml")
    assert network_of(str(tmp_path)) == load_arch(place / "net.yaml")
    assert default_out(str(tmp_path), "digits") == tmp_path / "train"
    assert find_training(tmp_path) is None
    shutil.copytree(place / "whole", tmp_path / "train")
    found = find_training(tmp_path)
    assert found is not None
    assert found.path == tmp_path / "train"
    with pytest.raises(ValueError, match=r"holds no network"):
        network_of(str(place))


def test_a_hostile_name_stays_in_runs(tmp_path: Path) -> None:
    from dataclasses import replace

    save_arch(replace(load_arch("efficientvit_b0"), name="../../etc/\x1b[2J<b>"), tmp_path / "net.yaml")
    out = default_out(str(tmp_path / "net.yaml"), "folder:/data/../pets")
    assert out.parent == Path("runs")
    assert out.name.isascii()
    assert not set(out.name) & set("/\\<>\x1b")


def test_weights_of_another_network_are_refused_before_anything_is_written(
    place: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    save_weights({"x": torch.zeros(2)}, other)
    with pytest.raises(ValueError, match=r"other.safetensors: these weights are of another network"):
        start(asked(place, weights=str(other)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
