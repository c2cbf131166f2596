"""Source written for modules of one's own: what can be written is the same module, the rest is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hvnas.export import export_torch
from hvnas.export import torch_folder as torch_module

SLOPE = 0.25
PAIRS = {"a": torch.float32}


def shifted(x: Tensor) -> Tensor:
    return x + SLOPE


class Inner(nn.Module):
    """Scales."""

    def __init__(self, channels: int, *, twice: bool) -> None:
        super().__init__()
        self.twice = twice
        self.unused = object()
        self.weight = nn.Parameter(torch.randn(channels))
        self.register_buffer("offset", torch.randn(channels, 1))
        self.conv = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=twice)

    @property
    def factor(self) -> float:
        return 2.0 if self.twice else 1.0

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return shifted(self.conv(x_BCHW) * self.weight.view(-1, 1, 1)) * self.factor + self.offset[:, None]


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Inner(4, twice=i > 0) for i in range(3))
        self.named = nn.Sequential()
        self.named.add_module("act", nn.LeakyReLU(0.3))
        self.last = nn.ModuleDict({"a": nn.Identity()})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.last["a"](self.named(x))


def written(module: nn.Module, tmp_path: Path) -> str:
    export_torch(module, tmp_path / "net", inputs={"x": (2, 4, 5, 5)})
    return (tmp_path / "net" / "model.py").read_text()


def test_constructors_take_what_differs(tmp_path: Path) -> None:
    text = written(Outer(), tmp_path)
    assert "def __init__(self, twice: bool, bias: bool = True) -> None:" in text
    assert "self.blocks = nn.ModuleList([" in text
    assert "*(Inner(twice=True) for _ in range(2))" in text
    assert "Inner(twice=False, bias=False)" in text
    assert "self.conv = nn.Conv2d(4, 4, (3, 1), padding=(1, 0), bias=bias)" in text
    assert "SLOPE = 0.25" in text and "unused" not in text
    assert text.rstrip().count("Network = Outer") == 1


class Nests(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.inner = Nests(depth - 1) if depth else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


class Shares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 4, 1)
        self.b = self.a

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


class ReadsAnObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = PAIRS

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.table["a"])


class NeedsMore(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * len(pytest.__version__)


class Named(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        self.layers.add_module(name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Texts(nn.Module):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def forward(self, x: Tensor) -> Tensor:
        return x * len(self.text)


class load(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Nests(2), "they contain each other"),
        (Shares(), "stands in two places"),
        (ReadsAnObject(), "reads table, a dict"),
        (NeedsMore(), "needs pytest, of pytest, and only torch may be imported"),
        (Named('x"); import os #'), "is not a valid name"),
        (Named("class"), "is not a valid name"),
        (load(), "would be called load"),
        (nn.Conv2d(4, 4, 1), "its own class is torch's"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_written_is_refused(module: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        written(module, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["'", '"', "'\"", '"""', "\\", "\n", "{x}", "\x1b[0m", "\u202e", "\ud800"])
def test_text_stays_text(text: str, tmp_path: Path) -> None:
    source = written(Texts(text * 2), tmp_path)
    assert source.isascii()
    with torch_module._imported(tmp_path / "net" / "model.py") as module:
        assert module.load().text == text * 2


def test_classes_without_a_file_are_named(tmp_path: Path) -> None:
    space: dict[str, object] = {"nn": nn, "__name__": "nowhere"}
    exec("class Typed(nn.Module):\n    def forward(self, x):\n        return x\n", space)
    with pytest.raises(ValueError, match=r"Typed.* define it in a \.py file"):
        written(space["Typed"](), tmp_path)  # type: ignore[operator]


def test_source_does_not_run_what_it_is_not(tmp_path: Path) -> None:
    written(Texts(f"{os.sep}__import__('os').system('touch {tmp_path}/run')"), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net"]
