"""The folder for plain PyTorch: readable source without hvnas, the same outputs, nothing half there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hvnas
from hvnas.arch import load_arch
from hvnas.export import Images, export_torch
from hvnas.export import torch_folder as torch_module
from hvnas.nn.network import stack
from hvnas.nn.weights import save_weights

HOSTILE = '<script>alert(1)</script>"""\nimport os\n../../x\x1b[31mred\u202e{0}'

# Runs where nothing of hvnas can be imported; prints the largest difference from the outputs given.
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("hvnas", "safetensors", "numpy"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import importlib.util, warnings
warnings.simplefilter("ignore")
import torch
spec = importlib.util.spec_from_file_location("model", sys.argv[1] + "/model.py")
model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(model)
given = torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    print(float((model.load()(given["x"]) - given["y"]).abs().max() / given["y"].abs().max()))
assert "hvnas" not in sys.modules
"""


def small(name: str = "efficientformer_l1") -> hvnas.Arch:
    return load_arch(name).shrunk()


def test_it_runs_where_hvnas_is_not_installed(lively, tmp_path: Path) -> None:
    arch = small()
    network = lively(arch)
    save_weights(network.state_dict(), tmp_path / "w.safetensors")
    report = export_torch(arch, tmp_path / "net", weights=tmp_path / "w.safetensors")
    assert report.error <= torch_module.TOLERANCE
    x = torch.randn(2, 3, arch.resolution, arch.resolution)
    with torch.no_grad():
        torch.save({"x": x, "y": network(x)}, tmp_path / "given.pt")
    command = [sys.executable, "-I", "-c", ALONE, str(tmp_path / "net"), str(tmp_path / "given.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-6


def test_the_folder_leads_back(tmp_path: Path) -> None:
    arch = small()
    export_torch(arch, tmp_path / "net")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]
    assert sorted(p.name for p in (tmp_path / "net").iterdir()) == [
        "config.yaml",
        "model.py",
        "model.safetensors",
    ]
    assert load_arch(tmp_path / "net" / "config.yaml") == arch
    again = hvnas.build(arch, weights=tmp_path / "net" / "model.safetensors")  # our own keys, nothing folded
    with torch_module._imported(tmp_path / "net" / "model.py") as written:
        loaded = written.load()
    assert again.state_dict().keys() == loaded.state_dict().keys()
    assert not loaded.training
    loaded.train()(torch.randn(2, 3, 224, 224)).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_it_imports_torch_only_and_says_what_it_is(tmp_path: Path) -> None:
    images = Images(class_names=("cat", "dog"), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    export_torch(small().with_(classes=2), tmp_path / "net", images=images)
    text = (tmp_path / "net" / "model.py").read_text()
    roots = {
        line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import", "from"))
    }
    assert roots <= {"__future__", "collections", "json", "math", "pathlib", "torch"}
    for line in ('CLASS_NAMES = ("cat", "dog")', "CLASSES = 2", "MEAN = (0.5, 0.5, 0.5)", "RESOLUTION = 224"):
        assert line in text.splitlines()
    assert "class MB4DModule(nn.Module):" in text
    assert "local=nn.Sequential(*(MB4DModule(" in text
    assert max(map(len, text.splitlines())) <= 112


@pytest.mark.parametrize("where", ["name", "class"])
def test_hostile_names_stay_text(where: str, tmp_path: Path) -> None:
    arch = small().with_(classes=2, name=HOSTILE if where == "name" else "fine")
    names = ("a", HOSTILE) if where == "class" else ("a", "b")
    images = Images(class_names=names, mean=(0.5,) * 3, std=(0.2,) * 3)
    export_torch(arch, tmp_path / "net", images=images)
    text = (tmp_path / "net" / "model.py").read_text()
    assert text.isascii() and "\x1b" not in text
    assert "import os" not in text.splitlines()
    with torch_module._imported(tmp_path / "net" / "model.py") as written:
        shown = written.NAME if where == "name" else written.CLASS_NAMES[1]
    assert shown.startswith('<script>alert(1)</script>""" import os ../../xred')
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]


def test_a_truncated_file_is_refused_by_both(tmp_path: Path) -> None:
    arch = small()
    export_torch(arch, tmp_path / "net")
    path = tmp_path / "net" / "model.safetensors"
    whole = path.read_bytes()
    with torch_module._imported(tmp_path / "net" / "model.py") as written:
        for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises(ValueError, match="not a complete safetensors file"):
                written.load()
            with pytest.raises(ValueError, match="not a readable safetensors file"):
                export_torch(arch, tmp_path / "other", weights=path)
    assert not (tmp_path / "other").exists()


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    torch.save({"weight": Bomb(tmp_path / "run")}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"w\.pt: not a readable safetensors file"):
        export_torch(small(), tmp_path / "net", weights=tmp_path / "w.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.pt"]


def test_a_folder_of_something_else_stays(tmp_path: Path) -> None:
    arch = small()
    export_torch(arch, tmp_path / "net")
    export_torch(arch.with_(name="again"), tmp_path / "net")
    assert load_arch(tmp_path / "net" / "config.yaml").name == "again"
    (tmp_path / "net" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="a folder of something else is there"):
        export_torch(arch, tmp_path / "net")
    (tmp_path / "link").symlink_to(tmp_path / "net")
    for path in (tmp_path / "link", tmp_path / "net" / "notes.txt", tmp_path / "none" / "x"):
        with pytest.raises(ValueError, match=r"choose another|create it"):
            export_torch(arch, path)
    assert (tmp_path / "net" / "notes.txt").read_text() == "mine"


def test_nothing_is_left_where_the_outputs_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_module, "_error", lambda path, graph: 1e-3)
    with pytest.raises(ValueError, match=r"differ from the network's by 1\.0e-03"):
        export_torch(small(), tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_any_module_by_its_inputs(tmp_path: Path) -> None:
    block = next(block for label, block, _ in load_arch("vit_c_1gf").states() if "global" in label)
    state = next(state for label, _, state in load_arch("vit_c_1gf").states() if "global" in label)
    two = stack(block, state, depth=2)
    report = export_torch(two, tmp_path / "net", inputs=two.inputs)
    assert report.error == 0.0
    assert not (tmp_path / "net" / "config.yaml").exists()
    assert json.loads(json.dumps(report.inputs)) == {"tokens": [1, *state.tokens]}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_preprocess_reads_images_as_in_training(mode: str, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    from hvnas.train.data.images import decode

    images = Images(class_names=tuple("abcdefghij"), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    arch = small("vit_c_1gf").with_(resolution=64)
    export_torch(arch, tmp_path / "net", images=images)
    noise = np.random.default_rng(0).integers(0, 256, (80, 101, 4), dtype=np.uint8)
    Image.fromarray(noise).convert("RGB" if mode == "P" else mode).convert(mode).save(tmp_path / "a.png")
    with torch_module._imported(tmp_path / "net" / "model.py") as model:
        found = model.preprocess(str(tmp_path / "a.png"))
        again = model.preprocess(Image.open(tmp_path / "a.png"))
    pixels = torch.from_numpy(decode(tmp_path / "a.png", 64)).float() / 255.0
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (images.mean, images.std))
    assert torch.equal(found, ((pixels - mean) / std)[None]) and torch.equal(found, again)
