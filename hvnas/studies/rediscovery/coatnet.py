"""CoAtNet's five layouts, and every pattern of its blocks, at one size, ranked without the family.

Three columns, each with the chance of every place over what the evidence leaves open:

* ``imagenet1k``: top-1 after training on ImageNet-1k;
* ``capacity``: the points that large data adds (`hvnas.accuracy.surrogate.evidence`), which is what the
  evidence holds on how much a layout can make of more images; there are no scores on the pre-training data
  itself in it;
* ``transfer``: top-1 after pre-training on large data and fine-tuning on ImageNet-1k, the sum of the two.

``combined`` is the mean of a layout's places in capacity and in transfer, draw by draw. The same is done with
all sixteen patterns of convolution (C) and transformer (T) in four stages, attention behind convolution and
before it alike, of which the paper tries four. And the five layouts can be trained, as small networks of one
size (`small_layouts`). The protocols are
``modern`` (recipe modern300) and ``plain`` (basic300, crop and flip: in the evidence the nearest to Figure
1's, which has no augmentation at all). CoAtNet is arXiv 2106.04803v2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from hvnas.accuracy import Surrogate, load_estimator
from hvnas.accuracy.estimator import values_of
from hvnas.accuracy.surrogate.evidence import SATURATED, large_data_shift
from hvnas.accuracy.surrogate.features import COLUMNS as READ
from hvnas.accuracy.surrogate.features import Array, attending_share
from hvnas.arch import Arch, Run, Stage, load_arch
from hvnas.arch.arch import transformed
from hvnas.studies.ablation.matching import Match, match
from hvnas.studies.rediscovery.leave_out import SurrogateWithout, surrogate_without

FAMILIES = ("coatnet",)
LAYOUTS: Mapping[str, str] = {
    "ViT_REL": "vit_rel",
    "C-C-C-C": "coatnet_0_cccc",
    "C-C-C-T": "coatnet_0_ccct",
    "C-C-T-T": "coatnet_0",
    "C-T-T-T": "coatnet_0_cttt",
}
CHOSEN = "C-C-T-T"
PROTOCOLS: Mapping[str, str] = {"modern": "modern300", "plain": "basic300"}
COLUMNS = ("imagenet1k", "capacity", "transfer", "combined")
# The paper's orders: Figure 1's top-1 after 300 epochs (digitised, +-0.15), its words on generalisation and
# on capacity as tiers, Table 2's top-1 at 224 after fine-tuning.
PUBLISHED: Mapping[str, tuple[str, Mapping[str, float], str]] = {
    "top-1": (
        "imagenet1k",
        {"ViT_REL": 63.5, "C-C-C-C": 73.1, "C-C-C-T": 73.6, "C-C-T-T": 72.8, "C-T-T-T": 72.3},
        "Figure 1, evaluation top-1, no augmentation",
    ),
    "generalization": (
        "imagenet1k",
        {"ViT_REL": 1, "C-C-C-C": 4, "C-C-C-T": 4, "C-C-T-T": 3, "C-T-T-T": 2},
        "section 2.2, gap between training and evaluation, best first",
    ),
    "capacity": (
        "capacity",
        {"ViT_REL": 3, "C-C-C-C": 1, "C-C-C-T": 2, "C-C-T-T": 4, "C-T-T-T": 4},
        "section 2.2 and Figure 1, on JFT",
    ),
    "transfer": ("transfer", {"C-C-T-T": 82.39, "C-T-T-T": 81.78}, "Table 2, at 224"),
}
PARAMS = 25e6
# ViT_REL has the most MACs for its params, C-C-T-T among the fewest: tried is what all can reach.
MACS = tuple(1e9 * value for value in (4.8, 4.9, 5.0, 5.1, 5.2, 5.3))
DRAWS = 20_000
TAUS = 400
# For images of 32 px, by layout: widths and depths at which params and MACs agree within 5 %.
SMALL: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "ViT_REL": ((64,), (5,)),
    "C-C-C-C": ((20, 40, 72, 112), (1, 1, 2, 1)),
    "C-C-C-T": ((24, 32, 64, 112), (1, 1, 2, 1)),
    "C-C-T-T": ((20, 32, 64, 112), (1, 1, 2, 1)),
    "C-T-T-T": ((20, 32, 48, 128), (1, 1, 2, 1)),
}
SMALL_STEM = 16
HALVED = 16  # what their strides come to
# Of heads and of ViT_REL's patches, by field: what it is in the paper's size, and what in the small one.
SMALLER: Mapping[tuple[str, object], int] = {("head_dim", 32): 16, ("kernel", 16): 8, ("stride", 16): 8}
# Two neighbours in an order are told apart where the chance of that order is at least this.
DECIDED = 0.9


@dataclass(frozen=True)
class Ranked:
    """One column's order under one protocol.

    `order` holds layouts, the best first; ``chances[layout]`` the probability of each place, the first first;
    `p_above_next` the probability that each is above the next in the order; `value` what is ranked, in points
    (for ``combined`` the mean place).
    """

    order: tuple[str, ...]
    chances: Mapping[str, tuple[float, ...]]
    p_above_next: tuple[float, ...]
    value: Mapping[str, float]
    sd: Mapping[str, float]

    @property
    def is_supported(self) -> tuple[bool, ...]:
        """Of each place but the last, whether the evidence tells it from the next."""
        return tuple(chance >= DECIDED for chance in self.p_above_next)


@dataclass(frozen=True)
class Tau:
    """Kendall tau of an order with a published one: of the means, and its 5-95 % interval over the draws."""

    published: str
    column: str
    tau: float
    low: float
    high: float


@dataclass(frozen=True)
class Protocol:
    """The columns under one protocol; `taus` are of the five layouts alone."""

    name: str
    recipe: str
    columns: Mapping[str, Ranked]
    taus: tuple[Tau, ...] = ()


@dataclass(frozen=True)
class FamilyRestored:
    """The same with the family's rows given back to the regression, to the large-data shift, or to both."""

    regression: bool
    shift: bool
    place: int
    first: float
    orders: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class PatternSearch:
    """All patterns of C and T in four stages, ranked like the five layouts.

    `layouts` are those that scaling brings to the size of the five, `missed` the names of the others.
    """

    layouts: Mapping[str, Match]
    missed: tuple[str, ...]
    protocols: tuple[Protocol, ...]


@dataclass(frozen=True)
class LayoutRanks:
    """The whole study; `again` by protocol, where C-C-T-T is not first on capacity and transfer combined."""

    layouts: Mapping[str, Match]
    rows: int
    protocols: tuple[Protocol, ...]
    again: Mapping[str, tuple[FamilyRestored, ...]]
    search: PatternSearch


def rediscover_coatnet() -> LayoutRanks:
    """Rank the five layouts, and all patterns.

    Raises ValueError where the sizes of the five cannot be made to agree.
    """
    seen = load_estimator("surrogate")
    assert isinstance(seen, Surrogate)
    unseen = surrogate_without(seen, FAMILIES)
    layouts = matched()
    values = _values(unseen, layouts)
    protocols = tuple(_protocol(unseen, values, name, recipe) for name, recipe in PROTOCOLS.items())
    return LayoutRanks(
        layouts=layouts,
        rows=len(seen.evidence) - len(unseen.evidence),
        protocols=protocols,
        again={
            each.name: _family_restored(seen, unseen, values, each.recipe)
            for each in protocols
            if each.columns["combined"].order[0] != CHOSEN
        },
        search=_search(unseen, size_of(layouts[CHOSEN])),
    )


def _values(surrogate: SurrogateWithout, layouts: Mapping[str, Match]) -> Array:
    return values_of(surrogate.columns, [found.arch for found in layouts.values()])


def _search(surrogate: SurrogateWithout, size: Mapping[str, float]) -> PatternSearch:
    """All patterns made of one `size`, and their ranks."""
    found = {
        name: match(arch, size, measure=_sizes, scale=("width", "depth"))
        for name, arch in every_pattern().items()
    }
    layouts = {name: each for name, each in found.items() if each.ok}
    values = _values(surrogate, layouts)
    protocols = tuple(
        Protocol(name, recipe, _columns(tuple(layouts), *_draws(surrogate, values, recipe)))
        for name, recipe in PROTOCOLS.items()
    )
    return PatternSearch(layouts, tuple(name for name in found if name not in layouts), protocols)


def every_pattern() -> dict[str, Arch]:
    """CoAtNet-0 with every stage of convolutions or of transformers: sixteen networks, ``C-C-T-T`` and so on.

    Depths and widths are CoAtNet-0's.
    """
    convolutions, base = load_arch(LAYOUTS["C-C-C-C"]), load_arch(LAYOUTS[CHOSEN])
    last = base.stages[-1].global_
    assert last is not None, "CoAtNet-0 ends in transformer blocks"
    found = {}
    for letters in product("CT", repeat=len(base.stages)):
        stages = list(convolutions.stages)
        for i, letter in enumerate(letters):
            local = stages[i].local
            if letter == "T" and local is not None:
                run = Run(block=replace(last.block, out=local.width), depth=local.depth)
                stages[i] = replace(stages[i], local=None, global_=run)
        name = "-".join(letters)
        found[name] = replace(convolutions, name=name, stages=tuple(stages), published=None)
    return found


def size_of(found: Match) -> dict[str, float]:
    """The params and MACs that a layout was to be brought to."""
    return {quantity: value / (1 + found.off[quantity]) for quantity, value in _sizes(found.arch).items()}


def matched() -> dict[str, Match]:
    """The layouts with params and MACs that agree within 5 %, widths and depths scaled as little as may be.

    Of several common sizes the one at which they agree best.
    """
    best: dict[str, Match] = {}
    least = np.inf
    for macs in MACS:
        target = {"params": PARAMS, "macs": macs}
        found = {
            name: match(load_arch(base), target, measure=_sizes, scale=("width", "depth"))
            for name, base in LAYOUTS.items()
        }
        apart = max(spread(found, quantity) for quantity in target)
        if apart < least:
            best, least = found, apart
    if least > 0.05:
        raise ValueError(f"layouts: their sizes differ by {100 * least:.1f} %; allow other widths or depths")
    return best


def small_layouts(resolution: int) -> dict[str, Arch]:
    """The five layouts as networks of one size that images of about 32 px can be trained on.

    The first stage keeps the stem's scale, so that at 32 px stages work on 16, 8, 4 and 2 positions a side;
    `ViT_REL` reads patches of 8, so that it attends at the scale of the third stage, as in the paper. Heads
    are of 16 channels. Raises ValueError for a resolution that their strides do not divide.
    """
    if resolution % HALVED:
        raise ValueError(
            f"resolution: the layouts halve {resolution} px four times; choose a multiple of {HALVED}"
        )
    return {name: _small(name, *numbers).with_(resolution=resolution) for name, numbers in SMALL.items()}


def _small(name: str, widths: tuple[int, ...], depths: tuple[int, ...]) -> Arch:
    arch = transformed(
        load_arch(LAYOUTS[name]),
        values=lambda field, value: SMALLER.get((field, value), value),
        depths=lambda _, depth: depth,
    )
    stages = [_resized(*each) for each in zip(arch.stages, widths, depths, strict=True)]
    if name == "ViT_REL":
        return replace(arch, name=name, stem=replace(arch.stem, out=widths[0]), stages=tuple(stages))
    stages[0] = replace(stages[0], downsample=None)
    return replace(arch, name=name, stem=replace(arch.stem, out=SMALL_STEM), stages=tuple(stages))


def _resized(stage: Stage, width: int, depth: int) -> Stage:
    def run(own: Run | None) -> Run | None:
        return None if own is None else Run(block=replace(own.block, out=width), depth=depth)

    return replace(stage, local=run(stage.local), global_=run(stage.global_))


def spread(layouts: Mapping[str, Match], quantity: str) -> float:
    """By what share the largest exceeds the smallest in ``params`` or ``macs``."""
    sizes = [1 + found.off[quantity] for found in layouts.values()]
    return max(sizes) / min(sizes) - 1


def _sizes(arch: Arch) -> dict[str, float]:
    program = arch.lower()
    return {"params": float(program.params), "macs": float(program.macs)}


def _protocol(surrogate: SurrogateWithout, values: Array, name: str, recipe: str) -> Protocol:
    drawn, means, sds = _draws(surrogate, values, recipe)
    columns = _columns(tuple(LAYOUTS), drawn, means, sds)
    taus = tuple(_tau(what, drawn, means) for what in PUBLISHED)
    return Protocol(name, recipe, columns, taus)


def _columns(
    names: tuple[str, ...],
    drawn: Mapping[str, Array],
    means: Mapping[str, Array],
    sds: Mapping[str, Array],
) -> dict[str, Ranked]:
    return {column: _ranked(names, drawn[column], means[column], sds[column]) for column in COLUMNS}


def _draws(
    surrogate: SurrogateWithout, values: Array, recipe: str
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Draws [draws, layouts], means and sds [layouts] by column; more is better in each."""
    assert surrogate.shift is not None
    rng = np.random.default_rng(0)
    mean, covariance = surrogate.joint_columns(values, recipe=recipe)
    shift, spread_ = surrogate.shift.joint(values)
    alone = rng.multivariate_normal(mean, covariance, DRAWS, method="cholesky")
    gain = rng.multivariate_normal(shift, spread_, DRAWS, method="cholesky")
    drawn = {"imagenet1k": alone, "capacity": gain, "transfer": alone + gain}
    means = {"imagenet1k": mean, "capacity": shift, "transfer": mean + shift}
    sds = {name: values_.std(axis=0) for name, values_ in drawn.items()}
    drawn["combined"] = -(_places(gain) + _places(alone + gain)) / 2
    means["combined"], sds["combined"] = drawn["combined"].mean(axis=0), drawn["combined"].std(axis=0)
    return drawn, means, sds


def _places(values: Array) -> Array:
    """Places along the last axis, 1 for the largest; ties share the mean of theirs."""
    return np.asarray(rankdata(-values, axis=-1), dtype=np.float64)


def _ranked(names: tuple[str, ...], drawn: Array, mean: Array, sd: Array) -> Ranked:
    order: NDArray[np.int64] = np.argsort(-mean, kind="stable")
    # Combined places tie often: a tie counts half to either place.
    jitter = drawn + np.random.default_rng(1).uniform(0, 1e-9, drawn.shape)
    places = np.argsort(np.argsort(-jitter, axis=1), axis=1)
    n = len(names)
    return Ranked(
        order=tuple(names[i] for i in order),
        chances={
            names[i]: tuple(float((places[:, i] == place).mean()) for place in range(n)) for i in range(n)
        },
        p_above_next=tuple(float((jitter[:, a] > jitter[:, b]).mean()) for a, b in pairwise(order)),
        value=dict(zip(names, mean.tolist(), strict=True)),
        sd=dict(zip(names, sd.tolist(), strict=True)),
    )


def _tau(what: str, drawn: Mapping[str, Array], means: Mapping[str, Array]) -> Tau:
    column, published, _ = PUBLISHED[what]
    at = [i for i, name in enumerate(LAYOUTS) if name in published]
    known = np.array([published[name] for name in LAYOUTS if name in published])
    some = [float(kendalltau(row[at], known)[0]) for row in drawn[column][:TAUS]]
    low, high = np.quantile(some, [0.05, 0.95])
    return Tau(what, column, float(kendalltau(means[column][at], known)[0]), float(low), float(high))


def _family_restored(
    seen: Surrogate, unseen: SurrogateWithout, values: Array, recipe: str
) -> tuple[FamilyRestored, ...]:
    whole = SurrogateWithout(seen.evidence, seen.thetas, seen.sd_scale, {}, shift=large_data_shift())
    found = []
    for regression, shift in ((True, False), (False, True), (True, True)):
        base = whole if regression else unseen
        made = replace(base, shift=whole.shift if shift else unseen.shift)
        columns = _columns(tuple(LAYOUTS), *_draws(made, values, recipe))
        combined = columns["combined"]
        place = combined.order.index(CHOSEN) + 1
        first = combined.chances[CHOSEN][0]
        found.append(FamilyRestored(regression, shift, place, first, {c: columns[c].order for c in COLUMNS}))
    return tuple(found)


def verdict(study: LayoutRanks) -> list[str]:
    """What the study comes to, a sentence for each protocol and one on what capacity does not tell."""
    said = []
    for each in study.protocols:
        combined = each.columns["combined"]
        place, first = combined.order.index(CHOSEN) + 1, combined.chances[CHOSEN][0]
        if place == 1:
            known = "" if combined.is_supported[0] else ", which the evidence does not support"
            said.append(
                f"{each.name}: {CHOSEN} is first on capacity and transfer combined{known} ({first:.2f})"
            )
            continue
        said.append(
            f"{each.name}: {CHOSEN} is not rediscovered: number {place} on capacity and transfer combined, "
            f"first with a chance of {first:.2f}; {_blamed(study.again[each.name])}"
        )
    return [*said, *_not_identified(study.layouts)]


def _not_identified(layouts: Mapping[str, Match]) -> list[str]:
    """A sentence on the layouts that attend less than any network whose gain by large data is known."""
    shares = attending_share(values_of(READ, [found.arch for found in layouts.values()]))
    between = [name for name, share in zip(layouts, shares, strict=True) if 0.0 < share < SATURATED]
    if not between:
        return []
    return [
        f"what large data adds to {' and '.join(between)} is not identified: without the family no pair has "
        f"a share of attending mixers between 0 and {SATURATED:.2f}; their chances count that in"
    ]


def pattern_verdict(search: PatternSearch) -> list[str]:
    """What the search over all patterns comes to, a sentence for each protocol."""
    said = []
    for each in search.protocols:
        combined = each.columns["combined"]
        first = combined.order[0]
        sentence = (
            f"{each.name}: of all {len(search.layouts)} patterns {first} is first on capacity and transfer "
            f"combined ({combined.chances[first][0]:.2f})"
        )
        if first != CHOSEN and CHOSEN in combined.order:
            place = combined.order.index(CHOSEN) + 1
            sentence += (
                f", {CHOSEN} number {place} (first with a chance of {combined.chances[CHOSEN][0]:.2f})"
            )
        said.append(sentence)
    return said


def _blamed(again: Sequence[FamilyRestored]) -> str:
    back = {(a.regression, a.shift): a.place == 1 for a in again}
    if back[True, False] or back[False, True]:
        which = [n for n, key in (("regression", (True, False)), ("shift", (False, True))) if back[key]]
        return f"it is first with the family's rows back in the {' or the '.join(which)}"
    if back[True, True]:
        return "it is first only with the family's rows back in the regression and in the shift"
    return "not first with the family's rows back in both either: to blame is what is read of a layout"
