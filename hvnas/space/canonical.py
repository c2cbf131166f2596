"""Canonical encodings, vectorised: one row per architecture, whatever indices come in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas.blocks import Block, lower_block
from hvnas.ops import State
from hvnas.space.layout import Layout, SlotColumns, per_block
from hvnas.space.spec import SAME
from hvnas.space.traits import DownTraits, Traits

Rows = NDArray[np.int16]
ABSENT = -1


class Canonicaliser:
    """Tables for one space, and the pass over the stages that applies them.

    A row is canonical when every gene that has no say is 0 and the network it names can be built:
    widths fit their blocks, the downsample fits the first block and the map size. Anything else is
    moved to the nearest row that is.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        spec = layout.spec
        self.traits = {name: Traits(preset) for name, preset in spec.blocks.items()}
        self.downs = {name: DownTraits(preset) for name, preset in spec.downsamples.items()}
        self.cardinalities = np.array([len(gene.values) for gene in layout.genes], dtype=np.int64)
        self.stem_sizes = self._stem_sizes()
        self.stages = tuple(_StageTables(self, i) for i in range(len(spec.stages)))
        widths = spec.stem_width
        self.explicit_stem = np.array([i for i, w in enumerate(widths) if w != SAME], dtype=np.int64)
        self.same_stem = widths.index(SAME) if SAME in widths else None

    def _stem_sizes(self) -> NDArray[np.int64]:
        """Map size behind each stem at each resolution. Shape [stems, resolutions]."""
        sizes = []
        for preset in self.layout.spec.stems:
            assert isinstance(preset.block, Block)
            states = [
                lower_block(preset.block, State(map=(3, r, r))).state for r in self.layout.spec.resolution
            ]
            sizes.append([(state.map or state.grid or (1,))[-1] for state in states])
        return np.array(sizes, dtype=np.int64)

    def __call__(self, rows: NDArray[Any]) -> Rows:
        """Canonical rows. Shape [n, genes], whole numbers of any size in, int16 out."""
        rows = np.clip(np.asarray(rows, dtype=np.int64), 0, self.cardinalities - 1)
        layout = self.layout
        counts = np.array(layout.spec.counts)[rows[:, layout.count]]
        size = self.stem_sizes[rows[:, layout.stem], rows[:, layout.resolution]]
        seen_3d = np.zeros(len(rows), dtype=bool)
        for i, stage in enumerate(self.stages):
            active = counts > i
            size, seen_3d = stage.apply(rows, active, size, seen_3d)
        self._stem_width(rows)
        return rows.astype(np.int16)

    def _stem_width(self, rows: NDArray[np.int64]) -> None:
        column = self.layout.stem_width
        same = self.stages[0].stem_must_match(rows)
        if self.same_stem is not None:
            rows[same, column] = self.same_stem
        if not len(self.explicit_stem):
            return
        widths = np.array([w if w != SAME else 0 for w in self.layout.spec.stem_width])
        wrong = ~same & (widths[rows[:, column]] == 0)
        if wrong.any():
            target = np.array(self.layout.spec.stages[0].width)[rows[wrong, self.layout.stages[0].width]] / 2
            explicit = widths[self.explicit_stem]
            rows[wrong, column] = self.explicit_stem[np.abs(explicit[None] - target[:, None]).argmin(1)]


class _StageTables:
    """Lookup tables of one stage."""

    def __init__(self, owner: Canonicaliser, i: int) -> None:
        layout = owner.layout
        self.owner, self.i = owner, i
        self.columns = layout.stages[i]
        self.spec = layout.spec.stages[i]
        self.local, self.global_ = self.columns.slots["local"], self.columns.slots["global"]
        self.types = {
            s: [owner.traits[p.name] for p in self.columns.slots[s].types] for s in ("local", "global")
        }
        self.depths = {s: np.array(self.columns.slots[s].depths) for s in ("local", "global")}
        self.width_fix = self._width_fix()
        self.global_width_fix = self._global_width_fix()
        self.gene_fix = {s: self._gene_fix(self.columns.slots[s]) for s in ("local", "global")}
        self.is_3d = np.array([p.block.type == "mb3d" for p in self.global_.types])  # type: ignore[union-attr]
        self.down_fix: dict[int, NDArray[np.int64]] = {}
        self.rule_order = "4d_before_3d" in layout.spec.rules

    # tables

    def fits(self, local: int, global_: int) -> list[int]:
        """Indices of the widths that fit the given types (`ABSENT`: no such run)."""
        return [
            w
            for w, width in enumerate(self.spec.width)
            if (local == ABSENT or self.types["local"][local].fits_width(width))
            and (global_ == ABSENT or self.types["global"][global_].fits_width(width))
        ]

    def _width_fix(self) -> NDArray[np.int64]:
        """Nearest fitting width. Shape [local types + 1, global types + 1, widths]; last index: absent."""
        n_local, n_global = len(self.types["local"]), len(self.types["global"])
        widths = np.array(self.spec.width)
        table = np.zeros((n_local + 1, n_global + 1, len(widths)), dtype=np.int64)
        for a in range(n_local + 1):
            for b in range(n_global + 1):
                good = self.fits(a if a < n_local else ABSENT, b if b < n_global else ABSENT)
                if not good:
                    good = list(range(len(widths)))
                table[a, b] = np.array(good)[np.abs(widths[good][None] - widths[:, None]).argmin(1)]
        return table

    def explicit_widths(self, global_: int, width: int) -> list[int]:
        """Indices into global_width that mean another width than `width` and fit the type."""
        traits = self.types["global"][global_]
        if not traits.changes_width:
            return []
        values = self.spec.global_width
        return [
            i
            for i, v in enumerate(values)
            if v not in (SAME, self.spec.width[width]) and traits.fits_width(v)
        ]

    def _global_width_fix(self) -> NDArray[np.int64]:
        """Canonical global width index. Shape [global types, widths, global widths]."""
        shape = (len(self.types["global"]), len(self.spec.width), len(self.spec.global_width))
        table = np.zeros(shape, dtype=np.int64)
        for b in range(shape[0]):
            for w in range(shape[1]):
                for g in self.explicit_widths(b, w):
                    table[b, w, g] = g
        return table

    def _gene_fix(self, slot: SlotColumns) -> dict[str, NDArray[np.int64]]:
        """Canonical index per gene. Shape [types, depths, values]; 0 where the type does not read it."""
        tables = {}
        for gene, column in slot.genes.items():
            values = self.owner.layout.genes[column].values
            table = np.zeros((len(slot.types), len(slot.depths), len(values)), dtype=np.int64)
            for d, depth in enumerate(slot.depths):
                first: dict[Any, int] = {}
                canonical = [first.setdefault(per_block(v, depth), k) for k, v in enumerate(values)]
                for t, preset in enumerate(slot.types):
                    if gene in preset.reads and depth:
                        table[t, d] = canonical
            tables[gene] = table
        return tables

    def down_options(self, slot: str, first: int, size: int) -> dict[int, int]:
        """Downsample indices that the first block and the map size allow, with the size they leave."""
        traits = self.types[slot][first]
        options = {}
        for k, name in enumerate(self.spec.downsample):
            down = self.owner.downs[name]
            if down.kind == "none" and self.i > 0 and not traits.changes_width:
                continue
            out = down.out_size(size, traits)
            if out is not None and out >= 1:
                options[k] = out
        return options

    def _down_tables(self, size: int) -> NDArray[np.int64]:
        """(index, size) after each choice. Shape [local types + global types, downsamples, 2]."""
        if size not in self.down_fix:
            n_down = len(self.spec.downsample)
            firsts = [("local", t) for t in range(len(self.types["local"]))]
            firsts += [("global", t) for t in range(len(self.types["global"]))]
            table = np.zeros((len(firsts), n_down, 2), dtype=np.int64)
            for f, (slot, t) in enumerate(firsts):
                options = self.down_options(slot, t, size) or {0: max(1, size // 2)}
                for k in range(n_down):
                    choice = k if k in options else next(iter(options))
                    table[f, k] = choice, options[choice]
            self.down_fix[size] = table
        return self.down_fix[size]

    # the pass

    def apply(
        self,
        rows: NDArray[np.int64],
        active: NDArray[np.bool_],
        size: NDArray[np.int64],
        seen_3d: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Make this stage's genes canonical in place; the map size and the 3D flag behind it."""
        c = self.columns
        rows[np.ix_(~active, np.array(c.all))] = 0
        local_depth, global_depth = self._presence(rows, active, seen_3d)
        has_local, has_global = (local_depth > 0) & active, (global_depth > 0) & active
        rows[~has_local, self.local.type] = 0
        rows[~has_global, self.global_.type] = 0
        for slot in ("local", "global"):
            self._fix_genes(rows, slot)
        lt = np.where(has_local, rows[:, self.local.type], len(self.types["local"]))
        gt = np.where(has_global, rows[:, self.global_.type], len(self.types["global"]))
        rows[:, c.width] = np.where(active, self.width_fix[lt, gt, rows[:, c.width]], 0)
        both = has_local & has_global
        explicit = self.global_width_fix[np.minimum(gt, len(self.types["global"]) - 1), rows[:, c.width]]
        chosen = explicit[np.arange(len(rows)), rows[:, c.global_width]]
        rows[:, c.global_width] = np.where(both, chosen, 0)
        first = np.where(
            has_local, rows[:, self.local.type], len(self.types["local"]) + rows[:, self.global_.type]
        )
        size = self._fix_downsample(rows, active, size, first)
        return size, seen_3d | (has_global & self.is_3d[rows[:, self.global_.type]])

    def _presence(
        self, rows: NDArray[np.int64], active: NDArray[np.bool_], seen_3d: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Depths of the two runs once no active stage is empty and the order rule holds."""
        if self.rule_order:
            late = active & seen_3d
            if late.any():
                self._only_3d(rows, late)
        local, global_ = (
            self.depths["local"][rows[:, self.local.depth]],
            self.depths["global"][rows[:, self.global_.depth]],
        )
        empty = active & (local == 0) & (global_ == 0)
        slot = "local" if self.depths["local"].any() else "global"
        rows[empty, self.columns.slots[slot].depth] = self._nonzero(slot)
        return self.depths["local"][rows[:, self.local.depth]], self.depths["global"][
            rows[:, self.global_.depth]
        ]

    def _only_3d(self, rows: NDArray[np.int64], late: NDArray[np.bool_]) -> None:
        rows[late, self.local.depth] = self._zero("local")
        rows[late, self.global_.type] = int(np.flatnonzero(self.is_3d)[0])
        empty = late & (self.depths["global"][rows[:, self.global_.depth]] == 0)
        rows[empty, self.global_.depth] = self._nonzero("global")

    def _zero(self, slot: str) -> int:
        return int(np.flatnonzero(self.depths[slot] == 0)[0])

    def _nonzero(self, slot: str) -> int:
        return int(np.flatnonzero(self.depths[slot])[0])

    def _fix_genes(self, rows: NDArray[np.int64], slot: str) -> None:
        columns = self.columns.slots[slot]
        for gene, table in self.gene_fix[slot].items():
            column = columns.genes[gene]
            rows[:, column] = table[rows[:, columns.type], rows[:, columns.depth], rows[:, column]]

    def _fix_downsample(
        self,
        rows: NDArray[np.int64],
        active: NDArray[np.bool_],
        size: NDArray[np.int64],
        first: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        out = size.copy()
        column = self.columns.downsample
        for value in np.unique(size[active]):
            here = active & (size == value)
            fixed = self._down_tables(int(value))[first[here], rows[here, column]]
            rows[here, column] = fixed[:, 0]
            out[here] = fixed[:, 1]
        return out

    def stem_must_match(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where the stem's width must be this stage's: no downsample, a first block that keeps its width."""
        kinds = np.array([self.owner.downs[n].kind == "none" for n in self.spec.downsample])
        keeps = {s: np.array([not t.changes_width for t in self.types[s]]) for s in ("local", "global")}
        has_local = self.depths["local"][rows[:, self.local.depth]] > 0
        first_keeps = np.where(
            has_local, keeps["local"][rows[:, self.local.type]], keeps["global"][rows[:, self.global_.type]]
        )
        return kinds[rows[:, self.columns.downsample]] & first_keeps
