"""Arch files: YAML in and out, schema hvnas.arch/1."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hvnas._cache import code_hash, read_facts
from hvnas._files import data_dir, read_yaml, refuse_unknown, refusing, write_atomic
from hvnas._names import WrongField, shown, unknown_name, validated
from hvnas._yaml import dump_yaml
from hvnas.arch.arch import INNER, SCHEMA, Arch, Run, Stage, _shown, to_dict
from hvnas.blocks import Block, block_class, is_block, list_blocks
from hvnas.blocks.limits import LIMITS, MOST_BLOCKS, check_number


def load_arch(name: str | Path) -> Arch:
    """Load a fixed point by name, or an Arch from a YAML path.

    Raises ValueError, one line, naming the file and field at fault, or the fixed points there are.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in list_models():
            raise ValueError(_unknown(str(name)))
        return _load_model(models_dir() / f"{name}.yaml")
    return _read(path)


def _unknown(name: str) -> str:
    """What to say of a name that is no model's: it may be a path that leads nowhere."""
    if Path(name).name != name:
        return (
            f"{shown(name)}: leads to no network; check the path, or give a .yaml file or a model's name "
            "(hvnas models lists them)"
        )
    return unknown_name(
        "model", name, list_models(), "a path to a .yaml file; hvnas models lists all of them"
    )


def models_dir() -> Path:
    """Return the folder of the fixed points."""
    return data_dir("search_spaces") / "models"


def list_models() -> tuple[str, ...]:
    """List the names of the fixed points."""
    return _models()


@lru_cache(maxsize=1)
def _models() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in models_dir().glob("*.yaml")))


@cache
def models_hash() -> str:
    """16 hexadecimal digits of the files of all fixed points."""
    whole = hashlib.blake2b(digest_size=8)
    for path in sorted(models_dir().glob("*.yaml")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


FACTS = "models"


def facts_key() -> str:
    """The key of files of `model_facts`."""
    return f"{models_hash()} {code_hash('ops', 'blocks', 'arch')}"


def model_facts() -> list[dict[str, Any]]:
    """Name, family, resolution, params, MACs and what is published of every fixed point."""
    stored: list[dict[str, Any]] | None = read_facts(FACTS, facts_key())
    return count_models() if stored is None else stored


def count_models() -> list[dict[str, Any]]:
    """What `model_facts` returns, worked out from the models' files."""
    return [_facts(load_arch(name)) for name in list_models()]


def _facts(arch: Arch) -> dict[str, Any]:
    program, published = arch.lower(), dict(arch.published or {})
    return {
        "name": arch.name,
        "family": published.get("family"),
        "resolution": arch.resolution,
        "params": program.params,
        "macs": program.macs,
        "published": published,
    }


@lru_cache(maxsize=512)
def _load_model(path: Path) -> Arch:
    return _read(path)


def _read(path: Path) -> Arch:
    with refusing(path):
        return from_dict(read_yaml(path, schema=SCHEMA), where=str(path))


def save_arch(arch: Arch, path: str | Path) -> None:
    """Write `arch` as YAML, in one step."""
    write_atomic(path, dump_yaml(to_dict(arch)))


def from_dict(data: Mapping[str, Any], *, where: str) -> Arch:
    """Return an Arch from plain data; checks every field and that the network can be lowered.

    `where` names the source in errors. Raises ValueError.
    """
    allowed = sorted(
        {"schema", "name", "resolution", "tokens", "stem", "stages", "head", "published", "found"}
    )
    refuse_unknown(data, allowed, "", where)
    resolution = data.get("resolution", 224)
    check_number("resolution", resolution, "resolution", where)
    stages, most = data.get("stages"), LIMITS["stages"][1]
    if not isinstance(stages, list) or not 1 <= len(stages) <= most:
        raise ValueError(f"stages: must be a list of 1 to {most:g} stages ({where})")
    for key in ("published", "found"):
        if data.get(key) is not None and not isinstance(data[key], dict):
            raise ValueError(f"{key}: must be a mapping, got {type(data[key]).__name__} ({where})")
    arch = Arch(
        name=str(data.get("name", Path(where).stem)),
        resolution=resolution,
        tokens=_tokens(data.get("tokens"), where),
        stem=block_from_dict(data.get("stem"), field="stem", role="stem", where=where),
        stages=tuple(_stage(stage, f"stages.{i}", where) for i, stage in enumerate(stages)),
        head=block_from_dict(data.get("head"), field="head", role="head", where=where),
        published=data.get("published"),
        found=data.get("found"),
    )
    _check_size(arch, where)
    try:
        for _ in arch.states():
            pass
    except ValueError as error:
        raise ValueError(f"{error} ({where})") from None
    return arch


def _tokens(value: Any, where: str) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(
            f"tokens: must be [count, dimension], two whole numbers, got {shown(value)} ({where})"
        )
    for limits, number, place in zip(("tokens", "width"), value, ("count", "dimension"), strict=True):
        check_number(limits, number, f"tokens: {place}", where)
    return value[0], value[1]


def _check_size(arch: Arch, where: str) -> None:
    """Raise ValueError for more blocks than a network may have."""
    blocks = sum(run.depth for stage in arch.stages for _, run in stage.runs)
    if blocks > MOST_BLOCKS:
        raise ValueError(f"stages: hold {blocks} blocks; the most are {MOST_BLOCKS} ({where})")


def _stage(data: Any, field: str, where: str) -> Stage:
    if not isinstance(data, dict):
        raise ValueError(f"{field}: must be a mapping, got {type(data).__name__} ({where})")
    refuse_unknown(data, ("downsample", "global", "local"), f"{field}.", where)
    down = data.get("downsample")
    if isinstance(down, dict):
        down = block_from_dict(down, field=f"{field}.downsample", role="downsample", where=where)
    elif down is not None and down != INNER:
        raise ValueError(f"{field}.downsample: must be a block, null or inner, got {shown(down)} ({where})")
    runs = {name: _run(data.get(name), f"{field}.{name}", where) for name in ("local", "global")}
    try:
        return Stage(downsample=down, local=runs["local"], global_=runs["global"])
    except ValueError as error:
        raise ValueError(f"{field}: {error} ({where})") from None


def _run(data: Any, field: str, where: str) -> Run | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise ValueError(f"{field}: must be a mapping, got {type(data).__name__} ({where})")
    fields = dict(data)
    depth = fields.pop("depth", 1)
    check_number("depth", depth, f"{field}.depth", where)
    if depth == 0:
        return None
    cls = _block_type(fields, field, "body", where)
    tuples = {f.name for f in dataclasses.fields(cls) if str(f.type).startswith("tuple")}
    vary = {name: value for name, value in fields.items() if isinstance(value, list) and name not in tuples}
    for name, values in vary.items():
        if len(values) != depth:
            raise ValueError(
                f"{field}.{name}: needs {depth} values, one per block, got {len(values)} ({where})"
            )
    shared = fields | {name: values[0] for name, values in vary.items()}
    block = block_from_dict(shared, field=field, role="body", where=where)
    for name, values in vary.items():
        for value in {repr(value): value for value in values}.values():
            block_from_dict(shared | {name: value}, field=field, role="body", where=where)
    named = {_shown(cls, f.name): f.name for f in dataclasses.fields(cls)}
    return Run(
        block=block, depth=depth, vary=tuple((named[name], tuple(values)) for name, values in vary.items())
    )


def _block_type(fields: Any, field: str, role: str, where: str) -> type[Block]:
    if not isinstance(fields, dict) or "type" not in fields:
        raise ValueError(f"{field}: must be a mapping with a type ({where})")
    if not is_block(fields["type"], role):
        said = unknown_name("block", str(fields["type"]), list_blocks(role))
        raise ValueError(f"{field}.type: {said} ({where})")
    return block_class(fields["type"])


def block_from_dict(data: Any, *, field: str, role: str, where: str) -> Block:
    """Return a block from ``{type: ..., width: ..., ...}``. Raises ValueError naming `field` and `where`."""
    cls = _block_type(data, field, role, where)
    names = {_shown(cls, f.name): f.name for f in dataclasses.fields(cls)}
    refuse_unknown(data, sorted({"type", *names}), f"{field}.", where)
    fields = {names[key]: value for key, value in data.items() if key != "type"}
    if "out" not in fields and role != "head":
        raise ValueError(f"{field}.width: missing ({where})")
    try:
        return validated(cls, fields)
    except WrongField as wrong:
        place = ".".join([field, *(_shown(cls, part) for part in wrong.place)])
        raise ValueError(f"{place}: {wrong.said} ({where})") from None
