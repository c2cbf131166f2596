"""A network part by part, for people: what each part is, and what it leaves for the next."""

from __future__ import annotations

from dataclasses import dataclass

from hvnas.arch.arch import Arch, Run
from hvnas.blocks import Block
from hvnas.ops import State

# In a range of expansions.
_TO = "–"


@dataclass(frozen=True)
class Placed:
    """A block under its label: ``stages.2.local.0``; `leaves` is the state behind it, None of the head."""

    label: str
    block: Block
    leaves: State | None


@dataclass(frozen=True)
class Part:
    """Stem, global tokens, a stage or the head, with its blocks in order."""

    label: str
    blocks: tuple[Placed, ...]

    @property
    def leaves(self) -> State | None:
        """The state behind the last block, None of the head."""
        return self.blocks[-1].leaves


def outline(arch: Arch) -> tuple[Part, ...]:
    """The parts of a network in order. Raises ValueError where it cannot be lowered."""
    states = tuple(arch.states())
    behind = [state for _, _, state in states[1:]]
    parts: dict[str, list[Placed]] = {}
    for (label, block, _), leaves in zip(states, (*behind, None), strict=True):
        parts.setdefault(part_of(label), []).append(Placed(label, block, leaves))
    return tuple(Part(label, tuple(blocks)) for label, blocks in parts.items())


def part_of(label: str) -> str:
    """The part that a block lies in: ``stages.2.local.0`` in ``stages.2``."""
    return ".".join(label.split(".")[:2]) if label.startswith("stages.") else label


def sampled(block: Block) -> str:
    """A stem or downsample with its kernels and strides: ``conv_stem 3×3/2 3×3/2``."""
    kernels = block.get("kernels") or (block.get("kernel"),)
    strides = block.get("strides") or (block.get("stride"),)
    steps = [f"{k}×{k}/{s}" for k, s in zip(kernels, strides, strict=False) if k and s]
    return " ".join([block.type, *steps])


def expansions(run: Run) -> tuple[float, ...]:
    """Of a run's blocks, in order where they differ, once where they do not; empty where they have none."""
    values = dict(run.vary).get("expand") or (run.block.get("expand"),)
    distinct = dict.fromkeys(values)
    shown = values if len(distinct) > 1 else tuple(distinct)
    return tuple(value for value in shown if value is not None)


def expansion_range(run: Run) -> str:
    """The expansions of a run's blocks, from the smallest to the largest: ``3–4``; empty without any."""
    values = expansions(run)
    return _TO.join(dict.fromkeys(f"{value:g}" for value in (min(values), max(values)))) if values else ""
