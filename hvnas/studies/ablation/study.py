"""Study files: what is varied, what is held equal, what was published, and the networks that come of it.

A study is a list of parts, each a table of its own. Fields of a part may stand above the parts, for all of
them. A part starts from `base` and has rows for its `variants`, each times every combination of `axes`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

from hvnas._files import read_yaml, refuse_unknown, refusing
from hvnas._names import WrongField, shown, unknown_name, validated
from hvnas._numbers import LARGEST
from hvnas.arch import Arch, load_arch
from hvnas.arch.edits import edited
from hvnas.ops.counting import count_macs, count_params
from hvnas.studies.published import Published, last_digit, macs_agree, params_agree, read_published

SCHEMA = "hvnas.ablation/1"
FOLDER = Path(__file__).resolve().parent.parent / "ablations"
MOST_ROWS = 200
# A study's name becomes the names of files.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


Quantity = Literal["params", "macs", "latency"]
Number = int | float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: `arch` (a fixed point or a path; the part's base unless given) after `edits`.

    `published` holds numbers by name: ``top1`` and ``delta`` in points, ``params``, ``macs``, ``ms``,
    ``stem_params``, ``stem_macs``, or any other, which is shown as it is. What the file of a fixed point says
    was published need not be repeated. `note` is a line under the table.
    """

    arch: str | None = None
    edits: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Number] = field(default_factory=dict)
    source: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One table of a study.

    `axes` are paths into the architecture with their values (see `hvnas.arch.edits`). Rows are made `equal`
    to the base in params, MACs or latency by scaling width or depth (`scale`; see
    `hvnas.studies.ablation.matching`). `evidence` names the published ablations that these rows are of
    (`hvnas.accuracy.surrogate.ablations`): the estimate is shown without them, too. Params and MACs are
    counted by `params_rule` and `macs_rule` (`hvnas.ops.counting`).
    `breakdown` is of the predicted latency. With `measure` latency and memory are measured on this host, by
    `backend`, instead of predicted.
    """

    name: str
    title: str = ""
    base: str = ""
    variants: dict[str, Variant] = field(default_factory=dict)
    axes: dict[str, list[Any]] = field(default_factory=dict)
    equal: tuple[Quantity, ...] = ()
    scale: tuple[Literal["width", "depth"], ...] = ("width",)
    recipe: str = "modern300"
    scenarios: tuple[str, ...] = ("imagenet1k",)
    device: str = "iphone12"
    evidence: tuple[str, ...] = ()
    macs_rule: str = "conv_linear_matmul"
    params_rule: str = "all"
    breakdown: Literal["kind", "stage"] = "kind"
    measure: bool = False
    backend: str = "torch-cpu"
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """A named list of parts; `folder` is what relative paths in it are relative to."""

    name: str
    title: str
    parts: tuple[Part, ...]
    folder: Path
    where: str

    def network(self, name: str) -> str:
        """Return the name of a network as `hvnas.arch.load_arch` takes it: a path is relative to the file."""
        return str(self.folder / name) if _is_file(name) else name

    recipe = network

    def only(self, names: Sequence[str]) -> Study:
        """Return the study with these parts, in its own order; all of them of no names.

        Raises ValueError, one line, for a name that no part has.
        """
        known = tuple(part.name for part in self.parts)
        for name in names:
            if name not in known:
                raise ValueError(f"{self.where}: {unknown_name('part', name, known)}")
        return dataclasses.replace(self, parts=tuple(p for p in self.parts if not names or p.name in names))


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def list_studies() -> tuple[str, ...]:
    """Return names of the shipped studies."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_study(name: str | Path) -> Study:
    """Return a shipped study by name, or one by YAML path.

    Raises ValueError, one line, naming the file and the field at fault, or the studies there are.
    """
    path = Path(name)
    if not _is_file(str(name)):
        if str(name) not in list_studies():
            raise ValueError(unknown_name("study", str(name), list_studies(), "a path to a .yaml file"))
        path = FOLDER / f"{name}.yaml"
    with refusing(path):
        return _study(read_yaml(path, schema=SCHEMA), path)


def _study(data: Mapping[str, Any], path: Path) -> Study:
    where = str(path)
    shared = {f.name for f in dataclasses.fields(Part)} - {"name", "title", "variants", "axes", "notes"}
    refuse_unknown(data, ("schema", "name", "title", "parts", *sorted(shared)), "", where)
    name = data.get("name", path.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name: must be letters, digits, - and _, got {shown(name)} ({where})")
    parts = data.get("parts")
    if not isinstance(parts, list) or not parts:
        raise ValueError(f"parts: must be a list of one part or more ({where})")
    common = {key: value for key, value in data.items() if key in shared}
    found = tuple(_part(part, common, f"parts.{i}", where) for i, part in enumerate(parts))
    return Study(name=name, title=str(data.get("title", name)), parts=found, folder=path.parent, where=where)


def _part(data: Any, common: Mapping[str, Any], place: str, where: str) -> Part:
    if not isinstance(data, dict):
        raise ValueError(f"{place}: must be a mapping, got {type(data).__name__} ({where})")
    refuse_unknown(data, [f.name for f in dataclasses.fields(Part)], f"{place}.", where)
    values: dict[str, Any] = {**common, **data}
    values.setdefault("name", place)
    for key in ("equal", "scale", "scenarios", "evidence", "notes"):
        if isinstance(values.get(key), str):
            values[key] = [values[key]]
    variants = values.get("variants", {})
    if not isinstance(variants, dict):
        raise ValueError(f"{place}.variants: must be a mapping of rows by name ({where})")
    for row, variant in variants.items():
        if not isinstance(variant, dict):
            raise ValueError(f"{place}.variants.{row}: must be a mapping, got {shown(variant)} ({where})")
        refuse_unknown(
            variant, [f.name for f in dataclasses.fields(Variant)], f"{place}.variants.{row}.", where
        )
    values["variants"] = {str(row): variant for row, variant in variants.items()}
    try:
        part = validated(Part, values)
    except WrongField as wrong:
        raise ValueError(f"{'.'.join([place, *wrong.place])}: {wrong.said} ({where})") from None
    _check(part, place, where)
    return part


def _check(part: Part, place: str, where: str) -> None:
    for row, variant in part.variants.items():
        for name, number in variant.published.items():
            if not abs(number) <= LARGEST:
                raise ValueError(
                    f"{place}.variants.{row[:60]}.published.{name[:60]}: must be a finite number of at most "
                    f"{LARGEST:g}, got {shown(number)} ({where})"
                )
    if not part.base:
        raise ValueError(f"{place}.base: is missing; name a model or a .yaml file ({where})")
    if not part.variants and not part.axes:
        raise ValueError(f"{place}: has neither variants nor axes; give what is varied ({where})")
    for path, values in part.axes.items():
        if not values:
            raise ValueError(f"{place}.axes.{path}: has no values; list one or more ({where})")
    rows = max(1, len(part.variants)) * prod(len(values) for values in part.axes.values())
    if rows > MOST_ROWS:
        raise ValueError(f"{place}: has {rows} rows, more than {MOST_ROWS}; leave values out ({where})")
    if part.equal and not part.scale:
        raise ValueError(f"{place}.scale: must be width, depth or both where equal is given ({where})")


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
