"""build(arch): the whole network as plain torch; a block by itself and several times over.

A block by itself and several times over: what is measured to tell its own time from the call's.

Where a block leaves the state that it is given, T_1 and T_N are measured of 1 and N copies in a row, each
with weights of its own. Where it does not (stems, downsamples, changes of width, heads) copies cannot
follow each other; then a *tail*, one linear layer on what the block leaves, is measured without the block
(depth 0) and behind it (depth 1). The time of one block is the same quotient in both cases,

    ms = (T_high - T_low) / (high - low),

without the call's overhead and without what the runtime does to the last output (in the second case what
it does to the input, such as copying it, stays in: the block's input differs from the tail's).

Copies have weights of their own so that caches are as cold as within a network. One copy alone may find its
weights cached from the run before, which makes the quotient too large by the gain over (N - 1): choose N
larger where blocks have many weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from hvnas.arch import Arch, list_models, load_arch
from hvnas.arch.edits import resized
from hvnas.blocks import Block, lower_block
from hvnas.nn.base import build_block, init_weights
from hvnas.nn.features import FeatureNetwork
from hvnas.nn.images import check_images
from hvnas.ops import State

if TYPE_CHECKING:
    from hvnas.nn.weights import NetworkFolder


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
        """Return what the head is given: the last stage's map or tokens, or both as a pair."""
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
        arch: an Arch, the name of a model (`hvnas.list_models`), the path of a YAML file, or a folder that
            ``hvnas export --format torch`` or ``huggingface`` wrote, whose weights are read too.
        classes: the classes of the head; None: those of `arch`.
        resolution: R, the side of the images in pixels; None: that of `arch`.
        weights: a safetensors file; None: the weights are initialised.
        drop_path: the stochastic depth rate of the last block; it grows linearly from 0 over the blocks.
        features_only: return the maps at strides 4 to 32 instead of logits; weights of the head are not read.

    Raises:
        ValueError: an unknown model or a bad file; `classes` or `resolution` out of limits, or a resolution
            that the network cannot be built for; a part that cannot be built; weights of another network.
    """
    folder: NetworkFolder | None = None
    origin = "" if isinstance(arch, Arch) else f"{arch}: "
    if isinstance(arch, (str, Path)) and str(arch) not in list_models() and Path(arch).is_dir():
        from hvnas.nn.weights import read_folder

        folder = read_folder(arch)
        arch = folder.arch
    arch = _chosen(arch, classes, resolution)
    try:
        network = Network(arch, drop_path=drop_path)
    except ValueError as error:
        raise ValueError(f"{origin}{error}") from None
    model: Network | FeatureNetwork = network
    if features_only:
        model = FeatureNetwork(arch, stem=network.stem, tokens=network.tokens, stages=network.stages)
    if weights is not None:
        from hvnas.nn.weights import load_weights

        load_weights(model, weights)
    elif folder is not None:
        folder.load_into(model)
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
    """Return the module without memory for its weights: for tracing and counting."""
    with torch.device("meta"):
        return Network(arch)


class BlockStack(nn.Module):
    """`depth` copies of a block; see `stack`. Takes and gives the state's tensors one by one.

    `inputs` names them with their shapes, batch 1: ``map`` ``[1, C, H, W]``, ``tokens`` ``[1, N, d]``.
    """

    def __init__(self, block: Block, state: State, *, depth: int) -> None:
        super().__init__()
        leaves = lower_block(block, state).state
        is_stackable = leaves == state
        lowest, highest = (1, depth) if is_stackable else (0, 1)
        if not lowest <= depth <= highest:
            raise ValueError(
                f"depth of a {block.type} on {state}: must be {_allowed(is_stackable)}, got {depth}"
            )
        self.inputs = _shapes(state if depth else leaves)
        self.blocks = nn.Sequential(*(build_block(block, state) for _ in range(depth)))
        self.tail = nn.Identity() if is_stackable else _Tail(leaves)
        init_weights(self)

    def forward(self, *tensors: Tensor) -> Any:
        return self.tail(self.blocks(tensors[0] if len(tensors) == 1 else tensors))


class _Tail(nn.Module):
    """One linear layer that keeps the shape of a map, or of tokens; tokens beside a map pass."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.linear: nn.Module
        if state.map is not None:
            self.linear = nn.Conv2d(state.map[0], state.map[0], 1)
        else:
            assert state.tokens is not None
            self.linear = nn.Linear(state.tokens[1], state.tokens[1])

    def forward(self, x: Any) -> Any:
        return (self.linear(x[0]), *x[1:]) if isinstance(x, tuple) else self.linear(x)


def stack(block: Block, state: State, *, depth: int) -> BlockStack:
    """`depth` copies of `block` behind each other, the first given `state`.

    A block that does not leave `state` has depth 0 or 1 and a tail, as above. Raises ValueError for
    another depth, and where the block cannot take `state`.
    """
    return BlockStack(block, state, depth=depth)


def _allowed(is_stackable: bool) -> str:
    return ">= 1" if is_stackable else "0 or 1, for it does not leave the state that it is given"


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    named = {"map": state.map, "tokens": state.tokens}
    return {name: (1, *shape) for name, shape in named.items() if shape is not None}
