"""Which members of a supernet each training step trains, how they are drawn, and what becomes of their
gradients.

A scheme's choice depends on the seed and the number of the step alone: a run that goes on from a checkpoint
draws what it would have drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hvnas._registry import Registry
from hvnas.arch import INNER, Arch
from hvnas.ops import MACS
from hvnas.space import FastPath, Space
from hvnas.space.canonical.canonical import Rows
from hvnas.space.layout import SLOTS
from hvnas.supernet.supernet import Supernet
from hvnas.supernet.weights.variants import SAME_WIDTH, STRIDED, places_of

DEFAULT = "spreading"
SHRINKING_PHASES = 4
OPENED = 0.7
DOWNSAMPLING, TYPES = (0.02, 0.2), (0.05, 0.4)  # shares of all steps

STRONGEST = 2.0  # of a projection; the authors' code clamps there
TINY = 1e-12
KNOWN = 4096  # members that tell how often a branch is drawn
AT_ONCE = 64  # members chosen together, of so many times as many
OF = 8
SPAN = (0.01, 0.9)  # quantiles of MACs
WIDE = 1.5  # a ratio of them that is worth spreading members over


@dataclass(frozen=True)
class Draw:
    """The members of one step. The first learns the labels; the others too, or where `taught` its output."""

    members: tuple[Arch, ...]
    taught: bool = False


class Scheme(Protocol):
    """A way to train a supernet."""

    @property
    def projects(self) -> bool:
        """Whether conflicts of the first member's gradient with the others' are removed (see conflict.py)."""
        ...

    @property
    def shown(self) -> Arch:
        """The member whose top-1 tells how the training goes."""
        ...

    def draw(self, step: int, *, steps: int) -> Draw:
        """The members of step `step` (from 0) of `steps`."""
        ...


@dataclass(frozen=True)
class Options:
    """What a scheme is made of: `paths` random members a step (None: the scheme's own number)."""

    net: Supernet
    seed: int
    paths: int | None = None


Maker = Callable[[Options], Scheme]
_MAKERS: Registry[Maker] = Registry("scheme")


def register_scheme(name: str) -> Callable[[Maker], Maker]:
    """Decorator: what makes the scheme called `name` of its `Options`."""
    return _MAKERS.registering(name)


def list_schemes() -> tuple[str, ...]:
    """Names that `make_scheme` takes."""
    return _MAKERS.names()


def make_scheme(name: str, net: Supernet, *, seed: int = 0, paths: int | None = None) -> Scheme:
    """The scheme called `name`. Raises ValueError for an unknown name or fewer than one path."""
    make = _MAKERS[name]
    if paths is not None and paths < 1:
        raise ValueError(f"paths: must be >= 1, got {paths}; it is the number of random networks per step")
    return make(Options(net, seed, paths))


class _Random:
    """Members drawn at random, by seed and step."""

    own_paths = 1
    projects = False

    def __init__(self, options: Options) -> None:
        self.net, self.seed = options.net, options.seed
        self.paths = options.paths or self.own_paths

    @property
    def shown(self) -> Arch:
        """See `Scheme.shown`: the largest member."""
        return self.net.largest

    def rng(self, *numbers: int) -> np.random.Generator:
        """A generator that the seed and `numbers` determine."""
        return np.random.default_rng([self.seed, *numbers])

    def random(self, step: int) -> list[Arch]:
        """The random members of a step."""
        rng = self.rng(step)
        return [self.net.sample(rng=rng) for _ in range(self.paths)]


@register_scheme("single-path")
class SinglePath(_Random):
    """One member a step, its genes drawn uniformly, on the labels (SPOS, arXiv 1904.00420)."""

    def draw(self, step: int, *, steps: int) -> Draw:
        """See `Scheme.draw`."""
        return Draw(tuple(self.random(step)))


@register_scheme("fair")
class Fair(_Random):
    """Every value of a gene is drawn once in each run of as many draws as it has values, on the labels.

    The strict fairness of FairNAS (arXiv 1907.01845, Algorithm 1), which knows one number of choices, for
    genes with different numbers of values: each gene goes through random permutations of its own values, and
    the gradients of the step's members (4 unless given) add up to one update. It holds of what is drawn:
    the rules of the space then move what cannot be built, and genes without a say in a member train nothing
    in it. A draw that exceeds the space's limits is replaced by a uniform one.
    """

    own_paths = 4

    def draw(self, step: int, *, steps: int) -> Draw:
        """See `Scheme.draw`."""
        return Draw(tuple(self._member(step * self.paths + i) for i in range(self.paths)))

    def row(self, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """The values of draw `number` before the space's rules are applied. Shape [genes]."""
        row = []
        for gene, count in enumerate(map(int, self.net.space.cardinalities)):
            turn, place = divmod(number, count)
            row.append(self.rng(gene, turn).permutation(count)[place])
        return np.array(row)

    def _member(self, number: int) -> Arch:
        net = self.net
        row = net.space.canonicalise(self.row(number)[None])[0]
        arch = net.space.decode(row)
        return net.fitted(arch) if _keeps_limits(net, arch) else net.sample(rng=self.rng(number))


@register_scheme("sandwich")
class Sandwich(_Random):
    """The largest member on the labels; the smallest and 2 random ones on the largest's output.

    The sandwich rule with in-place distillation of US-Nets (arXiv 1903.05134), as BigNAS trains its
    single-stage models (arXiv 2003.11142).
    """

    own_paths = 2

    def draw(self, step: int, *, steps: int) -> Draw:
        """See `Scheme.draw`."""
        return Draw((self.net.largest, self.net.smallest, *self.random(step)), taught=True)


@register_scheme("conflict-aware")
class ConflictAware(Sandwich):
    """`Sandwich`, with the conflicts between its gradients removed (NASViT; see `conflict.project`)."""

    projects = True


@register_scheme("widening")
class Widening(Sandwich):
    """`Sandwich`, whose random members leave the largest member's block types one by one.

    Each choice of a type (blocks, downsampling, stem, head, tokens) is the largest member's with a
    probability that falls from 1 to 0 over the first `OPENED` of the steps; sizes are drawn uniformly from
    the first step. So a type is trained between neighbours that work already, where uniform draws put it
    between others that know as little: of short trainings few steps are lost before anything is learnt. This
    project's own, in the spirit of progressive shrinking (arXiv 1908.09791) with types in the place of sizes.
    """

    def draw(self, step: int, *, steps: int) -> Draw:
        """See `Scheme.draw`."""
        rng, free = self.rng(step, 1), [step / (OPENED * steps)] * len(self.net.space.genes)
        members = (_near(self.net, arch, self.net.largest, free, rng) for arch in self.random(step))
        return Draw((self.net.largest, self.net.smallest, *members), taught=True)


@register_scheme("spreading")
class Spreading(_Random):
    """One member a step on the labels (as `SinglePath`), its types spreading out from a cheap member's.

    That is the smallest member, with a downsampling of its own in front of each stage where there is one: a
    block behind it keeps its shortcut, so that one which knows nothing yet disturbs nothing (see
    `hvnas.supernet.trainer`). All types are that member's at first, but for a share of free ones: of
    downsamplings, which decide what every block reads, it grows to 1 evenly over `DOWNSAMPLING` of the
    training, of the others over `TYPES`: most steps draw all types alike. Sizes are free from the first
    step. As `Widening` it trains a type between neighbours that work; of its steps many more fit into the
    same time, since it never trains the largest member. Members are drawn by `EvenDraws`. This project's own.
    """

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.centre = _with_downsampling(self.net, self.net.smallest)
        self._draws = EvenDraws(self.net.space, seed=self.seed)

    def random(self, step: int) -> list[Arch]:
        """The random members of a step."""
        rows = (self._draws.row(step * self.paths + i) for i in range(self.paths))
        return [self.net.fitted(self.net.space.decode(row)) for row in rows]

    @property
    def shown(self) -> Arch:
        """See `Scheme.shown`: the member that the types spread out from."""
        return self.centre

    def draw(self, step: int, *, steps: int) -> Draw:
        """See `Scheme.draw`."""
        rng, done = self.rng(step, 1), step / steps
        free = {True: _within(done, DOWNSAMPLING), False: _within(done, TYPES)}
        shares = [free[gene.name.endswith(".downsample")] for gene in self.net.space.genes]
        members = (_near(self.net, arch, self.centre, shares, rng) for arch in self.random(step))
        return Draw(tuple(members))


@register_scheme("shrinking")
class Shrinking(_Random):
    """Progressive shrinking: first all sizes at their largest, then the smaller ones, kind by kind.

    After Once-for-All (arXiv 1908.09791), which opens kernel sizes, depths and widths in turn
    and teaches by the trained largest network. Here the steps fall into four equal phases: block types
    only, then also what blocks read (expansions, dimensions, …), depths, widths. The largest member learns
    the labels in the same step and teaches 2 random ones: nothing is trained before.
    """

    own_paths = 2

    def draw(self, step: int, *, steps: int) -> Draw:
        """See `Scheme.draw`."""
        phase = min(SHRINKING_PHASES - 1, SHRINKING_PHASES * step // steps)
        members = (self._grown(arch, phase) for arch in self.random(step))
        return Draw((self.net.largest, *members), taught=True)

    def _grown(self, arch: Arch, phase: int) -> Arch:
        """`arch` with the genes that `phase` does not open yet at their largest."""
        net = self.net
        row, largest = net.encode(arch).copy(), net.encode(net.grown(arch))
        for i, gene in enumerate(net.space.genes):
            if _phase(gene.name) > phase:
                row[i] = largest[i]
        return net.fitted(net.space.decode(row))


def _with_downsampling(net: Supernet, arch: Arch) -> Arch:
    """`arch` with a block of its own that downsamples in front of each stage, where the space has one."""
    row, presets = net.encode(arch).copy(), net.space.spec.downsamples
    for i, gene in enumerate(net.space.genes):
        if gene.name.endswith(".downsample"):
            own = (at for at, name in enumerate(gene.values) if presets[name].block not in (None, INNER))
            row[i] = next(own, row[i])
    changed = net.fitted(net.space.decode(net.space.canonicalise(row[None])[0]))
    return changed if _keeps_limits(net, changed) else arch


def _within(done: float, start_end: tuple[float, float]) -> float:
    """How much of a span is done, 0 before it and 1 behind."""
    start, end = start_end
    return min(1.0, max(0.0, (done - start) / (end - start)))


def _near(net: Supernet, arch: Arch, centre: Arch, free: Sequence[float], rng: np.random.Generator) -> Arch:
    """`arch`, whose types are those of `centre` but for shares `free` by gene; itself where limits bar it."""
    is_free = rng.random(len(free)) < np.array(free)
    row, kept = net.encode(arch).copy(), net.encode(centre)
    for i, gene in enumerate(net.space.genes):
        if not is_free[i] and _phase(gene.name) == 0:
            row[i] = kept[i]
    near = net.fitted(net.space.decode(net.space.canonicalise(row[None])[0]))
    return near if _keeps_limits(net, near) else arch


def _keeps_limits(net: Supernet, arch: Arch) -> bool:
    program = arch.lower() if net.space.limits else None
    return all(getattr(program, name) <= most for name, most in net.space.limits.items())


def _phase(gene: str) -> int:
    """The phase, from 0, that opens a gene."""
    last = gene.rpartition(".")[2]
    if last in ("width", "depth"):
        return 3 if last == "width" else 2
    is_choice = last == "type" or gene in ("stages", "stem", "head", "tokens") or last == "downsample"
    return 0 if is_choice else 1


def taken(parameters: Iterable[nn.Parameter]) -> dict[nn.Parameter, Tensor]:
    """The gradients of parameters, which have none afterwards."""
    gradients = {}
    for parameter in parameters:
        if parameter.grad is not None:
            gradients[parameter], parameter.grad = parameter.grad, None
    return gradients


@torch.no_grad()
def project(parameters: Iterable[nn.Parameter], largest: dict[nn.Parameter, Tensor]) -> None:
    """Add the gradients of the largest member to those of the others, without what opposes them.

    For each tensor, with s the sum of the other members' gradients and g the largest's::

        grad = s + g + min(2, max(0, -<g, s> / |s|^2)) * s

    Where the two point apart (<g, s> < 0) g is so projected onto the plane normal to s: the smaller members
    go first. NASViT (Gong et al., ICLR 2022) with the bound of 2 of the authors' code
    (github.com/facebookresearch/NASViT, misc/constrain_opt.py). That code starts to project after 100 of its
    epochs; here every step does.
    """
    for parameter in parameters:
        g = largest.get(parameter)
        if g is None:
            continue
        s = parameter.grad
        if s is None:
            parameter.grad = g
            continue
        against = (-(g * s).sum() / s.square().sum().clamp_min(TINY)).clamp(0.0, STRONGEST)
        s.mul_(1.0 + against).add_(g)


class EvenDraws:
    """Members by number: small and large ones alike, and of every stage each branch about as often.

    MACs are drawn log-uniformly between the `SPAN` quantiles of what a search would draw (of uniform genes
    few members are small). Of those a member is chosen with a probability that is inverse to the share of
    its rarest branch: a space's rules make some many times as frequent as others, and what is trained more
    would look better than it is. The seed and the number determine a member.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space, self.seed = space, seed
        self._macs = _macs_of(space)
        places = places_of(space).variants
        self._same = {(at.rpartition(".")[0], name) for at, name in places if name.endswith(SAME_WIDTH)}
        known = space.sample(KNOWN, rng=np.random.default_rng(0), macs=self._macs)
        self._shares = Counter(branch for row in known for branch in self._branches(row))
        self._rows: tuple[int, Rows] = (-1, known[:0])

    def row(self, number: int) -> NDArray[Any]:
        """Member `number` (from 0). Shape [genes]."""
        turn, place = divmod(number, AT_ONCE)
        if self._rows[0] != turn:
            self._rows = turn, self._chosen(np.random.default_rng([self.seed, turn, 2]))
        return self._rows[1][place]

    def _chosen(self, rng: np.random.Generator) -> Rows:
        rows = self.space.sample(OF * AT_ONCE, rng=rng, macs=self._macs)
        rarest = [min(max(1, self._shares[branch]) for branch in self._branches(row)) for row in rows]
        weights = 1.0 / np.array(rarest)
        return rows[rng.choice(len(rows), AT_ONCE, p=weights / weights.sum())]

    def _branches(self, row: NDArray[Any]) -> list[tuple[str, str]]:
        """The branches that a member has blocks of, by place."""
        choices, found = self.space.choices(row), []
        before = choices["stem.width"]
        for i in range(choices["stages"]):
            stage = f"stages.{i}"
            preset, width = choices[f"{stage}.downsample"], choices[f"{stage}.width"]
            found.append((f"{stage}.downsample", preset))
            strides = self.space.spec.downsamples[preset].block == INNER
            for run in (f"{stage}.{slot}" for slot in SLOTS):
                if choices[f"{run}.depth"]:
                    branch = choices[f"{run}.type"] + (STRIDED if strides else "")
                    same = (run, branch + SAME_WIDTH)
                    found.append(same if width == before and same in self._same else (run, branch))
                    strides = False
            before = width
        return found


def _macs_of(space: Space) -> tuple[float, float] | None:
    """The `SPAN` of the MACs of random members; None where most are of one size."""
    rows = space.sample(KNOWN // OF, rng=np.random.default_rng(0))
    low, high = np.quantile(FastPath(space, (MACS,))(rows)[:, 0], SPAN)
    return (float(low), float(high)) if high > WIDE * low else None
