"""Arch: a complete, concrete network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hvnas.blocks import Block, lower_block
from hvnas.blocks.base import has_stride
from hvnas.blocks.mobileformer import GlobalTokens
from hvnas.ops import MAP, TOKENS, Lowered, Op, Program, State

INNER = "inner"


@dataclass(frozen=True, kw_only=True)
class Run:
    """`depth` blocks of one type and width.

    `block` holds the fields that all share; `vary` names fields that differ from block to block,
    each with one value per block.
    """

    block: Block
    depth: int
    vary: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth: must be >= 1, got {self.depth}; leave the run out where it is empty")
        for name, values in self.vary:
            if len(values) != self.depth:
                raise ValueError(f"{name}: needs {self.depth} values, one per block, got {len(values)}")

    @property
    def width(self) -> int:
        """Output channels (or token dimension) of the last block."""
        widths: tuple[int, ...] = dict(self.vary).get("out", (self.block.out,))
        return widths[-1]

    def blocks(self, *, stride: int = 1) -> tuple[Block, ...]:
        """The blocks in order; the first has `stride` where that is not 1."""
        blocks = []
        for i in range(self.depth):
            fields: dict[str, Any] = {name: values[i] for name, values in self.vary}
            if stride > 1 and i == 0:
                fields["stride"] = stride
            blocks.append(replace(self.block, **fields) if fields else self.block)
        return tuple(blocks)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A downsample, then a local run and a global run; either run may be empty.

    `downsample` is a block, None, or ``"inner"``: the first block of the stage strides by itself.
    """

    downsample: Block | str | None = None
    local: Run | None = None
    global_: Run | None = None

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError(
                "a stage needs a local or a global run; leave the stage out where it has neither"
            )
        if self.downsample == INNER and not has_stride(self.runs[0][1].block):
            raise ValueError(
                f"downsample: inner needs a first block that can stride; {self.runs[0][1].block.type} cannot"
            )

    @property
    def runs(self) -> tuple[tuple[str, Run], ...]:
        """The runs that are there, named."""
        pairs = (("local", self.local), ("global", self.global_))
        return tuple((name, run) for name, run in pairs if run is not None)

    @property
    def width(self) -> int:
        """Width of the last run."""
        return self.runs[-1][1].width

    def parts(self) -> Iterator[tuple[str, Block]]:
        """The blocks in order, each with its label inside the stage."""
        if isinstance(self.downsample, Block):
            yield "downsample", self.downsample
        for position, (name, run) in enumerate(self.runs):
            stride = 2 if self.downsample == INNER and position == 0 else 1
            for i, block in enumerate(run.blocks(stride=stride)):
                yield f"{name}.{i}", block


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A network: resolution, stem, stages, head, and global tokens where it has them.

    `tokens` is ``(M, d)``: M learned global tokens of d channels that run beside the map.
    `published` and `found` are what is known of it; neither they nor the name enter equality.
    """

    name: str = field(default="unnamed", compare=False)
    resolution: int = 224
    stem: Block
    stages: tuple[Stage, ...]
    head: Block
    tokens: tuple[int, int] | None = None
    published: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    found: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        depth = sum(run.depth for stage in self.stages for _, run in stage.runs)
        return (
            f"Arch({self.name!r}, {len(self.stages)} stages of {depth} blocks, resolution {self.resolution}, "
            f"{self.head.out} classes, hash {self.hash})"
        )

    def parts(self) -> Iterator[tuple[str, Block]]:
        """Every block in order with its label: ``stem``, ``stages.0.local.0``, ..., ``head``.

        Global tokens are the part ``tokens`` behind the stem.
        """
        yield "stem", self.stem
        if self.tokens is not None:
            yield "tokens", GlobalTokens(count=self.tokens[0], out=self.tokens[1])
        for i, stage in enumerate(self.stages):
            for label, block in stage.parts():
                yield f"stages.{i}.{label}", block
        yield "head", self.head

    @property
    def input_state(self) -> State:
        """What the stem is given."""
        return State(map=(3, self.resolution, self.resolution))

    def states(self) -> Iterator[tuple[str, Block, State]]:
        """Every block with its label and the state that it is given. Raises ValueError as `lower` does."""
        state = self.input_state
        for label, block in self.parts():
            yield label, block, state
            state = _lower_part(label, block, state).state

    def lower(self) -> Program:
        """The network as a Program.

        Raises ValueError naming the part whose block cannot take what the part before leaves.
        """
        ops: list[Op] = []
        labels: list[str] = []
        sources = {MAP: -1, TOKENS: -1}
        state = self.input_state
        for label, block in self.parts():
            lowered = _lower_part(label, block, state)
            offset = len(ops)
            for op in lowered.ops:
                inputs = tuple(sources[i] if i < 0 else i + offset for i in op.inputs)
                ops.append(op if inputs == op.inputs else op.reading(inputs))
            labels += [label] * len(lowered.ops)
            sources = {
                MAP: sources.get(lowered.map_index, lowered.map_index + offset),
                TOKENS: sources.get(lowered.tokens_index, lowered.tokens_index + offset),
            }
            state = lowered.state
        return Program(tuple(ops), tuple(labels), self.resolution)

    def with_(
        self, *, classes: int | None = None, resolution: int | None = None, name: str | None = None
    ) -> Arch:
        """The same network for another number of classes, another resolution, or under another name.

        At another size it is another network: what was published of this one, or found, is not said of it.
        """
        changed = replace(
            self,
            name=self.name if name is None else name,
            resolution=self.resolution if resolution is None else resolution,
            head=self.head if classes is None else replace(self.head, out=classes),
        )
        return changed if changed == self else replace(changed, published=None, found=None)

    def shrunk(self) -> Arch:
        """A small network of the same structure, for tests: an eighth as wide, runs of at most 2 blocks.

        See `hvnas.arch.shrink`. Raises ValueError where no such network can be built.
        """
        from hvnas.arch.shrink import shrink

        return shrink(self)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits that depend on everything but name, published and found."""
        from hvnas.arch.files import to_dict

        data = to_dict(replace(self, name="", published=None, found=None))
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _lower_part(label: str, block: Block, state: State) -> Lowered:
    try:
        return lower_block(block, state)
    except ValueError as error:
        raise ValueError(f"{label} ({block.type}): {error}") from None
