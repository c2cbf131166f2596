"""Hugging Face's folder: read back by hvnas, by timm where it has the network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import hvnas
from hvnas.arch import Arch, load_arch
from hvnas.export import Images, export_huggingface
from hvnas.nn.weights import save_weights

IMAGES = Images(class_names=("ant", "bee", "cat"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def small() -> Arch:
    return load_arch("efficientvit_b0").shrunk().with_(classes=3, resolution=64)


def test_a_network_of_ones_own_leads_back(tmp_path: Path) -> None:
    arch = small()
    torch.manual_seed(0)
    network = hvnas.build(arch).eval()
    save_weights(network.state_dict(), tmp_path / "w.safetensors")
    report = export_huggingface(arch, tmp_path / "net", weights=tmp_path / "w.safetensors", images=IMAGES)
    assert report.error == 0.0
    assert report.timm == "timm does not load it: the network is none of timm's"
    files = sorted(path.name for path in (tmp_path / "net").iterdir())
    assert files == ["README.md", "config.json", "model.py", "model.safetensors"]
    config = json.loads((tmp_path / "net" / "config.json").read_text(encoding="utf-8"))
    assert (config["num_classes"], config["label_names"]) == (3, ["ant", "bee", "cat"])
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.4, 0.3]
    back = hvnas.build(tmp_path / "net")
    assert back.arch.hash == arch.hash
    state = network.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in back.state_dict().items())
    assert "timm does not load it" in (tmp_path / "net" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("mobilevit_xxs", 64),
        pytest.param("efficientvit_b0", 224, marks=pytest.mark.slow),
        pytest.param("mobilevit_xxs", 256, marks=pytest.mark.slow),
        pytest.param("efficientformer_l1", 224, marks=pytest.mark.slow),
        pytest.param("efficientformerv2_s0", 224, marks=pytest.mark.slow),
    ],
)
def test_timm_loads_what_it_has(name: str, side: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    arch = load_arch(name).with_(classes=3, resolution=side)
    report = export_huggingface(arch, tmp_path / "net", images=IMAGES)
    assert report.timm.startswith("timm loads it") and report.error == 0.0
    x = torch.randn(2, 3, arch.resolution, arch.resolution)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    ours = hvnas.build(tmp_path / "net").eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(x), ours(x), atol=1e-5, rtol=1e-4)
    assert theirs.pretrained_cfg["mean"] == [0.5, 0.4, 0.3]
    assert not (tmp_path / "net" / "model.py").exists()


@pytest.mark.parametrize("name", ["poolformer_s12", "efficientformer_l1@32"])
def test_timm_has_another_network_of_that_name(name: str, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model, _, side = name.partition("@")
    arch = load_arch(model).with_(classes=3)
    report = export_huggingface(arch.with_(resolution=int(side)) if side else arch, tmp_path / "net")
    said = "has other tensors" if side else "computes something else"
    assert report.timm.startswith("timm does not load it") and said in report.timm
    assert (tmp_path / "net" / "model.py").is_file() and report.error == 0.0


def test_timm_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    report = export_huggingface(load_arch("mobilevit_xxs").with_(resolution=64), tmp_path / "net")
    assert "timm cannot be asked for its names here (ModuleNotFoundError)" in report.timm
    assert (tmp_path / "net" / "model.py").is_file()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hvnas": None}, "hvnas.arch: is missing"),
        ({"hvnas": {"arch": {}}}, "config.json"),
        ({"names": {"head.fc.weight": "gone"}}, "gone: is missing"),
        ({"names": [1]}, "hvnas.names: must map names to names"),
    ],
)
def test_damaged_folders_are_one_line(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "net"
    export_huggingface(small(), path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    if "names" in change:
        config["hvnas"] |= change
    else:
        config |= change
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"^[^\n]{1,500}$") as caught:
        hvnas.build(path)
    assert said in str(caught.value)
