"""``hvnas export``: models, files and runs, and what may not pass."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from hvnas.arch import Arch, load_arch, save_arch
from hvnas.train.folder import TrainFolder, TrainRun

HOSTILE = "<script>\x1b[31m../../evil\u202e"


@pytest.fixture(scope="module")
def small() -> Arch:
    return load_arch("vit_c_1gf").shrunk().with_(classes=3, resolution=64, name="small")


@pytest.fixture
def search_run(small: Arch, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "archs").mkdir(parents=True)
    save_arch(small.with_(name="best"), folder / "best.yaml")
    save_arch(small.with_(name="other"), folder / "archs" / "other.yaml")
    return folder


def train(folder: Path, arch: Arch, *, class_names: list[str]) -> None:
    """What a training leaves behind in `folder`."""
    import hvnas
    from hvnas.nn.weights import save_weights

    blank = {"str": "", "int": 0, "bool": False, "dict[str, typing.Any]": {}, "dict[str, str]": {}}
    hints = get_type_hints(TrainRun)
    values = {f.name: blank.get(getattr(hints[f.name], "__name__", "")) for f in fields(TrainRun)}
    values |= {name: {} for name, hint in hints.items() if str(hint).startswith("dict")}
    values |= {
        "arch_hash": arch.hash,
        "resolution": arch.resolution,
        "classes": arch.head.out,
        "class_names": class_names,
        "mean": [0.25, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "strict": False,
        "command": [],
    }
    TrainFolder(folder).begin(TrainRun(**values), arch)
    save_weights(hvnas.build(arch).state_dict(), folder / "model.safetensors")


def test_a_search_gives_its_best(hvnas, search_run: Path) -> None:
    result = hvnas("export", search_run, "--format", "yaml")
    assert result.exit_code == 0
    assert load_arch(search_run / "model.yaml").name == "best"
    result = hvnas(
        "export", search_run / "archs" / "other.yaml", "--format", "yaml", "--out", search_run / "o.yaml"
    )
    assert (
        result.output == f"{search_run / 'o.yaml'}: other, {(search_run / 'o.yaml').stat().st_size:,} bytes\n"
    )


def test_a_training_gives_its_weights(hvnas, search_run: Path, small: Arch) -> None:
    train(search_run / "train", small.with_(name=HOSTILE), class_names=["cat", HOSTILE, "cow"])
    result = hvnas("export", search_run, "--format", "torch", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["weights"] == str(search_run / "train" / "model.safetensors")
    assert facts["error"] == 0.0
    folder = search_run / "model_torch"
    text = (folder / "model.py").read_text()
    assert text.isascii() and 'CLASS_NAMES = ("cat", "<script>../../evil ", "cow")' in text
    assert "MEAN = (0.25, 0.5, 0.5)" in text
    again = hvnas("export", search_run, "--format", "torch")
    assert again.exit_code == 2 and "is there already; choose another --out, or overwrite" in again.stderr
    shown = hvnas("export", search_run, "--format", "torch", "--force")
    assert shown.exit_code == 0 and "\x1b" not in shown.output and "\u202e" not in shown.output
    assert sorted(p.name for p in search_run.parent.iterdir()) == ["run"]
    assert sorted(p.name for p in search_run.iterdir()) == ["archs", "best.yaml", "model_torch", "train"]


def test_onnx_of_a_training_says_its_classes(hvnas, need_onnx, tmp_path: Path, small: Arch) -> None:
    import onnx

    train(tmp_path / "t", small, class_names=["a", "b", "c"])
    result = hvnas("export", tmp_path / "t", "--format", "onnx")
    assert result.exit_code == 0, result.output
    assert "checked  outputs differ from torch's by " in result.output
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "t" / "model.onnx").metadata_props}
    assert json.loads(facts["hvnas.class_names"]) == ["a", "b", "c"]
    assert facts["hvnas.classes"] == "3"


@pytest.fixture
def need_onnx() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


def test_random_weights_are_said_to_be(hvnas, tmp_path: Path, small: Arch) -> None:
    from hvnas.nn.weights import read_safetensors

    save_arch(small, tmp_path / "net.yaml")
    outputs = []
    for name in ("a", "b"):
        result = hvnas("export", tmp_path / "net.yaml", "--format", "torch", "--out", tmp_path / name)
        assert "weights  random: none were given" in result.output
        outputs.append(read_safetensors(tmp_path / name / "model.safetensors"))
    first, second = outputs
    assert first.keys() == second.keys() and all(first[key].equal(second[key]) for key in first)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("unfinished", "the training is not finished"),
        ("link", "is a link out of"),
        ("truncated", "not a readable safetensors file"),
        ("nothing", "holds neither best.yaml nor a training"),
    ],
)
def test_runs_that_do_not_hold_what_they_should(
    hvnas, prepare: str, message: str, search_run: Path, small: Arch, tmp_path: Path
) -> None:
    weights = search_run / "train" / "model.safetensors"
    train(search_run / "train", small, class_names=["a", "b", "c"])
    if prepare == "unfinished":
        weights.unlink()
    elif prepare == "link":
        weights.rename(tmp_path / "elsewhere.safetensors")
        weights.symlink_to(tmp_path / "elsewhere.safetensors")
    elif prepare == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    where = search_run / "archs" if prepare == "nothing" else search_run
    result = hvnas("export", where, "--format", "torch")
    assert result.exit_code == 2
    assert result.stderr.startswith("hvnas: error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (search_run / "model_torch").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "onnx", "--out", "net.txt"], "the name must end in .onnx"),
        (["--format", "yaml", "--out", "none/net.yaml"], "there is no folder none"),
        (["--format", "yaml", "--out", "net.yaml"], "is the input file"),
        (["--format", "torch", "--pixels", "image"], "is for --format coreml"),
        (["--format", "torch", "--weights", "net.yaml"], "not a readable safetensors file"),
        (["--format", "torch", "--out", ".."], "give one"),
        (["--format", "tensorrt"], "tensorrt"),
        (["--format", "torch", "--batch", "2"], "--batch is for --format onnx"),
        (["--format", "onnx", "--opset", "7"], "opset: must be a whole number from 18 to 23"),
        (["--format", "onnx", "--logits"], "--logits is for --format coreml"),
        (["--format", "onnx", "--precision", "float16"], "has no float16; choose from float32, int8"),
        (
            ["--format", "onnx", "--precision", "int8"],
            "needs images to calibrate small on; name them: --data",
        ),
        (["--format", "onnx", "--data", "digits"], "are for --precision int8"),
        (["--format", "onnx", "--batch", "1000000000"], "is more than fits in memory; choose fewer images"),
        (["--format", "onnx", "--palette", "4"], "--palette is for --format coreml, not onnx"),
        (["--format", "coreml", "--palette", "3"], "--palette: must be 2, 4, 6 or 8 bits, got 3"),
    ],
)
def test_bad_options_are_told_in_one_line(
    hvnas, options: list[str], message: str, tmp_path: Path, small: Arch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_arch(small, "net.yaml")
    result = hvnas("export", "net.yaml", *options)
    assert result.exit_code == 2
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["net.yaml"]


def test_the_batch_of_onnx_is_free_unless_asked_otherwise(
    hvnas, need_onnx: None, small: Arch, tmp_path: Path
) -> None:
    import numpy as np
    import onnxruntime

    save_arch(small, tmp_path / "net.yaml")
    free, fixed = tmp_path / "free.onnx", tmp_path / "fixed.onnx"
    result = hvnas("export", tmp_path / "net.yaml", "--format", "onnx", "--out", free)
    assert result.exit_code == 0, result.output
    assert "input    image any×3×64×64" in result.output
    options = ("--batch", 3, "--opset", 18, "--json", "--out", fixed)
    facts = json.loads(hvnas("export", tmp_path / "net.yaml", "--format", "onnx", *options).output)
    assert (facts["opset"], facts["inputs"]["image"]) == (18, [3, 3, 64, 64])
    x = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    outputs = []
    for path in (free, fixed):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"image": x})[0])
        if path == free:
            singles = [session.run(None, {"image": x[i : i + 1]})[0] for i in range(3)]
            np.testing.assert_allclose(np.concatenate(singles), outputs[0], atol=1e-5)
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


def test_a_training_is_handed_on_with_its_card(hvnas, small: Arch, tmp_path: Path) -> None:
    run = tmp_path / "t"
    train(run, small, class_names=["a", "b", "c"])
    (run / "card").mkdir()
    (run / "card" / "curves.svg").write_text("<svg/>", encoding="utf-8")
    text = "---\nx: 1\n---\n\n# net\n\n## On the test images\n\n| top-1 | 90.00 |\n| file | arch.yaml |\n"
    (run / "README.md").write_text(text, encoding="utf-8")
    result = hvnas("export", run, "--format", "huggingface")
    assert result.exit_code == 0, result.output
    assert "timm     timm does not load it" in result.output
    folder = run / "model_huggingface"
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "card", "config.json", "model.py", "model.safetensors"}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.index("## Use") < card.index("| top-1 | 90.00 |") and "arch.yaml" not in card
