"""Programs of the user's own modules, and the one line for each way in which they fail."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hvnas.ops.factory import module_program
from hvnas.ops.trace import trace

NET = """
import torch
from torch import nn

def tiny():
    print("a word")
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )

class Wrapped(nn.Module):
    img_size = (48, 48)
    def __init__(self):
        super().__init__()
        self.model = tiny()
    def forward(self, x):
        return self.model(x)

class Values(nn.Module):
    '''Cannot be built on the meta device.'''
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, int(torch.ones(1).sum().item()) * 4, 3)
    def forward(self, x):
        return self.conv(x)

class Wrong(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3)
    def forward(self, x):
        return self.conv(x)

def with_config():
    model = tiny()
    model.pretrained_cfg = {"input_size": (3, 56, 56)}
    return model

def wide():
    model = tiny()
    model.image_size = (32, 64)
    return model

def needs(size):
    return tiny()

def fails():
    raise RuntimeError("no weights here\\nand more")

def number():
    return 3

def leaves():
    raise SystemExit(4)

made = tiny()
constant = 3
"""
_NUMBERS = itertools.count()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of a fresh name into the current folder; gives the name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write(text: str) -> str:
        name = f"users_net_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


def refusal(spec: str, resolution: int | None = 32) -> str:
    with pytest.raises(ValueError) as caught:
        module_program(spec, resolution=resolution)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_factory_is_traced(package, capsys: pytest.CaptureFixture[str]) -> None:
    name = package(NET)
    program = module_program(f"{name}:tiny", resolution=32)
    module = sys.modules[name]
    assert program == trace(module.tiny(), resolution=32)
    assert program.params == 3 * 8 * 9 + 8 + 16 + 8 * 10 + 10


def test_what_the_code_prints_is_not_output(package, capsys: pytest.CaptureFixture[str]) -> None:
    module_program(f"{package(NET)}:tiny", resolution=32)
    out, err = capsys.readouterr()
    assert out == "" and "a word" in err


def test_a_module_and_a_class_will_do(package) -> None:
    name = package(NET)
    made = module_program(f"{name}:made", resolution=32)
    assert made == module_program(f"{name}:Wrapped", resolution=32)


def test_a_shared_prefix_is_no_stage(package) -> None:
    name = package(NET)
    wrapped, bare = (module_program(f"{name}:{n}", resolution=32).labels for n in ("Wrapped", "tiny"))
    assert wrapped == bare and set(bare) == {"0", "1", "2", "3", "5"}


def test_built_on_the_cpu_where_meta_will_not_do(package) -> None:
    assert module_program(f"{package(NET)}:Values", resolution=32).params == 3 * 4 * 9 + 4


@pytest.mark.parametrize(("factory", "resolution"), [("Wrapped", 48), ("with_config", 56)])
def test_its_own_resolution(package, factory: str, resolution: int) -> None:
    name = package(NET)
    assert module_program(f"{name}:{factory}").resolution == resolution
    assert module_program(f"{name}:{factory}", resolution=64).resolution == 64


@pytest.mark.parametrize("factory", ["tiny", "wide"])
def test_no_resolution(package, factory: str) -> None:
    assert "does not say what input it takes; give a resolution" in refusal(f"{package(NET)}:{factory}", None)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("nothing", "has no 'nothing'; check the name"),
        ("needs", "calling it without arguments failed: TypeError"),
        ("fails", "calling it without arguments failed: RuntimeError: no weights here ("),
        ("number", "returned int; it must return a torch.nn.Module"),
        ("leaves", "calling it without arguments failed: SystemExit: 4"),
        ("constant", "is of type int, not a function"),
        ("Wrong", "cannot be traced at 32×32: RuntimeError"),
    ],
)
def test_faults_of_the_code_are_one_line(package, factory: str, says: str) -> None:
    spec = f"{package(NET)}:{factory}"
    message = refusal(spec)
    assert message.startswith(f"{spec}: ") and says in message


def test_the_place_of_a_fault_is_named(package) -> None:
    name = package(NET)
    assert f"{name}.py, line {NET.splitlines().index('def fails():') + 2})" in refusal(f"{name}:fails")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0", "importing {name} failed: ZeroDivisionError: division by zero ("),
        ("def x(:", "importing {name} failed: SyntaxError: invalid syntax ("),
        ("import no_such_package_here", "No module named 'no_such_package_here'"),
        ("raise SystemExit(3)", "importing {name} failed: SystemExit: 3"),
    ],
)
def test_faults_on_import(package, text: str, says: str) -> None:
    name = package(text)
    assert says.format(name=name) in refusal(f"{name}:x")


@pytest.mark.parametrize("spec", ["net", ":make", "net:", ""])
def test_names_that_are_none(spec: str) -> None:
    assert "name a factory as package.module:factory" in refusal(spec)


def test_no_such_module(package) -> None:
    assert "No module named 'surely_absent'" in refusal("surely_absent:net")


@pytest.mark.parametrize("resolution", [0, -1, 5000])
def test_resolutions_that_are_none(package, resolution: int) -> None:
    assert "resolution must be 1 to 4096" in refusal(f"{package(NET)}:tiny", resolution)
