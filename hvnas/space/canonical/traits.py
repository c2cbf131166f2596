"""What a preset can do, found by lowering it: no table of special cases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from hvnas.arch import INNER
from hvnas.blocks import Block, has_stride, lower_block
from hvnas.ops import State
from hvnas.space.spec import Preset

EVEN, ODD = 16, 15

# What flows between two parts: a map, tokens with a grid, tokens without one (a class token among
# them), or a map with global tokens beside it, which some block has read or none yet ("idle").
KINDS = ("map", "tokens", "class", "pair", "idle")
MAP, TOKENS, CLASS, PAIR, IDLE = range(5)
NOTHING = -1


def states_of(channels: int, size: int) -> tuple[State, ...]:
    """A state of each kind, for probing."""
    n = size * size
    return (
        State(map=(channels, size, size)),
        State(tokens=(n, channels), grid=(size, size)),
        State(tokens=(n + 1, channels)),
        State(map=(channels, size, size), tokens=(4, 64)),
        State(map=(channels, size, size), tokens=(4, 64)),
    )


def state_of(kind: int, channels: int, size: int) -> State:
    """A state of a kind, for probing."""
    return states_of(channels, size)[kind]


def kind_of(state: State) -> int:
    """The kind of a state."""
    if state.map is not None:
        return MAP if state.tokens is None else PAIR
    return CLASS if state.grid is None else TOKENS


def _lowers(block: Block, state: State) -> State | None:
    try:
        return lower_block(block, state).state
    except ValueError:
        return None


@dataclass(frozen=True)
class Traits:
    """The abilities of one preset that has a block."""

    preset: Preset

    @property
    def block(self) -> Block:
        """The preset's block at its placeholder width."""
        assert isinstance(self.preset.block, Block)
        return self.preset.block

    @cached_property
    def can_stride(self) -> bool:
        """Whether the block can halve the map by itself."""
        return has_stride(self.block)

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """For each kind of state, the kind that the block leaves, NOTHING where it refuses it."""
        return tuple(self._after(kind) for kind in range(len(KINDS)))

    def _after(self, kind: int) -> int:
        state = _lowers(self.block, state_of(kind, self.block.out, EVEN))
        if state is None:
            return NOTHING
        after = kind_of(state)
        return IDLE if after == PAIR and kind == IDLE and not self.block.two_branch else after

    @cached_property
    def accepts(self) -> tuple[bool, ...]:
        """For each kind of state, whether a head takes it; tokens that no block reads are refused."""
        takes = [_lowers(self.block, state_of(k, 64, EVEN)) is not None for k in range(len(KINDS))]
        return (*takes[:IDLE], False)

    @cached_property
    def _kind(self) -> int:
        """The first kind of state that the block takes."""
        return next((k for k, after in enumerate(self.kinds) if after != NOTHING), MAP)

    @cached_property
    def changes_width(self) -> bool:
        """Whether the block can leave another width than it is given."""
        return _lowers(self.block, state_of(self._kind, 2 * self.block.out, EVEN)) is not None

    @cached_property
    def needs_even(self) -> bool:
        """Whether the strided block (or the downsample) refuses maps of odd size."""
        return self._strided(ODD) is None

    def halved(self, size: int) -> int:
        """Map size behind the strided block (or the downsample)."""
        even, odd = self._strided(EVEN), self._strided(ODD)
        assert even is not None
        if _side(even) == EVEN:
            return size
        return (size + 1) // 2 if odd is not None and _side(odd) == (ODD + 1) // 2 else size // 2

    def _strided(self, size: int) -> State | None:
        if size not in self._sizes:
            strided = self.block.with_(stride=2) if self.can_stride else self.block
            self._sizes[size] = _lowers(strided, state_of(self._kind, self.block.out, size))
        return self._sizes[size]

    @cached_property
    def _sizes(self) -> dict[int, State | None]:
        return {}

    def fits_width(self, width: int) -> bool:
        """Whether the block can have this width."""
        if width not in self._fitting:
            try:
                block = self.preset.make(width)
                self._fitting[width] = _lowers(block, state_of(self._kind, width, EVEN)) is not None
            except ValueError:
                self._fitting[width] = False
        return self._fitting[width]

    @cached_property
    def _fitting(self) -> dict[int, bool]:
        return {}


@lru_cache(maxsize=4096)
def traits_of(preset: Preset) -> Traits:
    """The traits of a preset; what was found out about it is kept."""
    return Traits(preset)


def _side(state: State) -> int:
    sides = state.map or state.grid
    return sides[-1] if sides else EVEN


@dataclass(frozen=True)
class DownTraits:
    """How a downsample choice changes the map's size and the kind of state."""

    preset: Preset

    @property
    def kind(self) -> str:
        """``none``, ``inner`` or ``block``."""
        if self.preset.block is None:
            return "none"
        return INNER if self.preset.block == INNER else "block"

    @cached_property
    def _block(self) -> Traits:
        return traits_of(self.preset)

    @cached_property
    def keeps_width(self) -> bool:
        """Whether what arrives must already have the stage's width."""
        return self.kind == "none" or (self.kind == "block" and not self._block.changes_width)

    def kind_after(self, kind: int) -> int:
        """The kind of state behind the downsample, NOTHING where it refuses `kind`."""
        return self._block.kinds[kind] if self.kind == "block" else kind

    def out_size(self, size: int, first: Traits) -> int | None:
        """Map size behind this downsample and the first block, None where they refuse `size`."""
        if self.kind == "none":
            return size
        if self.kind == INNER and not first.can_stride:
            return None
        traits = first if self.kind == INNER else self._block
        if size % 2 and traits.needs_even:
            return None
        return traits.halved(size)
