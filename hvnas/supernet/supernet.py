"""Supernet: one network whose slices are the members of a space, from the largest to the smallest."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hvnas.arch import Arch
from hvnas.blocks import Block
from hvnas.nn import Network, build
from hvnas.nn.head import TwoHeads
from hvnas.nn.images import check_images
from hvnas.ops import MACS, PARAMS, State
from hvnas.space import FastPath, Space
from hvnas.space.canonical.canonical import Rows
from hvnas.supernet.weights.memory import MEMORY_SHARE, check_fits, need_of, plan
from hvnas.supernet.weights.slots import Sliced, Slot, place
from hvnas.supernet.weights.variants import Recent, Variant, branch_of, build_empty, inner_of

MODULES_KEPT = 2048
SLICES_KEPT = 8192
FORGOTTEN = ("_built", "_sliced", "_active")
MAX_DRAWS = 1000

MAX_MOVES = 200
OUTSIDE = 1e30  # more than the MACs of any network


class Supernet(nn.Module):
    """Weights that all members of a space share, and one active member.

    A *slot* is a place in the network (``stem``, ``stages.1.local.0``, ``head``, …) and a *branch*, the
    preset of the space's file that stands there. It holds the tensors of the largest block that this
    branch can be at this place. A member's block is the ordinary module of `hvnas.nn`, whose tensors are
    slices of its slot's: the leading entries of each dimension, the middle ones of kernels and of tables of
    relative offsets, and of each part where a dimension is composite (`hvnas.supernet.weights.composite`).

    Shared by slices: everything within a branch, over widths, expansions, depths, heads, patches, token
    counts and dimensions, and resolutions. Not shared: the weights of different branches, so also their
    layer scales and norms ("switchable"), those of different positions in a run, and those of a first block
    that strides and of one that does not (two branches). BatchNorm's running statistics are shared slices
    too and mean nothing for a member before `recalibrate`.

    Networks have `classes` outputs (None: as many as the heads of the space's file) and, where `resolution`
    is given, take images of that size instead of their own. The constructor raises ValueError where the
    weights need more than `memory_share` of the machine's memory; `hvnas.supernet.weights.memory` tells
    before.
    """

    _active: list[Sliced]
    _built: Recent[Variant, nn.Module]
    _sliced: Recent[tuple[str, Variant], Sliced]

    def __init__(
        self,
        space: Space,
        *,
        classes: int | None = None,
        resolution: int | None = None,
        memory_share: float = MEMORY_SHARE,
    ) -> None:
        super().__init__()
        self.space, self.classes, self.resolution = space, classes, resolution
        plans = plan(space, classes=classes, resolution=resolution)
        self.need = need_of(space, plans)
        check_fits(space, self.need, share=memory_share)
        for (where, branch), slot in plans.items():
            place(self, _path(where, branch), Slot(slot))
        self._drop_path = 0.0
        self._forget()
        self.arch = self.largest
        self.set(self.arch)
        self.register_forward_pre_hook(check_images_of_member)

    # members

    def sample(self, rng: np.random.Generator) -> Arch:
        """Return a member whose genes are drawn uniformly, within the space's limits.

        Raises ValueError where none of 1000 draws keeps the limits.
        """
        for _ in range(MAX_DRAWS):
            row = self.space.canonicalise(rng.integers(0, self.space.cardinalities)[None])[0]
            arch = self.space.decode(row)
            program = arch.lower() if self.space.limits else None
            if all(getattr(program, name) <= most for name, most in self.space.limits.items()):
                return self.fitted(arch)
        raise ValueError(
            f"{MAX_DRAWS} uniform draws from {self.space.name} exceed its limits; widen its limits or "
            "narrow its lists"
        )

    @cached_property
    def largest(self) -> Arch:
        """The member that no change of one gene gives more MACs."""
        return self.fitted(self.space.decode(extreme(self.space, sign=1)))

    @cached_property
    def smallest(self) -> Arch:
        """The member that no change of one gene gives fewer MACs."""
        return self.fitted(self.space.decode(extreme(self.space, sign=-1)))

    def grown(self, arch: Arch) -> Arch:
        """Return the member with the block types of `arch` and every ordered gene at its largest value."""
        return self._resized(arch, 1)

    def shrunk(self, arch: Arch) -> Arch:
        """Return the member with the block types of `arch` and every ordered gene at its smallest value."""
        return self._resized(arch, -1)

    def _resized(self, arch: Arch, sign: int) -> Arch:
        row = with_sizes(self.space, self.encode(arch), sign=sign)
        return self.fitted(self.space.decode(row))

    def fitted(self, arch: Arch) -> Arch:
        """`arch` for the supernet's classes and resolution."""
        return arch.with_(classes=self.classes, resolution=self.resolution)

    def encode(self, arch: Arch) -> np.ndarray[Any, np.dtype[np.int16]]:
        """Return the row of `arch` in the space.

        Raises ValueError naming the part that the space does not hold.
        """
        if arch.resolution == self.resolution and arch.resolution not in self.space.spec.resolution:
            arch = arch.with_(resolution=self.space.spec.resolution[0])
        head = self.space.spec.heads[0].block
        assert isinstance(head, Block)
        return self.space.encode(arch.with_(classes=head.out))

    # the active member

    def set(self, arch: Arch, *, drop_path: float = 0.0) -> None:
        """Make `arch` the active member; its last block drops its residual branch at rate `drop_path`.

        The rate grows linearly over the blocks, as in `hvnas.build`. Raises ValueError naming the part
        that the space does not hold.
        """
        choices = self.space.choices(self.encode(arch))
        self.arch, self._drop_path = self.fitted(arch), drop_path
        self._active = [
            self._slice(label, _branch(label, block, state, choices), block, state)
            for label, block, state in self.arch.states()
        ]
        in_runs = [part for part in self._active if ".local." in part.name or ".global." in part.name]
        for position, part in enumerate(in_runs):
            part.drop_path = drop_path * position / max(1, len(in_runs) - 1)

    def _slice(self, label: str, branch: str, block: Block, state: State) -> Sliced:
        path, variant = _path(label, branch), (block, state)

        def make() -> Sliced:
            slot = self.get_submodule(path)
            assert isinstance(slot, Slot)
            return Sliced(slot, path, self._built.get(variant, empty), variant)

        def empty() -> nn.Module:
            return build_empty(block, state, device=self.device)

        found = self._sliced.get((path, variant), make)
        if found.module.training != self.training:
            found.module.train(self.training)
        return found

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of the active member."""
        x = x_BCHW
        for part in self.active:
            x = part(x)
        return x

    def heads(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of the active member's classifier and of its distillation classifier, where it has one."""
        check_images_of_member(self, (x_BCHW,))
        x = x_BCHW
        *body, head = self.active
        for part in body:
            x = part(x)
        with head.plugged() as module:
            inner = inner_of(module)
            return inner.heads(x) if isinstance(inner, TwoHeads) else (module(x), None)

    @property
    def active(self) -> list[Sliced]:
        """The modules of the active member in order."""
        if not self._active:
            self.set(self.arch, drop_path=self._drop_path)
        return self._active

    def active_parameters(self) -> dict[str, nn.Parameter]:
        """The shared parameters that the active member has slices of, whole, by their names in state_dict."""
        names = (f"{part.name}.{name}" for part in self.active for name in part.names)
        return {name: p for name in names if isinstance(p := _attribute(self, name), nn.Parameter)}

    def extract(self, arch: Arch | None = None) -> Network:
        """Return active member, or `arch`, as a network of its own with copies of its weights, in eval."""
        before = self.arch, self._drop_path
        if arch is not None:
            self.set(arch)
        network = build(self.arch).to(self.device)
        weights = {
            f"{label.replace('.global.', '.global_.')}.{name}": tensor
            for (label, _), part in zip(self.arch.parts(), self.active, strict=True)
            for name, tensor in part.tensors().items()
        }
        network.load_state_dict(weights)
        if arch is not None:
            self.set(before[0], drop_path=before[1])
        return network.eval()

    def __repr__(self) -> str:
        return f"Supernet({self.space.name!r}, {self.need.params:,} weights, active: {self.arch.hash})"

    # what nn.Module does, done to the modules outside its tree too

    def train(self, mode: bool = True) -> Supernet:
        super().train(mode)
        for part in self._active:
            part.module.train(mode)
        return self

    def _apply(self, fn: Any, recurse: bool = True) -> Supernet:
        super()._apply(fn, recurse)
        self._forget()
        return self

    def _forget(self) -> None:
        """Drop the modules: they are made again when they are used."""
        self._built, self._sliced, self._active = Recent(MODULES_KEPT), Recent(SLICES_KEPT), []

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in FORGOTTEN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()


def check_images_of_member(module: nn.Module, args: tuple[Any, ...]) -> None:
    """Raise ValueError where the active member of a supernet does not take the images ``args[0]``."""
    check_images(module, args, remake="Supernet(space, resolution={})")


def _path(place: str, branch: str) -> str:
    return f"{place}.{branch}" if branch else place


def _branch(label: str, block: Block, state: State, choices: dict[str, Any]) -> str:
    """The branch whose weights `block` has at `label` in the network with these choices."""
    if label == "tokens":
        return ""
    if not label[-1].isdigit():
        return str(choices[label])
    return branch_of(str(choices[f"{label.rpartition('.')[0]}.type"]), block, state)


def _attribute(module: nn.Module, name: str) -> object:
    prefix, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(prefix), leaf)


def extreme(space: Space, *, sign: int) -> Rows:
    """A row that no change of one gene makes larger (`sign` 1) or smaller (-1) in MACs. Shape [genes].

    It starts from the largest (smallest) values of all ordered genes.
    """
    path = FastPath(space, (MACS, PARAMS))
    row = with_sizes(space, space.canonicalise(np.zeros((1, len(space.genes)), dtype=np.int64))[0], sign=sign)
    best = _size(space, path, row[None], sign)[0]
    for _ in range(MAX_MOVES):
        around = neighbours(space, row)
        sizes = _size(space, path, around, sign)
        k = int(sizes.argmax())
        if not sizes[k] > best:
            break
        row, best = around[k], sizes[k]
    return row


def _size(space: Space, path: FastPath, rows: Rows, sign: int) -> NDArray[np.float64]:
    """MACs times `sign`; below all of those, what is outside the space's limits, by how far it is."""
    macs, params = path(rows).T
    limits = space.limits
    excess = np.maximum(macs / limits.get("macs", np.inf), params / limits.get("params", np.inf))
    return np.where(excess > 1, -OUTSIDE * excess, sign * macs)


def neighbours(space: Space, row: Rows) -> Rows:
    """`row` and, canonical, every row with another value of one of its genes. Shape [n, genes]."""
    rows = []
    for i, count in enumerate(space.cardinalities):
        for value in range(count):
            if value != row[i]:
                other = row.copy()
                other[i] = value
                rows.append(other)
    return space.canonicalise(np.array([row, *rows]))


def with_sizes(space: Space, row: Rows, *, sign: int) -> Rows:
    """`row` with every ordered gene at its largest or smallest value; types, empty runs and stages stay."""
    row = row.copy()
    for i, gene in enumerate(space.genes):
        sizes = sizes_of(gene.values)
        if gene.name == "stages" or sizes is None:
            continue
        if gene.name.endswith(".depth"):
            if sizes[row[i]] == 0:
                continue
            sizes = [size if size else np.inf * -sign for size in sizes]
        row[i] = int(np.argmax(sign * np.array(sizes)))
    return space.canonicalise(row[None])[0]


def sizes_of(values: tuple[object, ...]) -> list[float] | None:
    """The values as numbers, a profile as its mean; None where some are neither."""
    sizes = []
    for value in values:
        entries = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(entry, int | float) for entry in entries):
            return None
        sizes.append(float(np.mean(entries)))
    return sizes
