"""The largest blocks that each place can hold, and modules of them without weights of their own.

Shapes of weights grow with widths, expansions, depths and maps, so the largest of a few corners is the
largest of all members. The corners are of more combinations than the space holds (a rule of the space may
bar some), which may cost memory and never correctness.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hvnas.arch import INNER
from hvnas.blocks import Block, lower_block
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.nn import build_block
from hvnas.nn.base import PassTokens
from hvnas.ops import State
from hvnas.space import Space
from hvnas.space.canonical.traits import traits_of
from hvnas.space.layout import SLOTS, is_profile
from hvnas.space.spec import SAME, Preset
from hvnas.supernet.weights.composite import Described, describe

STRIDED, SAME_WIDTH = "_strided", "_same"


Variant = tuple[Block, State]
Key = tuple[str, str]  # place in the network, branch

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
# torch.nn.init's and Tensor's own
_DRAWING = frozenset(
    ("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "trunc_normal_", "uniform_", "normal_")
)


@dataclass
class Places:
    """What may stand at each place: variants by place and branch, in the order of a network."""

    variants: dict[Key, list[Variant]] = field(default_factory=dict)

    def add(self, place: str, preset: str, variants: Iterable[Variant]) -> None:
        """Put variants to those of the place and of their branch, each once."""
        for variant in variants:
            branch = branch_of(preset, *variant) if place[-1].isdigit() else preset
            known = self.variants.setdefault((place, branch), [])
            if variant not in known:
                known.append(variant)


@dataclass(frozen=True)
class Forms:
    """What can arrive at a place: states with one channel each, and how many channels there can be."""

    states: frozenset[State]
    widths: frozenset[int]

    def __or__(self, other: Forms) -> Forms:
        return Forms(self.states | other.states, self.widths | other.widths)

    def largest_first(self) -> list[list[State]]:
        """The states that differ in size only, in one list each, the largest first.

        Two of even and two of odd size are enough: blocks refuse a size for being odd, if at all.
        """
        groups: dict[object, list[State]] = {}
        for state in self.states:
            kind = (state.map is None, state.tokens if state.map else None, state.grid is None)
            groups.setdefault(kind, []).append(state)
        return [_largest(group) for group in groups.values()]


def _largest(states: list[State]) -> list[State]:
    ordered = sorted(states, key=_positions, reverse=True)
    parities = ([s for s in ordered if _positions(s) % 2 == parity][:2] for parity in (0, 1))
    return sorted((s for some in parities for s in some), key=_positions, reverse=True)


def _positions(state: State) -> int:
    if state.map is not None:
        return state.map[1] * state.map[2]
    assert state.tokens is not None
    return state.tokens[0]


NOTHING = Forms(frozenset(), frozenset())


def branch_of(preset: str, block: Block, state: State) -> str:
    """The branch of a preset's block in a run: a first block that strides has weights of its own.

    It reads what the stage before has made, in other channels, and most kinds have no shortcut then. One
    whose shortcut projects where the width changes (CoAtNet's) has others where it does not.
    """
    if block.own_stride in (None, 1):
        return preset
    projects = set(described(block, _twice_as_wide(block, state))) - set(described(block, state))
    return f"{preset}{STRIDED}{SAME_WIDTH if projects else ''}"


def _twice_as_wide(block: Block, state: State) -> State:
    """`state` with channels that `block` has to change."""
    out: int = block.out
    return _with_channels(state, 2 * out)


def _with_channels(state: State, channels: int) -> State:
    if state.map is not None:
        return replace(state, map=(channels, *state.map[1:]))
    assert state.tokens is not None
    return replace(state, tokens=(state.tokens[0], channels))


def _leaves(block: Block, state: State) -> State | None:
    try:
        return lower_block(block, state).state
    except ValueError:
        return None


def places_of(space: Space, *, classes: int | None = None, resolution: int | None = None) -> Places:
    """Every place of the networks of `space` with the largest blocks that it can hold."""
    walk = _Walk(space, (resolution,) if resolution else space.spec.resolution)
    forms = walk.stem()
    ends = NOTHING
    for i in range(max(space.spec.counts)):
        forms = walk.stage(i, forms)
        if i + 1 in space.spec.counts:
            ends |= forms
    walk.head(ends, classes)
    return walk.places


class _Walk:
    def __init__(self, space: Space, resolutions: tuple[int, ...]) -> None:
        self.spec, self.layout = space.spec, space.layout
        self.resolutions = resolutions
        self.places = Places()

    def stem(self) -> Forms:
        spec = self.spec
        widths = {w for w in spec.stem_width if w != SAME}
        if SAME in spec.stem_width:
            widths |= set(spec.stages[0].width)
        images = Forms(frozenset(State(map=(1, r, r)) for r in self.resolutions), frozenset((3,)))
        forms = NOTHING
        for preset in spec.stems:
            forms |= self._put("stem", preset, images, widths)
        return forms | self._tokens(forms)

    def _tokens(self, forms: Forms) -> Forms:
        states: set[State] = set()
        for tokens in self.spec.tokens:
            if tokens is None:
                states |= forms.states
                continue
            block = GlobalTokens(count=tokens[0], out=tokens[1])
            self.places.add("tokens", "", [(block, next(iter(forms.states)))])
            states |= {replace(state, tokens=tuple(tokens)) for state in forms.states if state.map}
        return Forms(frozenset(states), forms.widths)

    def stage(self, i: int, forms: Forms) -> Forms:
        """Put the blocks of stage i to the places; what it leaves."""
        stage, widths = self.spec.stages[i], set(self.spec.stages[i].width)
        plain, strided = NOTHING, NOTHING
        for name in stage.downsample:
            preset = self.spec.downsamples[name]
            if preset.block is None:
                plain |= forms
            elif preset.block == INNER:
                strided |= forms
            else:
                plain |= self._put(f"stages.{i}.downsample", preset, forms, widths)
        local = self._run(i, "local", plain, strided, widths)
        behind = self._run(i, "global", local, NOTHING, self._global_widths(i)) if local.states else NOTHING
        if 0 in stage.local_depth:
            alone = self._run(i, "global", plain, strided, widths)
            behind |= alone
        return behind | local if 0 in stage.global_depth else behind

    def _global_widths(self, i: int) -> set[int]:
        stage = self.spec.stages[i]
        return set(stage.width) | {w for w in stage.global_width if w != SAME}

    def _run(self, i: int, slot: str, plain: Forms, strided: Forms, widths: set[int]) -> Forms:
        assert slot in SLOTS
        columns = self.layout.stages[i].slots[slot]
        after, depth = NOTHING, max(columns.depths)
        for preset in columns.types if depth else ():
            first = self._put(f"stages.{i}.{slot}.0", preset, plain, widths)
            if traits_of(preset).can_stride:
                first |= self._put(f"stages.{i}.{slot}.0", preset, strided, widths, stride=2)
            rest = Forms(first.states, first.widths)
            leaves = first
            for j in range(1, depth):
                leaves |= self._put(f"stages.{i}.{slot}.{j}", preset, rest, widths, equal=True)
            after |= leaves
        return after

    def head(self, forms: Forms, classes: int | None) -> None:
        for preset in self.spec.heads:
            assert isinstance(preset.block, Block)
            block = preset.block.with_(out=classes) if classes else preset.block
            for group in forms.largest_first():
                tries = product(group, sorted(forms.widths, reverse=True))
                states = (_with_channels(state, c) for state, c in tries)
                found = next((s for s in states if _leaves(block, s)), None)
                if found:
                    self.places.add("head", preset.name, [(block, found)])

    def _put(
        self,
        place: str,
        preset: Preset,
        forms: Forms,
        widths: set[int],
        *,
        stride: int = 1,
        equal: bool = False,
    ) -> Forms:
        """Note the largest variants of one preset behind `forms`; what they leave."""
        states: set[State] = set()
        for group in forms.largest_first():
            is_noted = False
            for state in group:
                corners = self._corners(preset, state, forms.widths, widths, stride, equal)
                # of smaller maps than the largest only what the block makes of them counts
                found = list(islice(corners, 1 if is_noted else None))
                if not is_noted:
                    self.places.add(place, preset.name, found)
                is_noted = is_noted or bool(found)
                states |= {_with_channels(lower_block(*variant).state, 1) for variant in found}
        fits = frozenset(w for w in widths if traits_of(preset).fits_width(w)) if states else frozenset()
        return Forms(frozenset(states), fits)

    def _corners(
        self,
        preset: Preset,
        state: State,
        channels: frozenset[int],
        widths: set[int],
        stride: int,
        equal: bool,
    ) -> Iterator[Variant]:
        for fields in self._gene_corners(preset):
            for pairs in self._pairs(preset, channels, widths, equal):
                for c, w in pairs:
                    try:
                        block = preset.make(w, **fields)
                        block = block.with_(stride=stride) if stride > 1 else block
                    except ValueError:
                        continue
                    variant = (block, _with_channels(state, c))
                    if _leaves(*variant) is not None:
                        yield variant
                        break

    def _pairs(
        self, preset: Preset, channels: frozenset[int], widths: set[int], equal: bool
    ) -> Iterator[Iterator[tuple[int, int]]]:
        """Channels in and out, the largest first, in the orders whose first valid pairs are corners.

        Blocks that keep the width differ from those that do not by a shortcut's convolution.
        """
        ins, outs = sorted(channels, reverse=True), sorted(widths, reverse=True)
        yield ((w, w) for w in outs if w in channels)
        if equal or not (preset.block and traits_of(preset).changes_width):
            return
        yield ((c, w) for w in outs for c in ins if c != w)
        yield ((c, w) for c in ins for w in outs if c != w)

    def _gene_corners(self, preset: Preset) -> list[dict[str, Any]]:
        """The largest values of the genes that the preset reads; the smallest, which may leave parts out."""
        columns: list[list[Any]] = []
        for gene in preset.reads:
            values: set[Any] = set()
            for value in self.spec.genes[gene]:
                values |= set(value) if is_profile(value) else {value}
            columns.append(sorted(values))
        corners = [tuple(column[-1] for column in columns), tuple(column[0] for column in columns)]
        return [dict(zip(preset.reads, corner, strict=True)) for corner in dict.fromkeys(corners)]


class Recent(Generic[K, V]):
    """The `most` values that were asked for last, made where they are unknown."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`."""
        if key not in self._known:
            self._known[key] = make()
            if len(self._known) > self.most:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def inner_of(module: nn.Module) -> nn.Module:
    """The block's own module, whose names do not depend on whether tokens pass beside it."""
    return module.block if isinstance(module, PassTokens) else module


_DESCRIBED: Recent[tuple[Block, State], dict[str, Described]] = Recent(100_000)


def described(block: Block, state: State) -> dict[str, Described]:
    """The tensors of a block's module, by name; nothing is allocated."""
    return _described(block, state, lambda: on_meta(block, state))


def build_empty(block: Block, state: State, *, device: torch.device) -> nn.Module:
    """A block's module on meta, but with those buffers that are outside the state dict on `device`.

    Torch's generators are left as they were: a run that goes on knows fewer modules than one that was never
    stopped, and both have to draw the same numbers afterwards.
    """
    module = on_meta(block, state)
    _described(block, state, lambda: module)
    if any(part._non_persistent_buffers_set for part in module.modules()):
        with torch.random.fork_rng(devices=[]), _Undrawn():
            real = build_block(block, state)
        for part, source in zip(module.modules(), real.modules(), strict=True):
            for name in part._non_persistent_buffers_set:
                buffer = source._buffers[name]
                part._buffers[name] = None if buffer is None else buffer.to(device)
    return module


def _described(block: Block, state: State, make: Callable[[], nn.Module]) -> dict[str, Described]:
    return _DESCRIBED.get((block, state), lambda: describe(inner_of(make())))


def on_meta(block: Block, state: State) -> nn.Module:
    with torch.device("meta"), _Undrawn():
        return build_block(block, state)


class _Undrawn(TorchFunctionMode):
    """Initial weights stay undrawn: the drawing costs much of a module's time, and all are replaced."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWING:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def leaf_of(module: nn.Module, name: str) -> tuple[dict[str, Tensor | None], str]:
    """The dictionary of parameters or of buffers that holds a dotted name, and the name in it."""
    prefix, _, leaf = name.rpartition(".")
    owner = module.get_submodule(prefix)
    store: dict[str, Tensor | None] = owner._parameters if leaf in owner._parameters else owner._buffers  # type: ignore[assignment]
    return store, leaf
