"""A network as a backbone: its maps instead of its logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.blocks import Block, lower_block
from hvnas.nn.base import AsMap, build_block
from hvnas.nn.images import check_any_size
from hvnas.ops import State

FINEST, COARSEST = 4, 32  # strides that detection and segmentation heads take
Size = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A block of a network, the state that it is given and the one that it leaves."""

    label: str
    block: Block
    given: State
    leaves: State

    @property
    def group(self) -> str:
        """``stem`` or ``stages.N``."""
        return ".".join(self.label.split(".")[:2])

    @property
    def stride(self) -> int:
        """By how much the block shrinks the map."""
        if (own := self.block.own_stride) is not None:
            return own
        if self.given.map is None or self.leaves.map is None:
            return 1
        return round(self.given.map[1] / self.leaves.map[1])


@dataclass(frozen=True)
class Tap:
    """Where a map is taken: behind the stem or a stage, its channels and stride."""

    group: str
    channels: int
    stride: int


class FeatureNetwork(nn.Module):
    """Stem and stages of a network: ``[B, 3, H, W]`` to a list of maps ``[B, C, H/s, W/s]``, finest first.

    One map for each stride s from 4 to 32 that the network has, where it is left; of a network with
    tokens they are laid out as a map, without class token, and global tokens are left out. `channels`
    and `strides` are those of the maps. Names of tensors are those of the whole network. The input may
    have any size that the blocks allow; forward raises ValueError naming the block that does not.
    """

    def __init__(self, arch: Arch, *, stem: nn.Module, tokens: nn.Module, stages: nn.Sequential) -> None:
        super().__init__()
        self.arch = arch
        self.stem, self.tokens, self.stages = stem, tokens, stages
        taps = _taps(arch)
        self.channels = tuple(tap.channels for tap in taps)
        self.strides = tuple(tap.stride for tap in taps)
        self._taken = tuple(tap.group for tap in taps)
        self._size = (arch.resolution, arch.resolution)
        self._grids = _grids(_parts(arch, self._size))
        self.register_forward_pre_hook(check_any_size)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        self._fit((x_BCHW.shape[2], x_BCHW.shape[3]))
        x = self.stem(x_BCHW)
        maps = [self._as_map(x, "stem")] if "stem" in self._taken else []
        x = self.tokens(x)
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if f"stages.{i}" in self._taken:
                maps.append(self._as_map(x, f"stages.{i}"))
        return maps

    def _as_map(self, x: Tensor | tuple[Tensor, Tensor], group: str) -> Tensor:
        if isinstance(x, tuple):
            return x[0]
        if x.dim() == 4:
            return x
        height, width = self._grids[group]
        return x[:, x.shape[1] - height * width :].transpose(1, 2).unflatten(2, (height, width))

    def _fit(self, size: Size) -> None:
        """Lay tokens out for an input of `size`. Raises ValueError where a block is tied to another."""
        if size == self._size:
            return
        parts = list(_parts(self.arch, size))
        built = _parts(self.arch, (self.arch.resolution, self.arch.resolution))
        for part, before in zip(parts, built, strict=True):
            _check_free(part, before, size)
        for part in parts:
            for module in self.get_submodule(part.label.replace("global", "global_")).modules():
                if isinstance(module, AsMap):
                    module.grid = _grid(part.given) or module.grid
        self._size, self._grids = size, _grids(parts)


def _parts(arch: Arch, size: Size) -> Iterator[Part]:
    """The blocks before the head for an input of `size`. Raises ValueError naming the first that cannot."""
    state = State(map=(3, *size))
    for label, block in arch.parts():
        if label == "head":
            return
        try:
            leaves = lower_block(block, state).state
        except ValueError as error:
            raise ValueError(f"input {size[0]} x {size[1]}: {label} ({block.type}): {error}") from None
        yield Part(label, block, state, leaves)
        state = leaves


def _taps(arch: Arch) -> list[Tap]:
    """The last map at every stride. Raises ValueError where none is between the finest and the coarsest."""
    last: dict[int, Tap] = {}
    stride = 1
    for part in _parts(arch, (arch.resolution, arch.resolution)):
        stride *= part.stride
        if part.group == "tokens":
            continue
        width = part.leaves.map[0] if part.leaves.map else part.leaves.tokens[1]  # type: ignore[index]
        last[stride] = Tap(part.group, width, stride)
    taps = [tap for stride, tap in last.items() if FINEST <= stride <= COARSEST]
    # a stage that strides in its middle is entered once, for the map that it ends with
    taps = list({tap.group: tap for tap in taps}.values())
    if not taps:
        raise ValueError(
            f"{arch.name} leaves maps at strides {', '.join(map(str, last))} only, none from {FINEST} to "
            f"{COARSEST}; choose another network as a backbone"
        )
    return taps


def _grids(parts: Iterator[Part] | list[Part]) -> dict[str, Size]:
    """Height and width of what stem and stages leave."""
    grids: dict[str, Size] = {}
    grid: Size = (0, 0)
    for part in parts:
        grid = _grid(part.leaves) or grid
        grids[part.group] = grid
    return grids


def _grid(state: State) -> Size | None:
    return state.map[1:] if state.map is not None else state.grid


def _check_free(part: Part, built: Part, size: Size) -> None:
    """Raise ValueError where the weights of a block are for another grid than it is given."""
    if part.given == built.given or not _is_tied(built.block, built.given):
        return
    was, now = (_extent(p.given) for p in (built, part))
    raise ValueError(
        f"input {size[0]} x {size[1]}: {part.label} ({part.block.type}): its weights are tied to a map of "
        f"{was}, and here it is {now}; build the network at that resolution, arch.with_(resolution=...)"
    )


def _extent(state: State) -> str:
    grid = _grid(state)
    return f"{grid[0]} x {grid[1]}" if grid else f"{state.tokens[0] if state.tokens else 0} tokens"


@lru_cache(maxsize=1024)
def _is_tied(block: Block, state: State) -> bool:
    """Whether the block's tensors depend on the size of what it is given."""
    return _shapes(block, state) != _shapes(block, _doubled(state))


def _shapes(block: Block, state: State) -> list[tuple[str, torch.Size]]:
    with torch.device("meta"):
        module = build_block(block, state)
    return [(name, t.shape) for name, t in [*module.named_parameters(), *module.named_buffers()]]


def _doubled(state: State) -> State:
    """Twice as high and wide; global tokens beside a map stay."""
    if state.map is not None:
        channels, height, width = state.map
        return State(map=(channels, 2 * height, 2 * width), tokens=state.tokens, grid=state.grid)
    assert state.tokens is not None
    height, width = state.grid or (0, 0)
    return State(
        tokens=(state.tokens[0] + 3 * height * width, state.tokens[1]),
        grid=(2 * height, 2 * width) if state.grid else None,
    )
