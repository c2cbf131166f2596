"""build(arch): the whole network as plain torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, overload

import torch
from torch import Tensor, nn

from hvnas.arch import Arch, load_arch
from hvnas.arch.resize import resized
from hvnas.nn.base import build_block, init_weights
from hvnas.nn.features import FeatureNetwork
from hvnas.nn.images import check_images


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
    """A network built from an Arch: ``[B, 3, R, R]`` to logits ``[B, classes]``.

    Calling it with images that it does not take raises ValueError; see `hvnas.nn.images`.
    """

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
        self.register_forward_pre_hook(check_images)

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
    arch: Arch | str | Path,
    *,
    classes: int | None = None,
    resolution: int | None = None,
    weights: str | Path | None = None,
    drop_path: float = 0.0,
    features_only: Literal[False] = False,
) -> Network: ...


@overload
def build(
    arch: Arch | str | Path,
    *,
    classes: int | None = None,
    resolution: int | None = None,
    weights: str | Path | None = None,
    drop_path: float = 0.0,
    features_only: Literal[True],
) -> FeatureNetwork: ...


def build(
    arch: Arch | str | Path,
    *,
    classes: int | None = None,
    resolution: int | None = None,
    weights: str | Path | None = None,
    drop_path: float = 0.0,
    features_only: bool = False,
) -> Network | FeatureNetwork:
    """Build the torch module of a network: images ``[B, 3, R, R]`` to logits ``[B, classes]``.

    Args:
        arch: an Arch, the name of a model (`hvnas.list_models`), or the path of a YAML file.
        classes: the classes of the head; None: those of `arch`.
        resolution: R, the side of the images in pixels; None: that of `arch`.
        weights: a safetensors file; None: the weights are initialised.
        drop_path: the stochastic depth rate of the last block; it grows linearly from 0 over the blocks.
        features_only: return the maps at strides 4 to 32 instead of logits; weights of the head are not read.

    Raises:
        ValueError: an unknown model or a bad file; `classes` or `resolution` out of limits, or a resolution
            that the network cannot be built for; a part that cannot be built; weights of another network.
    """
    arch = _chosen(arch, classes, resolution)
    network = Network(arch, drop_path=drop_path)
    model: Network | FeatureNetwork = network
    if features_only:
        model = FeatureNetwork(arch, stem=network.stem, tokens=network.tokens, stages=network.stages)
    if weights is not None:
        from hvnas.nn.weights import load_weights

        load_weights(model, weights)
    return model


def _chosen(arch: Arch | str | Path, classes: int | None, resolution: int | None) -> Arch:
    """The network that is asked for. Raises ValueError as `build`."""
    if isinstance(arch, (str, Path)):
        arch = load_arch(arch)
    if not isinstance(arch, Arch):
        raise ValueError(
            f"arch: must be an Arch, the name of a model or the path of a YAML file, "
            f"got {type(arch).__name__}; see hvnas.list_models()"
        )
    return resized(arch, classes=classes, resolution=resolution)


def build_on_meta(arch: Arch) -> Network:
    """The module without memory for its weights: for tracing and counting."""
    with torch.device("meta"):
        return Network(arch)
