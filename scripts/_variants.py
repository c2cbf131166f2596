"""The networks that published ablations compare, and the parts that published breakdowns time, as Programs.

A network is a name of timm's, or ``name:change`` with a change of `CHANGES`. Parts are the ops of a network
that one segment of a breakdown stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from _timm import deployed

from hvnas.arch import Run, Stage, load_arch
from hvnas.blocks.efficientformerv2 import Attn4D, UnifiedFFN
from hvnas.blocks.metaformer import PoolFormer
from hvnas.ops import Op, Program
from hvnas.ops.trace import trace


@cache
def network(name: str, resolution: int) -> Program:
    """The network of a name at a resolution. Raises KeyError for an unknown change."""
    base, _, change = name.partition(":")
    if change:
        return CHANGES[change](base, resolution)
    try:
        return trace(deployed(base), resolution=resolution)
    except (AssertionError, RuntimeError):  # built for one input size
        return trace(deployed(base, resolution=resolution), resolution=resolution)


def part(program: Program, name: str) -> Program:
    """The deployed ops of `program` that the breakdown's segment `name` stands for."""
    fused = program.fused()
    kept = [i for i, op in enumerate(fused.ops) if PARTS[name](op)]
    ops = tuple(fused.ops[i]._replace(inputs=()) for i in kept)
    return Program(ops, tuple(fused.labels[i] for i in kept), program.resolution)


PARTS: dict[str, Callable[[Op], bool]] = {
    "attention": lambda op: op.kind in ("matmul", "softmax"),
    "reshape": lambda op: op.kind == "relayout",
    "norm": lambda op: op.kind == "norm",
    "patch": lambda op: op.kind == "conv" and max(op.stride) >= 4,
}


def _changed(change: Callable[[Any], None]) -> Callable[[str, int], Program]:
    """timm's network, changed before its branches are merged."""

    def build(name: str, resolution: int) -> Program:
        return trace(deployed(name, change=change), resolution=resolution)

    return build


def _gelu(model: Any) -> None:
    """GELU for every HardSwish."""
    from torch import nn

    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Hardswish):
                setattr(module, name, nn.GELU())


def _no_gates(model: Any) -> None:
    from torch import nn

    for stage in model.stages:
        for block in stage.blocks:
            block.se = nn.Identity()


def _gates_in_every_block(model: Any) -> None:
    from timm.layers import SqueezeExcite

    for stage in model.stages:
        for block in stage.blocks:
            block.se = SqueezeExcite(block.token_mixer.dim, 0.25)


def _plain_downsampling(model: Any) -> None:
    """A strided depthwise and a 1x1 convolution: without the block before them and the FFN after."""
    from torch import nn

    for stage in list(model.stages)[1:]:
        down = stage.downsample
        stage.downsample = nn.Sequential(down.spatial_downsample, down.channel_downsample)


def _mixers(block: Callable[[int], Any]) -> Callable[[str, int], Program]:
    """An EfficientFormer whose 4D blocks are ``block(width)`` instead."""

    def build(name: str, resolution: int) -> Program:
        arch = load_arch(name)
        stages = [
            replace(s, local=replace(s.local, block=block(s.local.width))) if s.local else s
            for s in arch.stages
        ]
        return replace(arch, stages=tuple(stages)).lower()

    return build


def _attending(stride: int | None) -> Callable[[str, int], Program]:
    """EfficientFormerV2 with two attention blocks in the 14x14 stage; with none where `stride` is None."""

    def build(name: str, resolution: int) -> Program:
        arch = load_arch(name)
        stages = (*arch.stages[:2], _stage(arch.stages[2], stride), *arch.stages[3:])
        return replace(arch, stages=stages).lower()

    return build


def _stage(stage: Stage, stride: int | None) -> Stage:
    assert stage.local is not None and stage.global_ is not None
    depth, width = stage.local.depth + stage.global_.depth, stage.local.width
    if stride is None:
        return replace(stage, local=Run(block=UnifiedFFN(out=width), depth=depth), global_=None)
    attention = Run(block=Attn4D(out=width, attn_stride=stride), depth=2)
    return replace(stage, local=Run(block=UnifiedFFN(out=width), depth=depth - 2), global_=attention)


CHANGES: dict[str, Callable[[str, int], Program]] = {
    "gelu": _changed(_gelu),
    "no_gates": _changed(_no_gates),
    "gates_in_every_block": _changed(_gates_in_every_block),
    "plain_downsampling": _changed(_plain_downsampling),
    "depthwise_mixer": _mixers(lambda width: PoolFormer(out=width, mixer="depthwise", norm="none")),
    "unified_ffn": _mixers(lambda width: UnifiedFFN(out=width)),
    "no_attention_at_14": _attending(None),
    "attention_at_14": _attending(1),
    "stride_attention_at_14": _attending(2),
}
