"""build(arch): the whole network as plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.nn.base import build_block, init_weights
from hvnas.nn.features import FeatureNetwork


class StageModule(nn.Module):
    """A downsample, a local run and a global run."""

    def __init__(self) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        self.local = nn.Sequential()
        self.global_ = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        return self.global_(self.local(self.downsample(x)))


class Network(nn.Module):
    """A network built from an Arch: ``[B, 3, R, R]`` to logits ``[B, classes]``."""

    def __init__(self, arch: Arch, *, drop_path: float = 0.0) -> None:
        super().__init__()
        self.arch = arch
        self.stem: nn.Module
        self.tokens: nn.Module = nn.Identity()
        self.head: nn.Module
        self.stages: nn.Sequential
        stages = [StageModule() for _ in arch.stages]
        depth = sum(run.depth for stage in arch.stages for _, run in stage.runs)
        position = 0
        for label, block, state in arch.states():
            if label == "head":
                self.stages = nn.Sequential(*stages)
            in_run = ".local." in label or ".global." in label
            rate = drop_path * position / max(1, depth - 1) if in_run else 0.0
            position += in_run
            self._place(stages, label, build_block(block, state, drop_path=rate))
        init_weights(self)

    def _place(self, stages: list[StageModule], label: str, module: nn.Module) -> None:
        if not label.startswith("stages."):
            self.add_module(label, module)
            return
        _, index, part, *_ = label.split(".")
        stage = stages[int(index)]
        if part == "downsample":
            stage.downsample = module
        else:
            run = stage.local if part == "local" else stage.global_
            run.append(module)

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """What the head is given: the last stage's map or tokens, or both as a pair."""
        return self.stages(self.tokens(self.stem(x_BCHW)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.forward_features(x_BCHW))


@overload
def build(
    arch: Arch,
    *,
    weights: str | Path | None = None,
    drop_path: float = 0.0,
    features_only: Literal[False] = False,
) -> Network: ...


@overload
def build(
    arch: Arch,
    *,
    weights: str | Path | None = None,
    drop_path: float = 0.0,
    features_only: Literal[True],
) -> FeatureNetwork: ...


def build(
    arch: Arch,
    *,
    weights: str | Path | None = None,
    drop_path: float = 0.0,
    features_only: bool = False,
) -> Network | FeatureNetwork:
    """The torch module of `arch`, weights initialised or read from a safetensors file.

    `drop_path` is the rate of the last block; it grows linearly from 0 over the blocks. With
    `features_only` the module returns the maps at strides 4 to 32 instead of logits, and weights of the
    head are not read. Raises ValueError naming the part that cannot be built, or how the file differs
    from the network.
    """
    network = Network(arch, drop_path=drop_path)
    model: Network | FeatureNetwork = network
    if features_only:
        model = FeatureNetwork(arch, stem=network.stem, tokens=network.tokens, stages=network.stages)
    if weights is not None:
        from hvnas.nn.weights import load_weights

        load_weights(model, weights)
    return model


def build_on_meta(arch: Arch) -> Network:
    """The module without memory for its weights: for tracing and counting."""
    with torch.device("meta"):
        return Network(arch)
