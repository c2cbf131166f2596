"""Study files: what is varied, what is held equal, what was published.

A study is a list of parts, each a table of its own. Fields of a part may stand above the parts, for all of
them. A part starts from `base` and has rows for its `variants`, each times every combination of `axes`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

from hvnas._csv import LARGEST
from hvnas._files import read_yaml, refuse_unknown, refusing
from hvnas._names import unknown_name
from hvnas._validation import first_wrong, shown, validated

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
    (`hvnas.accuracy.ablations`): the estimate is shown without them, too. Params and MACs are
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
        """The name of a network as `hvnas.arch.load_arch` takes it: a path is relative to the file."""
        return str(self.folder / name) if _is_file(name) else name

    recipe = network

    def only(self, names: Sequence[str]) -> Study:
        """The study with these parts, in its own order; all of them of no names.

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
    """Names of the shipped studies."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_study(name: str | Path) -> Study:
    """A shipped study by name, or one by YAML path.

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
    part = _validated(values, place, where)
    _check(part, place, where)
    return part


def _validated(values: Mapping[str, Any], place: str, where: str) -> Part:
    from pydantic import TypeAdapter, ValidationError

    try:
        part: Part = validated(TypeAdapter(Part), values)
        return part
    except ValidationError as error:
        wrong = first_wrong(error)
        raise ValueError(f"{'.'.join([place, *wrong.place])}: {wrong.said} ({where})") from None


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
