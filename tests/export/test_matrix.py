"""Every fixed point, made small, in the formats that run here. The quick ones hold every type of block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hvnas.arch import Arch, list_models, load_arch, save_arch
from hvnas.export import export_onnx, export_torch
from hvnas.export import onnx as onnx_module
from hvnas.export import torch_folder as torch_module

SMALL = {name: load_arch(name).shrunk() for name in list_models()}


def types(name: str) -> frozenset[str]:
    return frozenset(block.type for _, block in SMALL[name].parts())


def distinct() -> dict[frozenset[str], str]:
    """The fixed point of fewest ops for each set of blocks."""
    by_ops = sorted(SMALL, key=lambda name: (len(SMALL[name].lower().ops), name), reverse=True)
    return {types(name): name for name in by_ops}


def covering() -> tuple[str, ...]:
    """Few fixed points that hold every type of block, those with the most that is new first."""
    sets, chosen, missing = distinct(), [], frozenset().union(*distinct())
    while missing:
        best = max(sorted(sets, key=sorted), key=lambda kinds: len(kinds & missing))
        chosen.append(sets[best])
        missing -= best
    return tuple(chosen)


def kinds(arch: Arch) -> set[tuple[str, int | None]]:
    """Types of block with their strides."""
    return {(block.type, getattr(block, "stride", None)) for _, block in arch.parts()}


def few_stages(arch: Arch) -> Arch:
    """`arch` without the stages that hold no block, or stride of one, which the others lack."""
    at = 0
    while at < len(arch.stages):
        without = replace(arch, stages=arch.stages[:at] + arch.stages[at + 1 :])
        if kinds(without) == kinds(arch):
            arch = without
        else:
            at += 1
    return arch


def split(quick: set[str]) -> list[object]:
    """All fixed points; those that are not `quick` are marked slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]


def test_the_quick_ones_hold_every_block() -> None:
    everything = frozenset().union(*map(types, SMALL))
    assert frozenset().union(*map(types, covering())) == everything
    assert len(covering()) <= 9 <= len(distinct())
    assert all(kinds(few_stages(SMALL[name])) == kinds(SMALL[name]) for name in covering())


@pytest.mark.parametrize("name", split(set(distinct().values())))
def test_torch(name: str, lively, tmp_path: Path) -> None:
    arch = SMALL[name]
    report = export_torch(lively(arch), tmp_path / "net")
    assert report.error <= torch_module.TOLERANCE
    assert report.outputs == {"logits": (1, arch.head.out)}
    assert load_arch(tmp_path / "net" / torch_module.CONFIG) == arch


@pytest.mark.parametrize("arch", SMALL.values(), ids=list(SMALL))
def test_yaml(arch: Arch, tmp_path: Path) -> None:
    save_arch(arch, tmp_path / "net.yaml")
    assert load_arch(tmp_path / "net.yaml") == arch


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_onnx(name: str, need, lively, tmp_path: Path) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    report = export_onnx(lively(SMALL[name]), tmp_path / "net.onnx")
    assert report.error is not None and report.error <= onnx_module.TOLERANCE


@pytest.mark.parametrize("name", covering())
def test_onnx_of_every_block(name: str, need, lively, tmp_path: Path) -> None:
    need("onnx", "onnxscript", "onnxruntime")
    report = export_onnx(lively(few_stages(SMALL[name])), tmp_path / "net.onnx")
    assert report.error is not None and report.error <= onnx_module.TOLERANCE
