"""What EfficientFormer's layouts have in common, how far two layouts are apart, and spaces of layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log

from hvnas.arch import Arch
from hvnas.blocks import Block
from hvnas.space import Space
from hvnas.space.spec import Preset

CONV_STEM = "conv_stem"
ATTENDING = frozenset(
    {"mb3d", "attn4d", "coat_transformer", "mobilevit", "efficientvit", "mobileformer", "vit_block"}
)


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
