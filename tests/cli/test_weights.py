"""``hvnas weights import``: what fits is written whole, what does not is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import hvnas as package
from hvnas.arch import list_models, load_arch, save_arch

timm = pytest.importorskip("timm")

NAME = "efficientvit_b0"


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = timm.create_model(NAME).state_dict()
    return state


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convert(hvnas, source: str, *more: object, arch: str = NAME):
    return hvnas("weights", "import", source, "--arch", arch, "--out", "out.safetensors", *more)


def refused(hvnas, source: str, *more: object, arch: str = NAME) -> str:
    """The one line that the import ends in; nothing is written."""
    before = set(Path().iterdir())
    result = convert(hvnas, source, *more, arch=arch)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("hvnas: error: ")
    assert set(Path().iterdir()) == before
    return line


def test_round_trip(hvnas, theirs) -> None:
    save_file(theirs, "timm.safetensors")
    result = convert(hvnas, "timm.safetensors")
    assert result.exit_code == 0
    assert "3.41 M params of efficientvit_b0" in result.stdout
    arch = load_arch(NAME)
    ours = package.build(arch, weights="out.safetensors").eval()
    model = timm.create_model(NAME).eval()
    model.load_state_dict(theirs)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        # timm adds 1e-5 to the attention's denominator, the authors 1e-15
        torch.testing.assert_close(ours(x), model(x), atol=1e-2, rtol=1e-2)
    with safe_open("out.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["arch"] == NAME
    assert metadata["arch_hash"] == arch.hash
    assert (metadata["source"], metadata["source_file"]) == ("timm", "timm.safetensors")
    assert [path.name for path in sorted(Path().iterdir())] == ["out.safetensors", "timm.safetensors"]


@pytest.mark.parametrize("key", ["state_dict", "model", "model_ema"])
def test_pickles_of_tensors_are_read(hvnas, theirs, key: str) -> None:
    """As training scripts leave them: nested, the names prefixed, other things beside."""
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in theirs.items())
    torch.save({"epoch": 3, "lr": [0.1], key: state}, "trained.pth")
    assert convert(hvnas, "trained.pth").exit_code == 0
    written = load_file("out.safetensors")
    assert written.keys() == package.build(load_arch(NAME)).state_dict().keys()
    assert torch.equal(written["stem.conv1.conv.weight"], theirs["stem.in_conv.conv.weight"])


def noisy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["_orig_mod.", "model.", "model._orig_mod.module.", "net.encoder."])
def test_a_prefix_that_all_names_share_is_taken_off(hvnas, theirs, prefix: str) -> None:
    """As under torch.compile, Lightning, data-parallel training, and all of them."""
    save_file(prefixed(prefix, theirs), "w.safetensors")
    assert convert(hvnas, "w.safetensors").exit_code == 0
    torch.save({"state_dict": prefixed(prefix, theirs), "hyper_parameters": {"lr": 0.1}}, "w.ckpt")
    assert convert(hvnas, "w.ckpt").exit_code == 0
    assert torch.equal(
        load_file("out.safetensors")["stem.conv1.conv.weight"], theirs["stem.in_conv.conv.weight"]
    )


@pytest.mark.parametrize(
    "wrap",
    [
        lambda ours, other: {"model": other, "model_ema": {"decay": 0.9999, "module": ours}},
        lambda ours, other: {
            "model": other,
            "ema": {"updates": 3, "ema_state_dict": prefixed("module.", ours)},
        },
        lambda ours, other: {"state_dict": other, "state_dict_ema": ours, "epoch": 1},
        lambda ours, other: {
            "checkpoint": {"net": {"weights": ours}},
            "optimizer": {"state": {0: {"exp_avg": torch.ones(9)}}, "names": other},
            "best": torch.tensor(1.0),
        },
        lambda ours, other: ours | {"note": "written by hand", "epoch": 3, "scheduler": None},
    ],
)
def test_weights_are_found_at_any_depth_averages_first(hvnas, theirs, wrap) -> None:
    torch.save(wrap(theirs, noisy(theirs)), "trained.pth")
    assert convert(hvnas, "trained.pth").exit_code == 0
    first = load_file("out.safetensors")["stem.conv1.conv.weight"]
    assert torch.equal(first, theirs["stem.in_conv.conv.weight"])


def test_the_weights_themselves_can_be_asked_for(hvnas, theirs) -> None:
    torch.save({"model": theirs, "model_ema": {"decay": 0.9, "module": noisy(theirs)}}, "trained.pth")
    assert "model_ema.module" in convert(hvnas, "trained.pth").stdout
    told = json.loads(convert(hvnas, "trained.pth", "--no-ema", "--json").stdout)
    assert told["source_part"] == "model"
    first = load_file("out.safetensors")["stem.conv1.conv.weight"]
    assert torch.equal(first, theirs["stem.in_conv.conv.weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(hvnas, theirs, value: float) -> None:
    name = "stem.in_conv.conv.weight"
    broken = theirs[name].clone()
    broken.view(-1)[3] = value
    save_file(theirs | {name: broken}, "w.safetensors")
    assert f"w.safetensors: '{name}' holds NaN or infinity" in refused(hvnas, "w.safetensors")


def test_half_precision_is_read(hvnas, theirs) -> None:
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in theirs.items()}, "half.pt")
    assert convert(hvnas, "half.pt").exit_code == 0
    package.build(load_arch(NAME), weights="out.safetensors")


def test_facts_as_json(hvnas, theirs) -> None:
    save_file(theirs, "timm.safetensors")
    told = json.loads(convert(hvnas, "timm.safetensors", "--json").stdout)
    assert (told["arch"], told["source"], told["out"]) == (NAME, "timm", "out.safetensors")
    assert told["params"] == load_arch(NAME).lower().params
    assert told["tensors"] == len(load_file("out.safetensors"))


def test_source_is_detected_and_taken(hvnas, theirs) -> None:
    torch.save({f"tensor.{i}": tensor for i, tensor in enumerate(theirs.values())}, "official.pt")
    assert "(official)" in convert(hvnas, "official.pt").stdout
    assert "these weights are of another network" in refused(hvnas, "official.pt", "--source", "timm")


def test_counters_may_be_missing(hvnas, theirs) -> None:
    save_file({k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}, "w.safetensors")
    assert convert(hvnas, "w.safetensors").exit_code == 0
    package.build(load_arch(NAME), weights="out.safetensors")


class Payload:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("made_by_pickle",)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_is_not_run(hvnas, theirs, how: str) -> None:
    data = {"model": theirs, "args": Payload()}
    if how == "torch":
        torch.save(data, "bad.pth")
    else:
        Path("bad.pth").write_bytes(pickle.dumps(data, protocol=2))
    assert "bad.pth: a pickle with code in it" in refused(hvnas, "bad.pth")
    assert not Path("made_by_pickle").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_code(hvnas) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), "script.pt")
    assert "a pickle with code in it" in refused(hvnas, "script.pt")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a safetensors file, nor one of torch.save"),
        (b"PK\x03\x04 no archive", "not a safetensors file, nor one of torch.save"),
        (b"\x80\x02}q\x00.", "not a safetensors file, nor one of torch.save"),
        (None, "no such file"),
    ],
)
def test_files_of_other_kinds(hvnas, data: bytes | None, said: str) -> None:
    if data is not None:
        Path("file.pth").write_bytes(data)
    assert said in refused(hvnas, "file.pth")


@pytest.mark.parametrize("data", [[1, 2], {}, {"state_dict": {"a": 1}}, {3: torch.zeros(1)}])
def test_pickles_without_a_state_dict(hvnas, data: object) -> None:
    torch.save(data, "data.pt")
    line = refused(hvnas, "data.pt")
    assert "holds no state dict" in line or "is not a dense tensor" in line


def test_broken_safetensors(hvnas) -> None:
    Path("w.safetensors").write_bytes(b"\xff" * 100)
    assert "not a readable safetensors file" in refused(hvnas, "w.safetensors")


def test_another_architecture_is_listed(hvnas, theirs) -> None:
    save_file(theirs, "timm.safetensors")
    line = refused(hvnas, "timm.safetensors", arch="efficientvit_b1")
    for word in ("missing: ", "mis-shaped: "):
        assert word in line
    torch.save(timm.create_model("efficientvit_b1").state_dict(), "b1.pt")
    line = refused(hvnas, "b1.pt")
    assert "unexpected: " in line and "mis-shaped: " in line


@pytest.mark.parametrize(
    ("theirs_name", "arch"),
    [
        ("efficientformer_l3", "efficientformer_l1"),
        ("efficientformer_l1", "efficientformerv2_s0"),
        ("mobilevit_xxs", "coatnet_0"),
        ("vit_tiny_patch16_224", "poolformer_s12"),
        ("poolformer_s24", "poolformer_s12"),
        ("vit_tiny_patch16_224", "vit_p_4gf"),
    ],
)
def test_any_other_network_is_listed(hvnas, theirs_name: str, arch: str) -> None:
    save_file(timm.create_model(theirs_name).state_dict(), "w.safetensors")
    assert "w.safetensors: these weights are of another network: " in refused(
        hvnas, "w.safetensors", arch=arch
    )


def test_another_number_of_classes(hvnas) -> None:
    torch.save(timm.create_model(NAME, num_classes=10).state_dict(), "ten.pt")
    line = refused(hvnas, "ten.pt")
    assert "its classifier has 10 classes, the network 1000" in line
    assert convert(hvnas, "ten.pt", "--classes", "10").exit_code == 0
    with pytest.raises(ValueError, match="its classifier has 10 classes, the network 1000"):
        package.build(load_arch(NAME), weights="out.safetensors")
    package.build(load_arch(NAME).with_(classes=10), weights="out.safetensors")


def test_families(hvnas, theirs) -> None:
    save_file(theirs, "timm.safetensors")
    assert "family 'mobileformer'" in refused(hvnas, "timm.safetensors", arch="mobileformer_26m")
    assert "no weights of 'hub'" in refused(hvnas, "timm.safetensors", "--source", "hub")
    arch = load_arch(NAME).with_(classes=1000, resolution=192, name="mine")
    save_arch(arch, "mine.yaml")
    assert "does not say of which family it is" in refused(hvnas, "timm.safetensors", arch="mine.yaml")
    assert convert(hvnas, "timm.safetensors", "--family", "efficientvit", arch="mine.yaml").exit_code == 0


def test_no_folder_to_write_to(hvnas, theirs) -> None:
    save_file(theirs, "timm.safetensors")
    line = hvnas("weights", "import", "timm.safetensors", "--arch", NAME, "--out", "none/out.safetensors")
    assert line.exit_code == 2
    assert "there is no folder none" in line.stderr


def test_a_failed_import_leaves_the_file_that_was_there(hvnas, theirs) -> None:
    save_file(theirs, "timm.safetensors")
    Path("out.safetensors").write_bytes(b"before")
    assert convert(hvnas, "timm.safetensors", arch="efficientvit_b1").exit_code == 2
    assert Path("out.safetensors").read_bytes() == b"before"


def test_help(hvnas) -> None:
    for args in (("weights",), ("weights", "--help")):
        result = hvnas(*args)
        assert result.exit_code == 0
        assert "import" in result.stdout


def test_the_weights_that_the_page_names_are_timms(repo_root: Path) -> None:
    text = (repo_root / "hvnas" / "train" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"https://huggingface\.co/timm/([\w.]+)", text)
    assert len(named) == 5
    for name in named:
        assert timm.get_pretrained_cfg(name).hf_hub_id == f"timm/{name}"
        assert name.partition(".")[0] in list_models()
