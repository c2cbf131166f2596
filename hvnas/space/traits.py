"""What a preset can do, found by lowering it: no table of special cases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from hvnas.arch import INNER
from hvnas.blocks import Block, has_stride, lower_block
from hvnas.ops import State
from hvnas.space.spec import Preset

EVEN, ODD = 16, 15


def _map(channels: int, size: int) -> State:
    return State(map=(channels, size, size))


def _lowers(block: Block, state: State) -> State | None:
    try:
        return lower_block(block, state).state
    except ValueError:
        return None


@dataclass(frozen=True)
class Traits:
    """The abilities of one body or downsample preset."""

    preset: Preset

    @cached_property
    def can_stride(self) -> bool:
        """Whether the block can halve the map by itself."""
        return isinstance(self.preset.block, Block) and has_stride(self.preset.block)

    @cached_property
    def changes_width(self) -> bool:
        """Whether the block can leave another width than it is given."""
        block = self.preset.block
        assert isinstance(block, Block)
        return _lowers(block, _map(2 * block.out, EVEN)) is not None

    @cached_property
    def needs_even(self) -> bool:
        """Whether the strided block (or the downsample) refuses maps of odd size."""
        return self._strided(ODD) is None

    @cached_property
    def rounds_up(self) -> bool:
        """Whether an odd size is halved upwards."""
        state = self._strided(ODD)
        size = state.map or state.grid if state else None
        return size is None or size[-1] == (ODD + 1) // 2

    def _strided(self, size: int) -> State | None:
        block = self.preset.block
        assert isinstance(block, Block)
        strided = block.with_(stride=2) if has_stride(block) else block
        return _lowers(strided, _map(block.out, size))

    def fits_width(self, width: int) -> bool:
        """Whether the block can have this width."""
        try:
            block = self.preset.make(width)
        except ValueError:
            return False
        return _lowers(block, _map(width, EVEN)) is not None


@dataclass(frozen=True)
class DownTraits:
    """How a downsample choice changes the size of the map."""

    preset: Preset

    @property
    def kind(self) -> str:
        """``none``, ``inner`` or ``block``."""
        if self.preset.block is None:
            return "none"
        return INNER if self.preset.block == INNER else "block"

    @cached_property
    def _block(self) -> Traits:
        return Traits(self.preset)

    def out_size(self, size: int, first: Traits) -> int | None:
        """Map size behind this downsample and the first block, None where they refuse `size`."""
        if self.kind == "none":
            return size
        if self.kind == INNER and not first.can_stride:
            return None
        traits = first if self.kind == INNER else self._block
        if size % 2 and traits.needs_even:
            return None
        return (size + 1) // 2 if traits.rounds_up else size // 2
