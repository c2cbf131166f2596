"""Space files: YAML, schema hvnas.space/1, read into a `SpaceSpec`.

A restriction names a parent and gives narrower lists; blocks of its own it may add.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hvnas._files import data_dir, read_yaml, refuse_unknown, refusing
from hvnas._names import shown, unknown_name
from hvnas.arch import INNER, block_from_dict
from hvnas.blocks.limits import LIMITS, MOST_BLOCKS, MOST_VALUES, Values, check_number, read_ints, read_values
from hvnas.space.narrowing import dividing, excluding, read_excluded
from hvnas.space.spec import RULES, SAME, Preset, SpaceSpec, StageSpec

SCHEMA = "hvnas.space/1"
_PLACEHOLDER = 64
MOST_PARENTS = 16
MOST_STAGES = 8
# Blocks, depths and values of a gene that may stand together in one run: tables hold a number for each.
MOST_CHOICES = 1_000_000

# What a file without a parent has to name.
NAMED = ("resolution", "stems", "stem_width", "heads", "downsamples", "blocks", "stages")
STAGE_KEYS = ("downsample", "width", "local", "local_depth", "global", "global_depth", "global_width")
_RUNS = ("local", "global")
TOP_KEYS = (
    "schema name description parent resolution counts tokens stems stem_width heads downsamples blocks genes "
    "stage stages rules limits exclude multiple_of"
).split()


def list_spaces() -> tuple[str, ...]:
    """List the names of the shipped spaces."""
    return tuple(sorted(path.stem for path in data_dir("search_spaces").glob("*.yaml")))


def load_spec(name: str | Path) -> SpaceSpec:
    """A shipped space by name, or one by YAML path. Raises ValueError naming file and field."""
    path = _path(name)
    files = [(path, _read(path))]
    while (parent := files[-1][1].get("parent")) is not None:
        path = files[-1][0]
        with refusing(path):
            files.append(_read_parent(parent, path, [known for known, _ in files]))
    path, data = files.pop()
    with refusing(path):
        spec = _full(data, str(path))
    while files:
        path, data = files.pop()
        with refusing(path):
            spec = _narrower(_restrict(spec, data, str(path)), data, str(path))
            _check_size(spec, str(path))
    return spec


def _path(name: str | Path) -> Path:
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    if str(name) not in list_spaces():
        raise ValueError(unknown_name("space", str(name), list_spaces(), "a path to a .yaml file"))
    return data_dir("search_spaces") / f"{name}.yaml"


def _read(path: Path) -> dict[str, Any]:
    with refusing(path):
        return read_yaml(path, schema=SCHEMA)


def _read_parent(name: Any, path: Path, known: Sequence[Path]) -> tuple[Path, dict[str, Any]]:
    """The file of the parent of `path`, whose own children are `known`, and what it holds."""
    try:
        parent = _path(_parent(name, path))
        if parent.resolve() in [child.resolve() for child in known]:
            raise ValueError("is the file itself or a restriction of it; name another space")
        if len(known) >= MOST_PARENTS:
            raise ValueError(f"more than {MOST_PARENTS} spaces, each the parent of the next; name the first")
        return parent, _read(parent)
    except ValueError as error:
        raise ValueError(f"parent: {error} ({path})") from None


def _parent(name: Any, path: Path) -> str | Path:
    if not isinstance(name, str):
        raise ValueError(f"must be a name or a path, got {shown(name)}")
    beside = path.parent / name
    return beside if beside.suffix in (".yaml", ".yml") else name


def _full(data: dict[str, Any], where: str) -> SpaceSpec:
    refuse_unknown(data, TOP_KEYS, "", where)
    for key in NAMED:
        if key not in data:
            raise ValueError(f"{key}: missing ({where})")
    genes = _genes(data, where)
    varying = [name for name, values in genes.items() if any(isinstance(v, tuple) for v in values)]
    if len(varying) > 1:
        raise ValueError(f"genes: only one gene may list profiles, got {', '.join(varying)} ({where})")
    blocks = _presets(data["blocks"], "blocks", "body", where, tuple(genes))
    downsamples = _presets(data["downsamples"], "downsamples", "downsample", where, ())
    stages = _stages(data, None, where)
    for i, stage in enumerate(stages):
        _check_names(stage.local + stage.global_, blocks, f"stages.{i}", "block", where)
        _check_names(stage.downsample, downsamples, f"stages.{i}.downsample", "downsample", where)
    spec = SpaceSpec(
        name=str(data.get("name", Path(where).stem)),
        description=str(data.get("description", "")),
        parent=None,
        resolution=read_ints(data["resolution"], "resolution", where, field="resolution"),
        stages=stages,
        counts=_counts(data.get("counts", [len(stages)]), len(stages), where),
        stems=tuple(_presets(data["stems"], "stems", "stem", where, ()).values()),
        stem_width=_widths(data["stem_width"], "stem_width", where),
        heads=tuple(_presets(data["heads"], "heads", "head", where, ()).values()),
        tokens=_tokens(data.get("tokens", [None]), where),
        downsamples=downsamples,
        blocks=blocks,
        genes=genes,
        rules=_rules(data.get("rules", []), where),
        limits=_limits(data.get("limits", {}), where),
    )
    spec = _narrower(spec, data, where)
    _check_size(spec, where)
    return spec


def _narrower(spec: SpaceSpec, data: Mapping[str, Any], where: str) -> SpaceSpec:
    """The space without what its file excludes."""
    if "exclude" in data:
        spec = excluding(spec, read_excluded(data["exclude"], where), where)
    return dividing(spec, data["multiple_of"], where) if "multiple_of" in data else spec


def _check_size(spec: SpaceSpec, where: str) -> None:
    """Raise ValueError where members could have too many blocks, or a run has too many choices."""
    blocks = sum(max(stage.local_depth) + max(stage.global_depth) for stage in spec.stages)
    if blocks > MOST_BLOCKS:
        raise ValueError(
            f"stages: their largest depths come to {blocks} blocks; the most are {MOST_BLOCKS} ({where})"
        )
    values = max([1, *map(len, spec.genes.values())])
    for i, stage in enumerate(spec.stages):
        runs = {"local": (stage.local, stage.local_depth), "global": (stage.global_, stage.global_depth)}
        for name, (types, depths) in runs.items():
            if (choices := len(types) * len(depths) * values) > MOST_CHOICES:
                raise ValueError(
                    f"stages.{i}.{name}: {len(types)} blocks, {len(depths)} depths and {values} values of a "
                    f"gene come to {choices} choices; the most are {MOST_CHOICES}: shorten a list ({where})"
                )


def _mapping(data: Any, at: str, where: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{at}: must be a mapping, got {shown(data)} ({where})")
    return data


def _genes(data: Mapping[str, Any], where: str) -> dict[str, Values]:
    """The values of every gene; a gene is a field of blocks and has that field's limits."""
    genes = {}
    for name, listed in _mapping(data.get("genes", {}), "genes", where).items():
        genes[str(name)] = values = read_values(listed, f"genes.{name}", where)
        for value in values:
            each = value if isinstance(value, tuple) else (value,)
            if not each or len(each) > MOST_VALUES:
                raise ValueError(f"genes.{name}: a profile has 1 to {MOST_VALUES} values ({where})")
            for entry in each:
                # Fields of other blocks may be of text.
                if name in LIMITS or not isinstance(entry, (str, bool)):
                    check_number(str(name), entry, f"genes.{name}", where)
    return genes


def _check_names(names: tuple[str, ...], known: Mapping[str, Preset], at: str, what: str, where: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{at}: {unknown_name(what + ' preset', name, tuple(known))} ({where})")


def _presets(data: Any, key: str, role: str, where: str, genes: tuple[str, ...]) -> dict[str, Preset]:
    if not isinstance(data, dict) or not 1 <= len(data) <= MOST_VALUES:
        raise ValueError(f"{key}: must be a mapping of 1 to {MOST_VALUES} names to blocks ({where})")
    return {
        str(name): _preset(str(name), value, f"{key}.{name}", role, where, genes)
        for name, value in data.items()
    }


def _preset(name: str, data: Any, at: str, role: str, where: str, genes: tuple[str, ...]) -> Preset:
    if role == "downsample" and (data is None or data == INNER):
        return Preset(name, data)
    if not isinstance(data, dict):
        raise ValueError(f"{at}: must be a mapping with a type, got {shown(data)} ({where})")
    fields = dict(data)
    reads = fields.pop("reads", [])
    if not isinstance(reads, list) or any(gene not in genes for gene in reads):
        raise ValueError(
            f"{at}.reads: must list genes among {', '.join(genes) or 'none'}, got {shown(reads)} ({where})"
        )
    if role != "head":
        fields["width"] = fields.get("width", _PLACEHOLDER)
    block = block_from_dict(fields, field=at, role=role, where=where)
    for gene in reads:
        if gene not in vars(block):
            raise ValueError(f"{at}.reads: {block.type} has no field {gene}; leave the gene out ({where})")
    return Preset(name, block, tuple(reads))


def _stages(
    data: Mapping[str, Any], parent: SpaceSpec | None, where: str, added: tuple[str, ...] = ()
) -> tuple[StageSpec, ...]:
    shared = _mapping(data.get("stage", {}), "stage", where)
    refuse_unknown(shared, STAGE_KEYS, "stage.", where)
    listed = data.get("stages", [{}] * len(parent.stages) if parent else None)
    most = len(parent.stages) if parent else MOST_STAGES
    if not isinstance(listed, list) or not 1 <= len(listed) <= most:
        raise ValueError(f"stages: must be a list of 1 to {most} mappings ({where})")
    if parent:
        _check_shared(shared, parent, added, where)
    result = []
    for i, own in enumerate(listed):
        own = _mapping(own, f"stages.{i}", where)
        refuse_unknown(own, STAGE_KEYS, f"stages.{i}.", where)
        inherited = _stage_dict(parent.stages[i]) if parent and i < len(parent.stages) else {}
        result.append(
            _stage({**inherited, **_narrowed(shared, inherited, added, where), **own}, f"stages.{i}", where)
        )
    return tuple(result)


def _check_shared(shared: Mapping[str, Any], parent: SpaceSpec, added: tuple[str, ...], where: str) -> None:
    """Raise ValueError for a value of a restriction's shared lists that no stage of the parent offers."""
    offered = [_stage_dict(stage) for stage in parent.stages]
    for key, listed in shared.items():
        for value in read_values(listed, f"stage.{key}", where):
            if not any(_is_among(value, stage[key], key, added) for stage in offered):
                raise ValueError(
                    f"stage.{key}: {shown(value)} is in no stage of the parent space; a restriction narrows "
                    f"lists ({where})"
                )


def _narrowed(
    shared: Mapping[str, Any], inherited: Mapping[str, Any], added: tuple[str, ...], where: str
) -> dict[str, Any]:
    """A restriction's shared lists, cut to what each stage of the parent offers and what is `added`."""
    if not inherited:
        return dict(shared)
    return {
        key: [
            v for v in read_values(listed, f"stage.{key}", where) if _is_among(v, inherited[key], key, added)
        ]
        for key, listed in shared.items()
    }


def _is_among(value: Any, inherited: Sequence[Any], key: str, added: tuple[str, ...]) -> bool:
    return value in inherited or (key in _RUNS and value in added)


def _stage_dict(stage: StageSpec) -> dict[str, Any]:
    return {key: list(getattr(stage, "global_" if key == "global" else key)) for key in STAGE_KEYS}


def _stage(data: Mapping[str, Any], at: str, where: str) -> StageSpec:
    for key in STAGE_KEYS:
        if key not in data and key != "global_width":
            raise ValueError(f"{at}.{key}: missing ({where})")
    return StageSpec(
        downsample=_names(data["downsample"], f"{at}.downsample", where),
        width=read_ints(data["width"], f"{at}.width", where, field="width"),
        local=_names(data["local"], f"{at}.local", where),
        local_depth=read_ints(data["local_depth"], f"{at}.local_depth", where, field="depth"),
        global_=_names(data["global"], f"{at}.global", where),
        global_depth=read_ints(data["global_depth"], f"{at}.global_depth", where, field="depth"),
        global_width=_widths(data.get("global_width", [SAME]), f"{at}.global_width", where),
    )


def _restrict(parent: SpaceSpec, data: dict[str, Any], where: str) -> SpaceSpec:
    refuse_unknown(data, [key for key in TOP_KEYS if key != "downsamples"], "", where)
    added = _added(parent, data, where)

    def narrower(key: str, wide: Values) -> Values:
        if key not in data:
            return wide
        values = read_values(data[key], key, where)
        return _subset(values, wide, key, where)

    def chosen(key: str, wide: tuple[Preset, ...]) -> tuple[Preset, ...]:
        names = narrower(key, tuple(p.name for p in wide))
        return tuple(p for p in wide if p.name in names)

    own_genes = _mapping(data.get("genes", {}), "genes", where)
    refuse_unknown(own_genes, tuple(parent.genes), "genes.", where)
    genes = {
        name: _subset(read_values(own_genes[name], f"genes.{name}", where), wide, f"genes.{name}", where)
        if name in own_genes
        else wide
        for name, wide in parent.genes.items()
    }
    stages = _stages(data, parent, where, tuple(added))
    for i, stage in enumerate(stages):
        for key, values in _stage_dict(stage).items():
            wide = (*_stage_dict(parent.stages[i])[key], *(added if key in _RUNS else ()))
            _subset(tuple(values), wide, f"stages.{i}.{key}", where)
    counts = tuple(c for c in narrower("counts", parent.counts) if c <= len(stages))
    limits = dict(parent.limits)
    for name, limit in _limits(data.get("limits", {}), where).items():
        limits[name] = min(limit, limits.get(name, limit))
    return replace(
        parent,
        name=str(data.get("name", Path(where).stem)),
        description=str(data.get("description", "")),
        parent=parent.name,
        resolution=narrower("resolution", parent.resolution),
        counts=counts or (len(stages),),
        stages=stages,
        stems=chosen("stems", parent.stems),
        stem_width=narrower("stem_width", parent.stem_width),
        heads=chosen("heads", parent.heads),
        blocks={**parent.blocks, **added},
        tokens=narrower("tokens", parent.tokens),
        genes=genes,
        rules=tuple(dict.fromkeys(parent.rules + _rules(data.get("rules", []), where))),
        limits=limits,
    )


def _added(parent: SpaceSpec, data: Mapping[str, Any], where: str) -> dict[str, Preset]:
    """The presets of blocks that a restriction brings along."""
    if "blocks" not in data:
        return {}
    added = _presets(data["blocks"], "blocks", "body", where, tuple(parent.genes))
    for name in added:
        if name in parent.blocks:
            raise ValueError(
                f"blocks.{name}: the parent space has a block of that name; rename yours ({where})"
            )
    return added


def _subset(values: Values, wide: Values, at: str, where: str) -> Values:
    """The parent's own values that equal `values`: 4.0 is its 4, true is not its 1."""
    found = []
    for value in values:
        own = [each for each in wide if each == value and isinstance(each, bool) == isinstance(value, bool)]
        if not own:
            raise ValueError(
                f"{at}: {shown(value)} is not in the parent space; a restriction narrows lists ({where})"
            )
        found.append(own[0])
    return tuple(found)


def _counts(data: Any, most: int, where: str) -> tuple[int, ...]:
    values = read_values(data, "counts", where)
    for value in values:
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(
                f"counts: must be whole numbers from 1 to {most}, the stages there are, "
                f"got {shown(value)} ({where})"
            )
    return values


def _widths(data: Any, at: str, where: str) -> Values:
    values = read_values(data, at, where)
    for value in values:
        if value != SAME:
            check_number("width", value, at, where)
    return values


def _tokens(data: Any, where: str) -> Values:
    values = read_values(data, "tokens", where)
    for value in values:
        if value is None:
            continue
        if not isinstance(value, tuple) or len(value) != 2:
            raise ValueError(f"tokens: must be null or [count, dimension], got {shown(value)} ({where})")
        for limits, number, place in zip(("tokens", "width"), value, ("count", "dimension"), strict=True):
            check_number(limits, number, f"tokens: {place}", where)
    return values


def _names(data: Any, at: str, where: str) -> tuple[str, ...]:
    values = read_values(data, at, where)
    if any(not isinstance(v, str) for v in values):
        raise ValueError(f"{at}: must be names of presets, got {shown(list(values))} ({where})")
    return values


def _rules(data: Any, where: str) -> tuple[str, ...]:
    if not isinstance(data, list):
        raise ValueError(f"rules: must be a list of rules, got {shown(data)} ({where})")
    for rule in data:
        if rule not in RULES:
            raise ValueError(f"rules: {unknown_name('rule', str(rule), RULES)} ({where})")
    return tuple(dict.fromkeys(data))


def _limits(data: Any, where: str) -> dict[str, float]:
    for name, limit in _mapping(data, "limits", where).items():
        if name not in ("params", "macs"):
            raise ValueError(f"limits.{name}: unknown limit; there are: params, macs ({where})")
        if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not 0 < limit < math.inf:
            raise ValueError(f"limits.{name}: must be a finite number > 0, got {shown(limit)} ({where})")
    return {name: float(limit) for name, limit in data.items()}
