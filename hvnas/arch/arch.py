"""Arch: a complete, concrete network, as plain data; with other numbers in its blocks, shrunk, or part by
part for people.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from hvnas._records import Table
from hvnas.blocks import Block, lower_block
from hvnas.blocks.base import has_stride, is_shown
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
        """Return the blocks in order; the first has `stride` where that is not 1."""
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
        """Return the blocks in order, each with its label inside the stage."""
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

    def _repr_html_(self) -> str:
        """The network stage by stage, for notebooks."""
        caption = f"{self.name}: {self.resolution} px, hash {self.hash}"
        return replace(layout(self), title=caption).to_html()

    def parts(self) -> Iterator[tuple[str, Block]]:
        """Return every block in order with its label: ``stem``, ``stages.0.local.0``, ..., ``head``.

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
        """Return every block with its label and the state that it is given.

        Raises ValueError as `lower` does.
        """
        state = self.input_state
        for label, block in self.parts():
            yield label, block, state
            state = _lower_part(label, block, state).state

    def lower(self) -> Program:
        """Return the network as a Program.

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
        """Return the same network for another number of classes, another resolution, or under another name.

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
        """Return a small network of the same structure, an eighth as wide, runs of at most 2 blocks.

        See `hvnas.arch.arch`. Raises ValueError where no such network can be built.
        """

        return shrink(self)

    @property
    def hash(self) -> str:
        """12 hexadecimal digits that depend on everything but name, published and found."""

        data = to_dict(replace(self, name="", published=None, found=None))
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _lower_part(label: str, block: Block, state: State) -> Lowered:
    try:
        return lower_block(block, state)
    except ValueError as error:
        raise ValueError(f"{label} ({block.type}): {error}") from None


BY = 8  # how much narrower
MOST_BLOCKS = 2
MOST_CLASSES = 10
STEPS = (8, 16, 32, 64, 128, 256)
DEPTHS = frozenset({"layers"})


def shrink(arch: Arch) -> Arch:
    """`arch` with the same blocks in the same order, narrower and shallower, for 10 classes at most.

    Every width, the global tokens' and those inside blocks among them, becomes an eighth, rounded up to
    a multiple of 8 or of the next power of two at which the network can be built: what a block divides
    by (head dimension, groups) stays as it is. Runs keep their first two blocks. The resolution stays.
    Raises ValueError, as `Arch.lower` does, where no multiple up to 256 fits.
    """
    for step in STEPS:
        try:
            small = _shrink(arch, step)
            small.lower()
            return small
        except ValueError as error:
            reason = error
    raise reason


def _narrowed(step: int, width: int) -> int:
    """An eighth of `width`, rounded up to a multiple of `step`."""
    return -(-width // (BY * step)) * step


def _shrink(arch: Arch, step: int) -> Arch:
    small = transformed(arch, values=partial(_value, step), depths=lambda _, depth: min(depth, MOST_BLOCKS))
    tokens = (arch.tokens[0], _narrowed(step, arch.tokens[1])) if arch.tokens else None
    head = replace(small.head, out=min(arch.head.out, MOST_CLASSES))
    return replace(small, name=f"{arch.name}_shrunk", head=head, tokens=tokens)


def _value(step: int, name: str, value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in WIDTHS:
        return _narrowed(step, value)
    return min(value, MOST_BLOCKS) if name in DEPTHS else value


WIDTHS = frozenset({"out", "dim", "hidden", "channels"})  # fields that hold a number of channels


# The name of a field and its value to its new value; a run's label and depth to its new depth.
Values = Callable[[str, Any], Any]
Depths = Callable[[str, int], int]


def transformed(arch: Arch, *, values: Values, depths: Depths) -> Arch:
    """`arch` with every block's fields put through `values` and every run's depth through `depths`.

    Labels of runs are ``stages.2.local``. The classes and the global tokens stay. Where a run has one value
    per block, a shorter one keeps the first and a longer one repeats the last. Published facts go.
    """
    return replace(
        arch,
        stem=_block(arch.stem, values),
        stages=tuple(_stage(stage, f"stages.{i}", values, depths) for i, stage in enumerate(arch.stages)),
        head=replace(_block(arch.head, values), out=arch.head.out),
        published=None,
        found=None,
    )


def _stage(stage: Stage, label: str, values: Values, depths: Depths) -> Stage:
    down = stage.downsample
    return Stage(
        downsample=_block(down, values) if isinstance(down, Block) else down,
        local=_run(stage.local, f"{label}.local", values, depths),
        global_=_run(stage.global_, f"{label}.global", values, depths),
    )


def _run(run: Run | None, label: str, values: Values, depths: Depths) -> Run | None:
    if run is None:
        return None
    depth = depths(label, run.depth)
    vary = tuple((name, tuple(values(name, v) for v in _fitted(own, depth))) for name, own in run.vary)
    return Run(block=_block(run.block, values), depth=depth, vary=vary)


def _fitted(values: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
    return (*values[:depth], *values[-1:] * (depth - len(values)))


def _block(block: Block, values: Values) -> Block:
    own = {field.name: getattr(block, field.name) for field in fields(block)}
    return replace(block, **{name: values(name, value) for name, value in own.items()})


SCHEMA = "hvnas.arch/1"


def to_dict(arch: Arch) -> dict[str, Any]:
    """Plain data for YAML or JSON: ordered and complete, no field left to a default."""
    data: dict[str, Any] = {"schema": SCHEMA, "name": arch.name, "resolution": arch.resolution}
    if arch.tokens is not None:
        data["tokens"] = list(arch.tokens)
    data["stem"] = block_to_dict(arch.stem)
    data["stages"] = [_stage_to_dict(stage) for stage in arch.stages]
    data["head"] = block_to_dict(arch.head)
    if arch.published is not None:
        data["published"] = dict(arch.published)
    if arch.found is not None:
        data["found"] = dict(arch.found)
    return data


def _stage_to_dict(stage: Stage) -> dict[str, Any]:
    down = stage.downsample
    data: dict[str, Any] = {"downsample": block_to_dict(down) if isinstance(down, Block) else down}
    for name, run in stage.runs:
        fields = block_to_dict(run.block)
        fields.pop("stride", None)
        fields |= {_shown(run.block, field): _plain(values) for field, values in run.vary}
        data[name] = {"type": fields.pop("type"), "depth": run.depth, **fields}
    return data


def block_to_dict(block: Block) -> dict[str, Any]:
    """Type, width (a head: classes), then every other field but options at their defaults."""
    data: dict[str, Any] = {"type": block.type}
    for shown in dataclasses.fields(block):
        value = getattr(block, shown.name)
        if is_shown(shown, value):
            data[_shown(block, shown.name)] = _plain(value)
    return data


def _plain(value: Any) -> Any:
    """Whole floats as integers, tuples as lists: what is equal is written, and hashed, the same."""
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(block: Block | type[Block], name: str) -> str:
    return name if name != "out" else ("classes" if block.role == "head" else "width")


LAYOUT = ("part", "downsample", "local run", "global run", ">width", ">expand", "map")
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


def layout(arch: Arch) -> Table:
    """The network stage by stage: blocks with their depth, widths, expansions, and the map each leaves.

    Raises ValueError where it cannot be lowered.
    """
    leaves = {part.label: _extent(part.leaves) for part in outline(arch) if part.leaves}
    stem, head = arch.stem, arch.head
    rows: list[tuple[object, ...]] = [("stem", sampled(stem), None, None, stem.out, None, leaves["stem"])]
    for i, stage in enumerate(arch.stages):
        rows.append((f"stage {i + 1}", *_stage_cells(stage), leaves[f"stages.{i}"]))
    rows.append(("head", head.type, None, None, f"{head.out} classes", None, None))
    return Table(LAYOUT, tuple(rows))


def _extent(state: State) -> str:
    parts = []
    if state.map is not None:
        parts.append(f"{state.map[1]}×{state.map[2]}")
    if state.tokens is not None:
        parts.append(f"{state.tokens[0]} tokens of {state.tokens[1]}")
    return ", ".join(parts)


def _stage_cells(stage: Stage) -> tuple[object, ...]:
    down = stage.downsample
    shown = sampled(down) if isinstance(down, Block) else {"inner": "in the first block"}.get(str(down))
    runs = dict(stage.runs)
    return (
        shown,
        _run_cell(runs.get("local")),
        _run_cell(runs.get("global")),
        _joined(run.width for run in runs.values()),
        _joined(_expand(run) for run in runs.values()),
    )


def _run_cell(run: Run | None) -> str | None:
    return None if run is None else f"{run.block.type} × {run.depth}"


def _expand(run: Run) -> str:
    return ",".join(f"{value:g}" for value in expansions(run))


def _joined(values: Iterable[object]) -> str:
    """Both runs' values, or one where they agree."""
    return " / ".join(dict.fromkeys(str(value) for value in values if value != ""))
