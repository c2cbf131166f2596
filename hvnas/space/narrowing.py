"""Spaces made narrower: by what blocks must not have, by what divides their widths, or around a member."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hvnas._names import listed, shown, unknown_name
from hvnas.arch import Arch
from hvnas.blocks import Block, lower_block
from hvnas.blocks.limits import MOST_VALUES, Values, check_number, read_values
from hvnas.ops.op import KINDS, Op
from hvnas.space.canonical.traits import EVEN, states_of
from hvnas.space.layout import Layout, is_profile
from hvnas.space.spec import Preset, SpaceSpec, StageSpec

if TYPE_CHECKING:
    from hvnas.space.layout import Encoded

DEPTHS_BELOW = 2
SIZES_BELOW = 1


def around_spec(space: Encoded, arch: Arch, *, also: Sequence[str] = ()) -> SpaceSpec:
    """`space` narrowed to `arch` and what is a little smaller.

    Depths have the member's value and the two below it in the space's list, 0 only where it is the member's;
    widths, expansions, and other numbers the member's and the next below; everything else the member's.
    Genes of blocks have one list for all stages, so limits of parameters and MACs, the member's own, keep
    it the largest. `also` names blocks that runs may consist of besides the member's, where the space offers
    them.
    Raises ValueError where `arch` is not in `space`.
    """
    row = space.encode(arch)
    layout, spec = space.layout, space.spec
    program = arch.with_(classes=layout.head_block(row).out).lower()
    return replace(
        spec,
        name=f"{spec.name} around {arch.name}",
        description=f"{arch.name} and somewhat smaller networks",
        parent=spec.name,
        resolution=_below(spec.resolution, arch.resolution, SIZES_BELOW),
        counts=(len(arch.stages),),
        stems=(spec.stems[row[layout.stem]],),
        stem_width=_below(spec.stem_width, layout.value(row, layout.stem_width), SIZES_BELOW),
        heads=(spec.heads[row[layout.head]],),
        tokens=(layout.value(row, layout.tokens),),
        stages=tuple(_stage(layout, row, i, tuple(also)) for i in range(len(arch.stages))),
        genes={gene: _gene(layout, row, gene, values) for gene, values in spec.genes.items()},
        limits={"params": float(program.params), "macs": float(program.macs)},
    )


def _below(values: Values, value: Any, count: int) -> Values:
    """`value` and the `count` largest of `values` that are smaller, in the order of `values`."""
    if not _is_number(value):
        return (value,)
    smaller = sorted(v for v in values if _is_number(v) and 0 < v < value)
    return tuple(v for v in values if v == value or v in smaller[max(0, len(smaller) - count) :])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _stage(layout: Layout, row: NDArray[np.int16], i: int, also: tuple[str, ...]) -> StageSpec:
    stage, columns = layout.spec.stages[i], layout.stages[i]
    depths, types = {}, {}
    for slot, offered in (("local", stage.local), ("global", stage.global_)):
        run = columns.slots[slot]
        depth, own = layout.value(row, run.depth), layout.value(row, run.type)
        depths[slot] = _below(run.depths, depth, DEPTHS_BELOW)
        types[slot] = tuple(name for name in offered if name == own or (depth and name in also))
    return StageSpec(
        downsample=(layout.value(row, columns.downsample),),
        width=_below(stage.width, layout.value(row, columns.width), SIZES_BELOW),
        local=types["local"],
        local_depth=depths["local"],
        global_=types["global"],
        global_depth=depths["global"],
        global_width=_below(stage.global_width, layout.value(row, columns.global_width), SIZES_BELOW),
    )


def _gene(layout: Layout, row: NDArray[np.int16], gene: str, values: Values) -> Values:
    """The values that the member's runs have, and for each number the next below; one where none reads it."""
    kept: set[Any] = set()
    for stage in layout.stages:
        for run in stage.slots.values():
            if gene in run.genes and gene in run.types[row[run.type]].reads and run.depths[row[run.depth]]:
                value = layout.value(row, run.genes[gene])
                kept |= {value} if is_profile(value) else set(_below(values, value, SIZES_BELOW))
    return tuple(value for value in values if value in kept) or values[:1]


# Fields of `exclude` that are read off the ops of a block, whatever it calls them: of which kind of op they
# are the variant, and `OP` for the kinds themselves.
_VARIANT_OF = {"act": "act", "norm": "norm"}
OP = "op"


def read_excluded(data: Any, where: str) -> dict[str, Values]:
    """What ``exclude`` of a space file says: fields of blocks, each with the values that it must not have."""
    if not isinstance(data, dict) or len(data) > MOST_VALUES:
        raise ValueError(f"exclude: must be a mapping of fields to values, got {shown(data)} ({where})")
    return {
        str(name): read_values(value if isinstance(value, list) else [value], f"exclude.{name}", where)
        for name, value in data.items()
    }


def excluding(spec: SpaceSpec, excluded: Mapping[str, Values], where: str) -> SpaceSpec:
    """Leave out blocks that have one of the `excluded` values, and those values of genes.

    ``true`` stands for every value but 0 and false. Raises ValueError naming the file `where` and the field,
    for one that no block has, and where nothing is left.
    """
    if not excluded:
        return spec
    _check_excluded(spec, excluded, where)
    genes = {
        name: _kept(values, excluded.get(name, ()), f"genes.{name}", where)
        for name, values in spec.genes.items()
    }
    gone = _Excluded(excluded)
    return replace(
        spec,
        stems=gone.rest(spec.stems, "stems", where),
        heads=gone.rest(spec.heads, "heads", where),
        genes=genes,
        stages=tuple(gone.stage(spec, i, where) for i in range(len(spec.stages))),
    )


def _check_excluded(spec: SpaceSpec, excluded: Mapping[str, Values], where: str) -> None:
    """Raise ValueError for a field that no block has, and for a type or an op that none of them holds."""
    presets = (*spec.stems, *spec.heads, *spec.downsamples.values(), *spec.blocks.values())
    blocks = [preset.block for preset in presets if isinstance(preset.block, Block)]
    fields = {OP, "type", *_VARIANT_OF, *(name for block in blocks for name in vars(block) if name != "out")}
    for name, values in excluded.items():
        if name not in fields:
            raise ValueError(f"exclude.{name}: {unknown_name('field', name, sorted(fields))} ({where})")
        if name in ("type", OP, *_VARIANT_OF):
            known = KINDS if name == OP else {each for block in blocks for each in _values_of(block, name)}
            for value in values:
                if value not in known:
                    raise ValueError(
                        f"exclude.{name}: no block here has {shown(value)}; there are: "
                        f"{listed(sorted(map(str, known)))} ({where})"
                    )


def _kept(values: Values, excluded: Values, at: str, where: str) -> Values:
    """The `values` of a gene without the excluded ones, and without profiles that hold one."""
    kept = tuple(v for v in values if not any(_is(each, excluded) for each in (v if is_profile(v) else (v,))))
    if not kept:
        raise ValueError(f"exclude: leaves {at} no value; exclude fewer ({where})")
    return kept


def _is(value: Any, excluded: Values) -> bool:
    """Whether a value is one of the excluded; true stands for all but 0, and is no 1."""
    return any(
        bool(value) is each if isinstance(each, bool) else value == each and not isinstance(value, bool)
        for each in excluded
    )


@dataclass(frozen=True)
class _Excluded:
    """What ``exclude`` says, and which presets it leaves."""

    values: Mapping[str, Values]

    def holds(self, preset: Preset) -> bool:
        """Whether the preset's block has something that is excluded; what genes fill in is theirs."""
        block = preset.block
        return isinstance(block, Block) and any(
            _is(own, values)
            for name, values in self.values.items()
            if name not in preset.reads
            for own in _values_of(block, name)
        )

    def rest(self, presets: Sequence[Preset], at: str, where: str) -> tuple[Preset, ...]:
        """The presets that are left."""
        kept = tuple(preset for preset in presets if not self.holds(preset))
        if not kept:
            raise ValueError(f"exclude: leaves nothing of {at}; exclude fewer, or add one ({where})")
        return kept

    def stage(self, spec: SpaceSpec, i: int, where: str) -> StageSpec:
        """Stage `i` without what is excluded; a run that no block is left for has depth 0."""
        stage = spec.stages[i]
        downs = self.rest(
            [spec.downsamples[name] for name in stage.downsample], f"stages.{i}.downsample", where
        )
        local, local_depth = self._run(spec, stage.local, stage.local_depth, f"stages.{i}.local", where)
        others, depth = self._run(spec, stage.global_, stage.global_depth, f"stages.{i}.global", where)
        return replace(
            stage,
            downsample=tuple(preset.name for preset in downs),
            local=local,
            local_depth=local_depth,
            global_=others,
            global_depth=depth,
        )

    def _run(
        self, spec: SpaceSpec, types: tuple[str, ...], depths: tuple[int, ...], at: str, where: str
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        kept = tuple(name for name in types if not self.holds(spec.blocks[name]))
        if kept or depths == (0,):
            return kept or types, depths
        if 0 not in depths:
            raise ValueError(
                f"exclude: leaves {at} no block, and its depths have no 0; exclude fewer, or add a block "
                f"or a depth of 0 ({where})"
            )
        # A list is never empty; at depth 0 nothing of it is built.
        return types[:1], (0,)


def _values_of(block: Block, name: str) -> tuple[Any, ...]:
    """What a block has of a field of ``exclude``, each of several values by itself."""
    if name == "type":
        return (block.type,)
    value = block.get(name)
    own = value if isinstance(value, tuple) else () if value is None else (value,)
    if name == OP:
        return tuple({op.kind for op in _ops_of(block)})
    if name in _VARIANT_OF:
        return (*own, *{op.variant for op in _ops_of(block) if op.kind == _VARIANT_OF[name]})
    return own


@lru_cache(maxsize=1024)
def _ops_of(block: Block) -> tuple[Op, ...]:
    """The ops of a block on everything that it can be given, at the width that it has."""
    found: list[Op] = []
    for state in states_of(3 if block.role == "stem" else block.out, 8 * EVEN):
        try:
            found += lower_block(block, state).ops
        except ValueError:
            continue
    return tuple(found)


def dividing(spec: SpaceSpec, step: Any, where: str) -> SpaceSpec:
    """Leave out widths, of stages, global runs and the stem, that are no multiples of `step`.

    Raises ValueError naming the file `where` and the list of which nothing is left.
    """
    check_number("width", step, "multiple_of", where)

    def kept(values: Iterable[Any], at: str) -> Values:
        rest = tuple(v for v in values if not _is_number(v) or v % step == 0)
        if not rest:
            raise ValueError(
                f"multiple_of: no width of {at} is a multiple of {step}; choose another number ({where})"
            )
        return rest

    return replace(
        spec,
        stem_width=kept(spec.stem_width, "stem_width"),
        stages=tuple(
            replace(
                stage,
                width=kept(stage.width, f"stages.{i}.width"),
                global_width=kept(stage.global_width, f"stages.{i}.global_width"),
            )
            for i, stage in enumerate(spec.stages)
        ),
    )
