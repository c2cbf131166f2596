"""The moves of EfficientFormer's gradual slimming (arXiv 2206.01191, section 4.2) in any space.

A run of a stage is a list of block positions; those of the local runs are the paper's MB4D, those of the
global runs its MB3D. Its rule "4D before 3D" is kept over the whole network: no local run stands behind a
global one. What the paper leaves open, or what a space with shared weights asks for:

* The layout to start from is not known. Here it has every block that the order allows at the largest sizes of
  the space, each run of the type that is most important; the layout with the most blocks, attention in the
  latest stage where several have as many.
* The importance of a block is the odds of its type against identity (the paper: the ratio of the alphas),
  that of a stage the sum over its blocks.
* *Identity* takes the least important block. A member of a smaller depth has the leading positions of its
  run, so the block is the last one of a run; a depth that the space skips takes several.
* *Convert*: whether "remove the first MB3D" leaves an MB4D behind is not said. Here the first global block
  becomes one more local block of its stage where the space has that depth, else it goes.
* *Narrow* takes 16 channels off the least important stage, or the next width that the space has.

EfficientFormerV2's joint search (arXiv 2212.08059) looks at every block, width and expansion
ratio instead: `Moves.frontier`. Where V1's three actions are used up and the network is still too slow, the
search goes on with the frontier, and after it with any change of one gene (`Moves.swaps`): a space may hold
choices that the papers' do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from hvnas.space import Space
from hvnas.space.canonical.canonical import Rows
from hvnas.supernet.supernet import extreme, neighbours, sizes_of, with_sizes

IDENTITY, CONVERT, NARROW, SHRINK, SWAP = "identity", "convert", "narrow", "shrink", "swap"
CHANNELS = 16
# Of a block that no importance is known of: as much as identity.
UNKNOWN = 1.0

Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Move:
    """One step from a member to a smaller one: its canonical row [genes], and the importance that goes."""

    kind: str
    part: str
    change: str
    row: Rows
    lost: float


class Moves:
    """The moves from members of `space`, given `scores`: importance by position and block type.

    A position is named as ``stages.2.global.0``; what `scores` does not hold counts as much as identity.
    """

    def __init__(self, space: Space, scores: Scores) -> None:
        self.space, self.scores = space, scores
        self.layout = space.layout
        self.column = {gene.name: i for i, gene in enumerate(space.genes)}
        self.runs = [
            f"stages.{i}.{slot}" for i in range(len(self.layout.stages)) for slot in ("local", "global")
        ]

    # what a row holds

    def value(self, row: Rows, gene: str) -> object:
        """The value of a gene."""
        column = self.column[gene]
        return self.space.genes[column].values[int(row[column])]

    def depth(self, row: Rows, run: str) -> int:
        """Blocks of a run, 0 in a stage that is not there."""
        stages = self.layout.spec.counts[int(row[self.layout.count])]
        return _whole(self.value(row, f"{run}.depth")) if int(run.split(".")[1]) < stages else 0

    def importance(self, row: Rows, run: str, positions: Iterable[int] | None = None) -> float:
        """The sum over blocks of a run, all of them unless `positions` are named."""
        block = str(self.value(row, f"{run}.type"))
        counted = range(self.depth(row, run)) if positions is None else positions
        return sum(self.scores.get(f"{run}.{k}", {}).get(block, UNKNOWN) for k in counted)

    def stage_importance(self, row: Rows, stage: int) -> float:
        """The sum over the blocks of a stage."""
        return sum(self.importance(row, f"stages.{stage}.{slot}") for slot in ("local", "global"))

    def in_order(self, row: Rows) -> bool:
        """Whether every local run stands before every global one."""
        present = [run.endswith("global") for run in self.runs if self.depth(row, run)]
        return present == sorted(present)

    # where to start

    def start(self) -> Rows:
        """The largest member with all local blocks before the global ones. Shape [genes].

        Raises ValueError where the space holds none.
        """
        base = extreme(self.space, sign=1)
        layouts = [found for split in range(len(self.layout.stages)) if (found := self._layout(base, split))]
        if not layouts:
            raise ValueError(
                f"space {self.space.name}: holds no network with all local blocks before the global ones, "
                "which slimming starts from; add depths of 0 to the space, or choose another strategy"
            )
        _, row = max(layouts, key=lambda found: found[0])
        return row

    def _layout(self, base: Rows, split: int) -> tuple[tuple[int, int], Rows] | None:
        """The member whose local runs end with stage `split`, and what ranks it; None where there is none."""
        row = base.copy()
        for i in range(self.layout.spec.counts[int(base[self.layout.count])]):
            found = self._stage(row, i, local=i <= split, global_=i >= split)
            if found is None:
                return None
            row = found
        row = with_sizes(self.space, row, sign=1)
        return ((self._blocks(row), split), row) if self.in_order(row) else None

    def _blocks(self, row: Rows) -> int:
        return sum(self.depth(row, run) for run in self.runs)

    def _stage(self, row: Rows, i: int, *, local: bool, global_: bool) -> Rows | None:
        """`row` with the most important types in the runs of stage `i` and their largest depths, else 0."""
        wanted = {f"stages.{i}.local": local, f"stages.{i}.global": global_}
        depths = {run: self._extreme_depth(run, largest=there) for run, there in wanted.items()}
        if any(depths[run] and not there for run, there in wanted.items()) or not any(depths.values()):
            return None
        own = self.value(row, f"stages.{i}.downsample")
        downsamples = sorted(self._values(f"stages.{i}.downsample"), key=lambda name: name != own)
        for types, downsample in product(self._types(depths), downsamples):
            values: dict[str, object] = {f"{run}.depth": depth for run, depth in depths.items()}
            values |= {f"{run}.type": block for run, block in types.items()}
            found = self._with(row, values | {f"stages.{i}.downsample": downsample})
            found = row if found is None else found
            if all(self.value(found, name) == value for name, value in values.items()):
                return found
        return None

    def _extreme_depth(self, run: str, *, largest: bool) -> int:
        values = [_whole(v) for v in self.space.genes[self.column[f"{run}.depth"]].values]
        return max(values) if largest else min(values)

    def _types(self, depths: Mapping[str, int]) -> Iterator[dict[str, str]]:
        """The types of the runs that are there, the most important ones first."""
        runs = [run for run, depth in depths.items() if depth]
        lists = [self.space.genes[self.column[f"{run}.type"]].values for run in runs]

        def total(types: tuple[str, ...]) -> float:
            pairs = zip(runs, types, strict=True)
            return sum(
                self.scores.get(f"{run}.{k}", {}).get(block, UNKNOWN)
                for run, block in pairs
                for k in range(depths[run])
            )

        for types in sorted(product(*lists), key=total, reverse=True):
            yield dict(zip(runs, types, strict=True))

    # where to go

    def actions(self, row: Rows) -> list[Move]:
        """The paper's three, those of them that there are."""
        return [move for move in (self.identity(row), self.convert(row), self.narrow(row)) if move]

    def identity(self, row: Rows) -> Move | None:
        """Without the least important block."""
        moves = [move for run in self.runs if (move := self._shallower(row, run, IDENTITY))]
        return min(moves, key=lambda move: move.lost, default=None)

    def convert(self, row: Rows) -> Move | None:
        """The first global block as a local one of its stage."""
        run = next((run for run in self.runs if run.endswith("global") and self.depth(row, run)), None)
        shallower = run and self._shallower(row, run, CONVERT)
        if not run or not shallower:
            return None
        beside = run.replace("global", "local")
        deeper = self._lengthened(shallower.row, beside)
        if deeper is None:
            return Move(CONVERT, run, f"{shallower.change}, none local", shallower.row, shallower.lost)
        before, after = self.depth(row, beside), self.depth(deeper, beside)
        gained = self.importance(deeper, beside) - self.importance(row, beside)
        change = f"{shallower.change}, local depth {before} -> {after}"
        return Move(CONVERT, run, change, deeper, shallower.lost - gained)

    def narrow(self, row: Rows) -> Move | None:
        """With the least important stage narrower by 16."""
        stages = [i for i in range(len(self.layout.stages)) if any(self.depth(row, r) for r in self._of(i))]
        for i in sorted(stages, key=lambda i: self.stage_importance(row, i)):
            gene = f"stages.{i}.width"
            width = _whole(self.value(row, gene))
            narrower = sorted(_whole(v) for v in self._values(gene) if _whole(v) < width)
            apart = [w for w in narrower if w <= width - CHANNELS]
            chosen = (apart or narrower)[-1:]
            found = self._with(row, {gene: chosen[0]}) if chosen else None
            if found is not None and self.value(found, gene) == chosen[0] and self.in_order(found):
                lost = self.stage_importance(row, i) * (1 - chosen[0] / width)
                return Move(NARROW, f"stages.{i}", f"width {width} -> {chosen[0]}", found, lost)
        return None

    def frontier(self, row: Rows) -> list[Move]:
        """Every size of the space one value smaller, by itself, and `convert`."""
        moves = []
        for gene in self.space.genes:
            sizes = None if gene.name == "stages" else sizes_of(gene.values)
            run = gene.name.removesuffix(".depth")
            if sizes is None:
                continue
            if run != gene.name:
                moves.append(self._shallower(row, run, IDENTITY))
            else:
                moves.append(self._smaller(row, gene.name, sizes))
        return [move for move in (*moves, self.convert(row)) if move]

    def swaps(self, row: Rows) -> list[Move]:
        """Every other value of every gene."""
        moves = []
        for found in neighbours(self.space, row):
            changed = np.flatnonzero(found != row).tolist()
            if changed and self.in_order(found):
                gene = self.space.genes[changed[0]]
                more = f", {len(changed) - 1} more" if len(changed) > 1 else ""
                change = f"{gene.values[int(row[changed[0]])]} -> {gene.values[int(found[changed[0]])]}{more}"
                moves.append(Move(SWAP, gene.name, change, found, self._total(row) - self._total(found)))
        return moves

    def _total(self, row: Rows) -> float:
        return sum(self.importance(row, run) for run in self.runs)

    def _shallower(self, row: Rows, run: str, kind: str) -> Move | None:
        """A run at the next smaller depth."""
        depth = self.depth(row, run)
        smaller = [_whole(v) for v in self._values(f"{run}.depth") if _whole(v) < depth]
        if not smaller:
            return None
        found = self._with(row, {f"{run}.depth": max(smaller)})
        if found is None or self.depth(found, run) != max(smaller) or not self.in_order(found):
            return None
        lost = self.importance(row, run, range(max(smaller), depth))
        return Move(kind, f"{run}.{max(smaller)}", f"depth {depth} -> {max(smaller)}", found, lost)

    def _lengthened(self, row: Rows, run: str) -> Rows | None:
        """A run at the next larger depth; of its most important type where it was empty."""
        depth = self.depth(row, run)
        larger = [_whole(v) for v in self._values(f"{run}.depth") if _whole(v) > depth]
        if not larger:
            return None
        for types in [{}] if depth else self._types({run: min(larger)}):
            values = {f"{run}.depth": min(larger)} | {f"{r}.type": block for r, block in types.items()}
            found = self._with(row, values)
            if found is not None and self.depth(found, run) == min(larger) and self.in_order(found):
                return found
        return None

    def _smaller(self, row: Rows, gene: str, sizes: list[float]) -> Move | None:
        """A gene at the next smaller value."""
        column = self.column[gene]
        here = sizes[int(row[column])]
        below = [size for size in sizes if size < here]
        if not below:
            return None
        index = sizes.index(max(below))
        values = self.space.genes[column].values
        found = self._with(row, {gene: values[index]})
        if found is None or found[column] != index or not self.in_order(found):
            return None
        kind = NARROW if gene.endswith("width") else SHRINK
        change = f"{gene.rpartition('.')[2]} {values[int(row[column])]} -> {values[index]}"
        lost = self._concerned(row, gene) * (1 - max(below) / here)
        return Move(kind, gene.rpartition(".")[0] or gene, change, found, lost)

    def _concerned(self, row: Rows, gene: str) -> float:
        """The importance of the blocks that a gene has a say in."""
        run = gene.rpartition(".")[0]
        if run in self.runs:
            return self.importance(row, run)
        return self.stage_importance(row, int(run.split(".")[1])) if "." in run else self._total(row)

    def _with(self, row: Rows, values: Mapping[str, object]) -> Rows | None:
        """The canonical row with these values; None where that is `row` itself."""
        changed = row.copy()
        for name, value in values.items():
            changed[self.column[name]] = self._values(name).index(value)
        found: Rows = self.space.canonicalise(changed[None])[0]
        return None if np.array_equal(found, row) else found

    def _values(self, gene: str) -> tuple[object, ...]:
        return self.space.genes[self.column[gene]].values

    def _of(self, stage: int) -> tuple[str, str]:
        return f"stages.{stage}.local", f"stages.{stage}.global"


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value
