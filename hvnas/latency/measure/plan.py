"""What to measure so that a space is covered, and how long that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hvnas.arch import Arch, load_arch
from hvnas.latency.tables.block_keys import BlockKey, collect, cover
from hvnas.latency.tables.op_regressor import NAMES, features, group_of
from hvnas.ops import MACS as TOTAL_MACS
from hvnas.ops import Op
from hvnas.ops.program import INNER
from hvnas.space import FastPath
from hvnas.space.space import Space

MACS = (0.1e9, 3e9)  # of networks for a phone
LOOKED_AT = 400  # members whose ops are looked at
SIZED = 400  # members that tell the sizes of a space
OPS = 12000
NETWORKS = 100
BLOCKS = 60
# Numbers that keep the streams of the ops and of the networks apart; validation has one of its own.
OPS_STREAM, NETWORKS_STREAM = 1, 2
# A group with fewer rows than this is measured whole.
FEW = 40


@dataclass(frozen=True)
class Plan:
    """Ops to time by themselves, and whole networks to time beside them.

    `resolution` is that which the space was put to, None where it decides itself; `macs` are the bounds
    between which members were drawn. `distinct` is how many different fused ops the members looked at hold,
    `looked_at` how many members those are; `distinct_by_group` and `chosen_by_group` count them by group.
    """

    space: str
    space_hash: str
    resolution: int | None
    macs: tuple[float, float]
    seed: int
    looked_at: int
    distinct: int
    distinct_by_group: dict[str, int]
    chosen_by_group: dict[str, int]
    distinct_blocks: int
    ops: tuple[Op, ...]
    blocks: tuple[BlockKey, ...]
    networks: tuple[Arch, ...]


def make_plan(
    space: Space,
    *,
    ops: int = OPS,
    blocks: int = BLOCKS,
    networks: int = NETWORKS,
    seed: int = 0,
    fuses_attention: bool = False,
) -> Plan:
    """The plan for a space; the same seed gives the same plan.

    Members are drawn log-uniformly in MACs (`macs_range`), and fixed points inside the space are looked at as
    well. Of their distinct ops those are chosen that are smallest or largest in one of their sizes, so that
    the table's range is the space's; then, group by group in the proportion of the work that they do in
    networks (`_work`), half of them the most used and half at random.

    Blocks are a cover of the distinct ones of those members (`hvnas.latency.tables.block_keys`).
    The inner parts of attention are left out where a backend fuses it (`Backend.fuses_attention`).
    Raises ValueError where `ops` or `networks` is too small to fit anything.
    """
    if ops < 200:
        raise ValueError(f"ops must be >= 200, got {ops}; a table of fewer covers no space")
    if networks < 10:
        raise ValueError(f"networks must be >= 10, got {networks}; fewer cannot tell a table's error")
    macs = macs_range(space)
    archs = _looked_at(space, seed, macs)
    uses = _uses(archs, without_inner=fuses_attention)
    keys = collect(archs)
    chosen = _choose(uses, ops, np.random.default_rng([OPS_STREAM, seed]))
    rows = space.sample(networks, rng=np.random.default_rng([NETWORKS_STREAM, seed]), macs=macs)
    return Plan(
        space=space.name,
        space_hash=space.hash,
        resolution=resolution_of(space),
        macs=macs,
        seed=seed,
        looked_at=LOOKED_AT,
        distinct=len(uses),
        distinct_by_group=_counted(uses),
        chosen_by_group=_counted(chosen),
        distinct_blocks=len(keys),
        ops=tuple(chosen),
        blocks=cover(keys, blocks).keys if blocks else (),
        networks=tuple(space.decode(row) for row in rows),
    )


def macs_range(space: Space) -> tuple[float, float]:
    """The MACs between which members of a space are drawn to be measured.

    0.1 to 3 G where the space reaches from below 1.5 G to above 3 G, else its own range: the 1 and 99 %
    quantiles of random members. A table of larger networks than those that it is asked about would know
    nothing of what small ones mostly wait for, the calls of their ops.
    """
    rows = space.sample(SIZED, rng=np.random.default_rng(0))
    low, high = np.quantile(FastPath(space, (TOTAL_MACS,))(rows)[:, 0], [0.01, 0.99]).tolist()
    return MACS if low < MACS[1] / 2 and high > MACS[1] else (low, high)


def resolution_of(space: Space) -> int | None:
    """The resolution that a space was put to, None where it decides itself."""
    return None if space.spec.image_size is None else space.spec.image_size[0]


def _looked_at(space: Space, seed: int, macs: tuple[float, float]) -> list[Arch]:
    rows = space.sample(LOOKED_AT, rng=np.random.default_rng([OPS_STREAM, seed]), macs=macs)
    models = [load_arch(name) for name in space.fixed_points()]
    if space.spec.image_size is not None:
        models = [space.decode(row) for row in space.fixed_rows()]
    return [*map(space.decode, rows), *models]


def _uses(archs: Sequence[Arch], *, without_inner: bool) -> Counter[Op]:
    """Distinct ops of networks, edges left out, by how many networks hold them."""
    uses: Counter[Op] = Counter()
    for arch in archs:
        # A dict, not a set: strings hash differently in every process, and the plan must be the same.
        ops = dict.fromkeys(op._replace(inputs=()) for op in arch.lower().fused().ops)
        uses.update(op for op in ops if not (without_inner and op.variant == INNER))
    return uses


def _counted(ops: Counter[Op] | list[Op]) -> dict[str, int]:
    return dict(sorted(Counter(group_of(op) for op in ops).items()))


def _choose(uses: Counter[Op], wanted: int, rng: np.random.Generator) -> list[Op]:
    if len(uses) <= wanted:
        return list(uses)
    groups: dict[str, list[Op]] = {}
    for op in uses:
        groups.setdefault(group_of(op), []).append(op)
    chosen: dict[Op, None] = {}
    for ops in groups.values():
        chosen.update(dict.fromkeys(ops if len(ops) <= FEW else _extremes(ops)))
    share = {name: sum(uses[op] * _work(op) for op in ops) for name, ops in groups.items()}
    while (left := wanted - len(chosen)) > 0:
        open_groups = {
            name: rest for name, ops in groups.items() if (rest := [op for op in ops if op not in chosen])
        }
        total = sum(share[name] for name in open_groups)
        for name, rest in open_groups.items():
            n = min(len(rest), max(1, round(left * share[name] / total)))
            chosen.update(dict.fromkeys(_some(rest, uses, n, rng)))
    listed = list(chosen)
    return [listed[k] for k in rng.permutation(len(listed))]


def _some(ops: list[Op], uses: Counter[Op], n: int, rng: np.random.Generator) -> list[Op]:
    """`n` of `ops`: half of them the most used, half at random."""
    ranked = sorted(ops, key=lambda op: -uses[op])
    often, others = ranked[: n // 2], ranked[n // 2 :]
    return often + [others[k] for k in rng.permutation(len(others))[: n - n // 2]]


def _work(op: Op) -> float:
    """About an op's time on a CPU core, in MACs: grouped ones, and elements moved, count eight."""
    return op.macs * (8.0 if op.groups > 1 else 1.0) + 8.0 * (op.in_count + op.out_count + op.weight_count)


def _extremes(ops: list[Op]) -> list[Op]:
    sizes = np.array([features(op)[: len(NAMES)] for op in ops])
    return [ops[k] for k in {*sizes.argmin(0).tolist(), *sizes.argmax(0).tolist()}]
