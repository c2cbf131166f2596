"""The networks of a part: its variants times its axes, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

from hvnas.arch import Arch, load_arch
from hvnas.arch.edits import edited
from hvnas.ops.counting import count_macs, count_params
from hvnas.studies.ablation.study import Part, Study, Variant
from hvnas.studies.published import Published, last_digit, macs_agree, params_agree, read_published

PRINTED_MACS = 0.1e9


@dataclass(frozen=True)
class Entry:
    """A row before anything is computed: its network, as written, and what was published of it."""

    name: str
    arch: Arch
    variant: Variant = field(default_factory=Variant)


def entries(study: Study, part: Part) -> tuple[tuple[Entry, ...], int]:
    """The rows of a part and the index of the base; the base comes first where no row equals it.

    Raises ValueError naming the study's file, the part and the row whose edits lead nowhere.
    """
    base = load_arch(study.network(part.base))
    found = []
    for name, variant in (part.variants or {"": Variant()}).items():
        arch = load_arch(study.network(variant.arch)) if variant.arch else base
        for values in product(*part.axes.values()):
            axes = dict(zip(part.axes, values, strict=True))
            row = ", ".join(filter(None, [name, *map(_named, axes.items())]))
            where = f"{study.where}: {part.name}: {row}"
            found.append(Entry(row, edited(arch, {**variant.edits, **axes}, where=where), variant))
    at = next((i for i, entry in enumerate(found) if entry.arch == base), None)
    if at is None:
        return (Entry(base.name, base), *found), 0
    return tuple(found), at


def _named(axis: tuple[str, Any]) -> str:
    """``depth 4`` of ``stages.1.local.depth: 4``."""
    path, value = axis
    shown = " × ".join(map(str, value)) if isinstance(value, list) else value
    return f"{path.rpartition('.')[2]} {shown}"


@dataclass(frozen=True)
class Known:
    """What was published of a row: numbers by name, the sources, and which of our counts agree."""

    numbers: dict[str, float]
    sources: tuple[str, ...]
    agrees: dict[str, bool]
    misprint: str | None


def known_of(entry: Entry, part: Part, device: str) -> Known:
    """What the study and, of a network as it was published, its own file say.

    Params agree within 0.5 % or half a unit of the last printed digit, exactly where the exact count is
    known; MACs within 4 % or half of 0.1 G, the unit in which papers print them, under the rule they were
    counted by. Counts of another rule or resolution than the part's are compared, and not shown.
    """
    numbers: dict[str, float] = {}
    agrees: dict[str, bool] = {}
    sources, misprint = [], None
    if entry.arch.published is not None:
        facts = read_published(entry.arch)
        numbers |= _own_numbers(facts, entry.arch, part, device)
        agrees |= _own_agrees(facts, entry.arch)
        sources, misprint = [facts.source or ""], facts.misprint
    numbers |= entry.variant.published
    agrees |= _agrees(entry, part)
    if entry.variant.published:
        sources.insert(0, entry.variant.source or part.source)
    return Known(numbers, tuple(filter(None, sources)), agrees, misprint)


def _own_numbers(facts: Published, arch: Arch, part: Part, device: str) -> dict[str, float]:
    data = arch.published or {}
    latency = data.get("latency")
    is_counted = facts.macs_rule == part.macs_rule and facts.macs_resolution == arch.resolution
    params = facts.params if facts.params_printed is None else facts.params_printed
    found = {
        "params": params if part.params_rule == "all" else None,
        "macs": facts.macs if is_counted else None,
        "top1": data.get("top1"),
        "ms": latency.get(device) if isinstance(latency, dict) else None,
        "stem_params": facts.stem_params,
        "stem_macs": facts.stem_macs,
    }
    return {name: value for name, value in found.items() if isinstance(value, (int, float))}


def _own_agrees(facts: Published, arch: Arch) -> dict[str, bool]:
    found = {}
    if facts.params is not None:
        found["params"] = params_agree(arch.lower().params, facts.params)
    if facts.macs is not None and facts.macs_rule is not None:
        counted = arch.with_(resolution=facts.macs_resolution).lower()
        found["macs"] = _macs_agree(count_macs(counted, facts.macs_rule), facts.macs)
    return found | _stem_agrees(arch, facts.stem_params, facts.stem_macs)


def _agrees(entry: Entry, part: Part) -> dict[str, bool]:
    told, program = entry.variant.published, entry.arch.lower()
    found = {}
    if "params" in told:
        found["params"] = params_agree(count_params(program, part.params_rule), told["params"])
    if "macs" in told:
        found["macs"] = _macs_agree(count_macs(program, part.macs_rule), told["macs"])
    return found | _stem_agrees(entry.arch, told.get("stem_params"), told.get("stem_macs"))


def _macs_agree(ours: int, theirs: float) -> bool:
    return macs_agree(ours, theirs) or abs(ours - theirs) <= min(last_digit(theirs), PRINTED_MACS) / 2


def stem_counts(arch: Arch) -> tuple[int, int]:
    """Parameters and MACs of the stem."""
    program = arch.lower()
    ops = [op for op, label in zip(program.ops, program.labels, strict=True) if label == "stem"]
    return sum(op.params for op in ops), sum(op.macs for op in ops)


def _stem_agrees(arch: Arch, params: float | None, macs: float | None) -> dict[str, bool]:
    ours = stem_counts(arch)
    found = {}
    if params is not None:
        found["stem_params"] = params_agree(ours[0], float(params))
    if macs is not None:
        found["stem_macs"] = macs_agree(ours[1], macs)
    return found
