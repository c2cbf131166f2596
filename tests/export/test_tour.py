"""The tour of the page on exports, command by command on small data, and what its training's card says."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hvnas.cli.app import app

PAGE = Path(__file__).parents[2] / "hvnas" / "export" / "README.md"
ELSEWHERE = ".venv-litert/bin/"
NEEDED = {"coreml": "coremltools", "onnx": "onnxscript", "tflite": "ai_edge_litert"}
# The same commands on fewer and smaller images.
SMALLER = {"hf:uoft-cs/cifar10": "digits", "5000": "96", "1000": "60"}
LESS = {"search": ["--evals", "1000"], "train": ["--epochs", "1"]}


def tour() -> list[list[str]]:
    """The words of each command, without what it is run by."""
    text = PAGE.read_text(encoding="utf-8").partition("<!-- tour -->")[2].partition("<!-- /tour -->")[0]
    lines = [line for line in text.splitlines() if line and not line.startswith("```")]
    assert all(line.removeprefix(ELSEWHERE).startswith("hvnas ") for line in lines)
    # What LiteRT makes or runs is done in its environment.
    assert all(line.startswith(ELSEWHERE) == ("tflite" in line) for line in lines)
    return [shlex.split(line)[1:] for line in lines]


def needed(words: list[str]) -> list[str]:
    """The packages without which a command is left out."""
    return [package for kind, package in NEEDED.items() if any(kind in word for word in words)]


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def told(*words: object) -> Any:
    return json.loads(run(*words, "--json").stdout)


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tour was made, once, with what each command printed in ``said.json``."""
    pytest.importorskip("sklearn")
    from PIL import Image

    place = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        Image.new("RGB", (80, 60), (200, 180, 40)).save("photo.jpg")
        said = {}
        for words in tour():
            if all(find_spec(package) is not None for package in needed(words)):
                smaller = [SMALLER.get(word, word) for word in words]
                result = run(*smaller, *LESS.get(words[0], []))
                assert result.exit_code == 0, (words, result.output)
                said[" ".join(words)] = result.stdout
        (place / "said.json").write_text(json.dumps(said), encoding="utf-8")
    return place


@pytest.mark.slow
def test_the_tour_leads_from_a_budget_to_files(toured: Path) -> None:
    made = {path.name for path in (toured / "runs" / "photos").iterdir()}
    wanted = {"best.yaml", "train", "report.html", "model.onnx", "int8.onnx", "model.mlpackage"}
    wanted |= {"model.tflite", "int8.tflite"}
    there = {name for name in wanted if all(find_spec(each) for each in needed([_kind(name)]))}
    assert there <= made
    said = json.loads((toured / "said.json").read_text(encoding="utf-8"))
    for line, text in said.items():
        if line.startswith("predict"):
            assert len(re.findall(r"photo\.jpg +\d", text)) == 5


def _kind(name: str) -> str:
    return name.replace("mlpackage", "coreml")


@pytest.mark.slow
def test_the_card_says_what_the_files_give(toured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toured)
    card = Path("runs/photos/train/README.md").read_text(encoding="utf-8")
    facts = dict(re.findall(r"^\| ([\w ,-]+) \| (.*) \|$", card, re.MULTILINE))
    scored = told("evaluate", "runs/photos")
    assert facts["top-1"].startswith(f"{scored['top1']:.2f} (")
    assert facts["top-5"].startswith(f"{scored['top5']:.2f} (")
    assert facts["cross-entropy"] == f"{scored['loss']:.4f}"
    assert re.fullmatch(rf"96 training, \d+ validation, {scored['images']} test", facts["images"])
    assert facts["params"] == f"{scored['params'] / 1e6:.2f} M"
    assert facts["MACs"] == f"{scored['macs'] / 1e9:.3f} G at {scored['resolution']} px"
    predicted = told("latency", "predict", "--device", "iphone12", "--arch", "runs/photos/train/arch.yaml")
    latency = predicted["latency"]["iphone12"]
    assert facts["latency"].startswith(f"{latency['ms']:.3f} ms predicted on iphone12 ")
    assert f"5–95 %: {latency['low']:.3f}–{latency['high']:.3f} ms" in facts["latency"]
    assert f"{scored['latency']['latency_ms']:.3f}" == f"{latency['ms']:.3f}"
