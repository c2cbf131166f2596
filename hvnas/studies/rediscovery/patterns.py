"""What EfficientFormer's layouts have in common, spaces and members that have it, and random members to
compare.

Random members of a space at one latency: what a paper's model is compared with.

Members of equal latency are rare among random ones, and rarer still inside a gate. They are reached by random
walks: every walker takes the space's own mutations and keeps to those that lead no further away, then, once
inside, to those that stay inside. A run of blocks is empty or not with equal weight, and members are equally
likely otherwise: with every depth equally likely nearly all would attend in every stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from hvnas.arch import Arch
from hvnas.blocks import Block
from hvnas.search.problem import Problem
from hvnas.search.rows import Bools, Floats, Rows, SpaceLike
from hvnas.space import Space
from hvnas.space.spec import Preset

CONV_STEM = "conv_stem"
ATTENDING = frozenset(
    {"mb3d", "attn4d", "coat_transformer", "mobilevit", "efficientvit", "mobileformer", "vit_block"}
)

BAND = 0.05
STEPS = 100
_STARTS, _MOVES = 512, 3.0
# Random members that have come inside are enough to begin with, or all that do in so many steps.
_ENOUGH, _WAIT = 128, 400
# Members that each walker gives, at the end and before, steps apart; some more, for some meet.
_GIVEN, _APART, _MORE = 5, 10, 1.08
# Broken rules weigh more than any distance in latency.
_RULE = 100.0


def attends(block: object) -> bool:
    """Whether a block mixes positions by attention; what is no block does not."""
    return isinstance(block, Block) and (block.type in ATTENDING or block.get("mixer") == "attention")


@dataclass(frozen=True)
class Blocks:
    """`depth` blocks of one `type`; `attend` says whether they attend."""

    type: str
    depth: int
    width: int
    attend: bool


@dataclass(frozen=True)
class LayoutOf:
    """A network's stem, and its runs of blocks by stage, in order."""

    stem: str
    stages: tuple[tuple[Blocks, ...], ...]

    @classmethod
    def of(cls, arch: Arch) -> LayoutOf:
        """The layout of `arch`."""
        return cls(
            arch.stem.type,
            tuple(
                tuple(Blocks(r.block.type, r.depth, r.width, attends(r.block)) for _, r in stage.runs)
                for stage in arch.stages
            ),
        )

    @property
    def attending(self) -> tuple[int, ...]:
        """Blocks that attend, by stage."""
        return tuple(sum(b.depth for b in stage if b.attend) for stage in self.stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """Blocks by stage."""
        return tuple(sum(b.depth for b in stage) for stage in self.stages)

    @property
    def widths(self) -> tuple[int, ...]:
        """Output channels by stage."""
        return tuple(stage[-1].width for stage in self.stages)

    @property
    def place(self) -> str:
        """Where attention begins: ``stage 4, block 4 of 4``; ``none`` without any."""
        for i, stage in enumerate(self.stages):
            before = 0
            for blocks in stage:
                if blocks.attend:
                    return f"stage {i + 1}, block {before + 1} of {self.depths[i]}"
                before += blocks.depth
        return "none"

    @property
    def stage_texts(self) -> list[str]:
        """Each stage as ``3 mb4d + 1 mb3d, 448``."""
        runs = (" + ".join(f"{b.depth} {b.type}" for b in stage) for stage in self.stages)
        return [f"{text}, {width}" for text, width in zip(runs, self.widths, strict=True)]


def early_stages_local(layout: LayoutOf) -> bool:
    """No attention in the first two stages."""
    return not any(layout.attending[:2])


def attention_only_at_the_end(layout: LayoutOf) -> bool:
    """There is attention; it lies in the last stage, or in the second half of the one before."""
    *before, last_but_one, _ = layout.stages
    if not sum(layout.attending) or any(b.attend for stage in before for b in stage):
        return False
    at = len(layout.stages) - 2
    tail = layout.depths[at] // 2
    return layout.attending[at] <= tail and (not last_but_one[0].attend)


def convolutional_stem(layout: LayoutOf) -> bool:
    """The image is read by convolutions, not by patches."""
    return layout.stem == CONV_STEM


def local_before_attention(layout: LayoutOf) -> bool:
    """No block without attention behind one with it (4D before 3D); there must be attention."""
    order = [b.attend for stage in layout.stages for b in stage]
    return any(order) and order == sorted(order)


PATTERNS: Mapping[str, Callable[[LayoutOf], bool]] = {
    "stages 1-2 local": early_stages_local,
    "attention at the end": attention_only_at_the_end,
    "convolutional stem": convolutional_stem,
    "4D before 3D": local_before_attention,
}


def patterns_of(layout: LayoutOf) -> dict[str, bool]:
    """Which of the four patterns a layout has."""
    return {name: test(layout) for name, test in PATTERNS.items()}


def shares(layouts: Sequence[LayoutOf]) -> dict[str, float]:
    """The share of layouts that have each pattern, and ``all four``."""
    found = [patterns_of(layout) for layout in layouts]
    rows = {name: [one[name] for one in found] for name in PATTERNS}
    rows["all four"] = [all(one.values()) for one in found]
    return {name: sum(values) / max(1, len(values)) for name, values in rows.items()}


@dataclass(frozen=True)
class Distance:
    """How far a layout is from another: blocks more or fewer, and the mean factor between widths.

    `depth` sums over stages, `attention` likewise over blocks that attend; `width` is the geometric mean of
    the larger by the smaller width, 1 where all are equal.
    """

    depth: int
    attention: int
    width: float


def distance(a: LayoutOf, b: LayoutOf) -> Distance:
    """The distance of two layouts of equally many stages."""
    logs = [abs(log(x / y)) for x, y in zip(a.widths, b.widths, strict=True)]
    return Distance(
        sum(abs(x - y) for x, y in zip(a.depths, b.depths, strict=True)),
        sum(abs(x - y) for x, y in zip(a.attending, b.attending, strict=True)),
        exp(sum(logs) / len(logs)),
    )


def forced(space: Space) -> Space:
    """`space` with attention at the end of its last stage and nowhere else, behind convolutional stems.

    Less than all networks with the patterns: none attends in the tail of the last stage but one. Raises
    ValueError where that leaves nothing.
    """
    spec = space.spec
    local = [replace(s, local=_attending(s.local, spec.blocks, False)) for s in spec.stages]
    ends = _attending(local[-1].global_, spec.blocks, True)
    depths = tuple(depth for depth in local[-1].global_depth if depth)
    stems = tuple(p for p in spec.stems if isinstance(p.block, Block) and p.block.type == CONV_STEM)
    if not (ends and depths and stems and all(0 in s.global_depth for s in local[:-1])):
        raise ValueError(f"space {space.name}: no network of it has all four patterns")
    before = (replace(s, global_depth=(0,)) for s in local[:-1])
    last = replace(local[-1], global_=ends, global_depth=depths)
    return Space(replace(spec, name=f"{spec.name}-forced", stages=(*before, last), stems=stems))


def _attending(names: Iterable[str], blocks: Mapping[str, Preset], attend: bool) -> tuple[str, ...]:
    return tuple(name for name in names if attends(blocks[name].block) == attend)


def random_peers(problem: Problem, *, ms: float, n: int, seed: int, steps: int = STEPS) -> Rows:
    """Canonical rows [n, genes] within 5 % of `ms` on the problem's device and inside its gate, each once.

    Fewer than `n` where the space holds so few. Raises ValueError where it holds none there.
    """
    rng = np.random.default_rng(seed)
    rows = _inside(problem, ms, -(-int(n * _MORE) // _GIVEN), rng)
    weights = Weights(problem.space)
    weight = weights(rows)
    given = []
    for left in reversed(range(steps)):
        tried = problem.space.mutate(rows, rng=rng, rate=_MOVES / rows.shape[1])
        found = _distance(problem, tried, ms)
        heavier = weights(tried) - weight
        taken = (found == 0) & (np.log(rng.random(len(rows))) <= heavier)
        rows = np.where(taken[:, None], tried, rows)
        weight = np.where(taken, weight + heavier, weight)
        if left % _APART == 0 and left < _GIVEN * _APART:
            given.append(rows)
    return np.asarray(rng.permutation(np.unique(np.concatenate(given), axis=0))[:n])


def _inside(problem: Problem, ms: float, n: int, rng: np.random.Generator) -> Rows:
    """Walkers inside the band, from random members that came nearer step by step."""
    space = problem.space
    rows = space.sample(_STARTS, rng=rng, macs=(0.1e9, 5e9))
    apart = _distance(problem, rows, ms)
    for _ in range(_WAIT):
        if (apart == 0).sum() >= _ENOUGH:
            break
        tried = space.mutate(rows, rng=rng, rate=_MOVES / rows.shape[1])
        found = _distance(problem, tried, ms)
        nearer = found <= apart
        rows, apart = np.where(nearer[:, None], tried, rows), np.where(nearer, found, apart)
    there = np.flatnonzero(apart == 0)
    if len(there) == 0:
        raise ValueError(f"space {space.name} holds no network of {ms:.3f} ms ± 5 % in the gate; try another")
    return rows[there[rng.integers(len(there), size=n)]]


def _distance(problem: Problem, rows: Rows, ms: float) -> Floats:
    """0 where a row is allowed and within the band; else how far it is from being so. Shape [n]."""
    screened = problem.screen(rows)
    away = np.maximum(np.abs(np.log(screened.latency.ms / ms)) - np.log1p(BAND), 0.0)
    return np.asarray(away + _RULE * screened.broken)


class Weights:
    """The logarithm of each row's weight: an empty run as much as all depths of a run together."""

    def __init__(self, space: SpaceLike) -> None:
        genes = space.genes
        self.places = [i for i, gene in enumerate(genes) if gene.name.endswith(".depth") and 0 in gene.values]
        self.empty = [list(genes[i].values).index(0) for i in self.places]
        self.gain = np.array([np.log(max(1, len(genes[i].values) - 1)) for i in self.places])

    def __call__(self, rows: Rows) -> Floats:
        empty: Bools = rows[:, self.places] == np.array(self.empty)
        return np.asarray(empty @ self.gain)


def percentile(own: float, others: NDArray[np.float64]) -> float:
    """The share of `others` that lie below `own`, in percent; ties count half."""
    return float(100.0 * ((others < own).mean() + 0.5 * (others == own).mean()))
