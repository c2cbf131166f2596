"""The example of a block of one's own: short, shown in the blocks' README, and like any other block."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

import hvnas.blocks.base as registry
import hvnas.nn.base as modules
from hvnas.export import export_torch
from hvnas.testing.blocks import BlockConformance

EXAMPLE = Path(__file__).with_name("own_block.py")


@pytest.fixture(scope="module", autouse=True)
def example() -> Iterator[ModuleType]:
    """The example, which has run; its block is forgotten afterwards."""
    spec = spec_from_file_location("own_block", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "own_block", module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
    del modules._MODULES[registry._BLOCKS.pop("convnext")]


class TestConvNeXt(BlockConformance):
    name = "convnext"


def test_it_is_exported(example: ModuleType, tmp_path: Path) -> None:
    assert export_torch(example.best.arch, tmp_path / "net").error <= 1e-6
    assert "class ConvNeXtModule(nn.Sequential):" in (tmp_path / "net" / "model.py").read_text()


def test_it_is_short_and_in_the_readme(repo_root: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count("\n") < 60
    assert f"```python\n{text}```" in (repo_root / "hvnas" / "blocks" / "README.md").read_text(
        encoding="utf-8"
    )
