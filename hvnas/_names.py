"""Messages of one line: a name that does not exist, and what pydantic says of a file's fields."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache, lru_cache
from itertools import islice
from numbers import Integral
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

MOST_CHARACTERS = 240
_NEAREST, _ALIKE, _LONGEST_NAME = 5, 0.4, 200
_PREFIX = "Value error, "
# Of all random generators the least that one takes.
MOST_SEED = 2**32 - 1
# What these say names the value, or there is none to name.
_OWN = ("value_error", "missing", "json_invalid", "unexpected_keyword_argument")
# What pydantic finds wrong, by its name for it, as this package says it.
_WORDS = {
    "missing": "is missing; give it a value",
    "unexpected_keyword_argument": "unknown field; leave it out",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping",
    "dataclass_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}


def unknown_name(what: str, name: str, known: Sequence[str], alternative: str = "") -> str:
    """``unknown model 'x'; did you mean 'y'? There are: ...``; of more than a line holds the nearest."""
    near = _nearest(name, known)
    also = f" (or {alternative})" if alternative else ""
    if near and len(", ".join(known)) > MOST_CHARACTERS:
        return f"unknown {what} {shown(name)}; nearest of {len(known)}: {', '.join(near)}{also}"
    hint = f"; did you mean {near[0]!r}? There" if near else "; there"
    names = listed(known) if known else "none"
    return f"unknown {what} {shown(name)}{hint} are: {names}{also}"


def _nearest(name: str, known: Sequence[str]) -> list[str]:
    """The names that are most like `name`, the likest first; none where none is like it."""
    from difflib import SequenceMatcher

    # How alike names are takes time in the square of their length, and a file may name anything.
    if len(name) > _LONGEST_NAME:
        return []
    # difflib's get_close_matches, but for ties: there the last of the alphabet comes first.
    matcher = SequenceMatcher(b=name)
    ranked = []
    for each in known:
        matcher.set_seq1(each)
        if matcher.quick_ratio() >= _ALIKE and (alike := matcher.ratio()) >= _ALIKE:
            ranked.append((-alike, not each.startswith(name), each))
    return [each for _, _, each in sorted(ranked)[:_NEAREST]]


def listed(names: Sequence[str]) -> str:
    """The names, as many of them as a line holds."""
    if len(", ".join(names)) <= MOST_CHARACTERS:
        return ", ".join(names)
    few: list[str] = []
    for name in names:
        if len(", ".join([*few, name])) > MOST_CHARACTERS:
            break
        few.append(name)
    return f"{', '.join(few)} and {len(names) - len(few)} more"


class WrongField(ValueError):
    """The first mistake in a file: the path of the field, none where it is of several, and what is wrong."""

    def __init__(self, place: tuple[str, ...], said: str) -> None:
        super().__init__(f"{'.'.join(place)}: {said}" if place else said)
        self.place, self.said = place, said


def validated(kind: type[T], data: Any, *, strict: bool = True) -> T:
    """`data` of a file as a `kind`, such as a dataclass; where `strict` no text stands for a number.

    Raises WrongField.
    """
    if strict and (plain_value := _as_it_is(kind, data)) is not _OTHER:
        return cast("T", plain_value)
    from pydantic import ValidationError

    # mypy takes a class of dataclasses for one that cannot be hashed.
    adapter = _adapter(kind)  # type: ignore[arg-type]
    try:
        # Only JSON is validated strictly with lists for tuples and mappings for dataclasses.
        as_json = json.dumps(data) if strict else ""
        made: T = adapter.validate_json(as_json, strict=True) if strict else adapter.validate_python(data)
        return made
    except ValidationError as error:
        first = error.errors()[0]
        words = _WORDS.get(first["type"])
        said = plain(first["msg"]) if words is None else words.format(**first.get("ctx", {}))
        value = "" if first["type"] in _OWN else f", got {shown(first['input'])}"
        raise WrongField(tuple(str(part)[:60] for part in first["loc"]), said + value) from None


# What `_as_it_is` gives where it cannot tell.
_OTHER = object()
# Beyond, a whole number is not every float's.
_EXACT = 2**53


def _as_it_is(kind: Any, data: Any) -> Any:
    """What pydantic would make of `data` that is plainly right, `_OTHER` for all else, which it judges.

    Its import and the making of its validators take longer than reading a file; most files are right.
    """
    if kind in (str, bool):
        return data if type(data) is kind else _OTHER
    if kind is int:
        return data if type(data) is int else _OTHER
    if kind is float:
        exact = (type(data) is float and math.isfinite(data)) or (type(data) is int and abs(data) <= _EXACT)
        return float(data) if exact else _OTHER
    if kind is NoneType:
        return data if data is None else _OTHER
    if kind is Any:
        return data if _is_json(data) else _OTHER
    origin, members = get_origin(kind), get_args(kind)
    if origin is Literal:
        return next((each for each in members if type(each) is type(data) and each == data), _OTHER)
    if origin is UnionType:
        return _one_of(members, data)
    if origin in (list, tuple):
        return _collected(origin, members, data)
    if kind == dict[str, Any]:
        return data if type(data) is dict and _is_json(data) else _OTHER
    return _dataclass_of(kind, data) if is_dataclass(kind) and type(data) is dict else _OTHER


def _is_json(data: Any) -> bool:
    """Whether `data` comes back from JSON as it is."""
    if type(data) is dict:
        return all(type(key) is str for key in data) and all(map(_is_json, data.values()))
    if type(data) is list:
        return all(map(_is_json, data))
    return data is None or type(data) in (str, bool, int) or (type(data) is float and math.isfinite(data))


def _one_of(members: tuple[Any, ...], data: Any) -> Any:
    """`data` as a member of a union; a number may be a float's where nothing else takes it as it is."""
    found = [(each, value) for each in members if (value := _as_it_is(each, data)) is not _OTHER]
    same = [value for _, value in found if type(value) is type(data)]
    return same[0] if same else found[0][1] if len(found) == 1 else _OTHER


def _collected(origin: Any, members: tuple[Any, ...], data: Any) -> Any:
    """`data` as a list, or a tuple of any length or of so many."""
    if type(data) not in (list, tuple) or not members:
        return _OTHER
    kinds = members[:1] * len(data) if origin is list or members[1:] == (Ellipsis,) else members
    if len(kinds) != len(data):
        return _OTHER
    values = [_as_it_is(kind, value) for kind, value in zip(kinds, data, strict=True)]
    return _OTHER if any(value is _OTHER for value in values) else origin(values)


def _dataclass_of(kind: Any, data: dict[Any, Any]) -> Any:
    """A dataclass all of whose fields in `data` are as they should be."""
    kinds = _kinds_of(kind)
    if kinds is None or not data.keys() <= kinds.keys():
        return _OTHER
    values = {name: _as_it_is(kinds[name], value) for name, value in data.items()}
    if any(value is _OTHER for value in values.values()):
        return _OTHER
    try:
        return kind(**values)
    except (TypeError, ValueError):  # something is missing or wrong, which pydantic words
        return _OTHER


@cache
def _kinds_of(kind: Any) -> dict[str, Any] | None:
    """What each field of a dataclass holds; None where pydantic is told more than `_as_it_is` knows."""
    if not {"extra", "allow_inf_nan"}.issuperset(getattr(kind, "__pydantic_config__", {})):
        return None
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: hints[each.name] for each in fields(kind) if each.init}


def to_plain(value: Any) -> Any:
    """The other way: a dataclass as mappings, lists, text and numbers, its fields in their order."""
    plain_value = _spelled(value)
    if plain_value is not _OTHER:
        return plain_value
    adapter = _adapter(type(value))  # type: ignore[arg-type]
    return adapter.dump_python(value, mode="json", warnings=False)


def _spelled(value: Any) -> Any:
    """What pydantic would make of dataclasses of plain values, `_OTHER` of all else."""
    if is_dataclass(value) and all(each.init for each in fields(value)):
        named = {each.name: _spelled(getattr(value, each.name)) for each in fields(value)}
        return _OTHER if any(part is _OTHER for part in named.values()) else named
    if type(value) in (list, tuple, frozenset):
        parts = list(map(_spelled, value))
        return _OTHER if any(part is _OTHER for part in parts) else parts
    return value if _is_json(value) else _OTHER


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def shown(value: object, *, most: int = 60) -> str:
    """A value as messages show it, cut where it is long; what is cut away is never written out."""
    text = _SHORT.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


class _Short(reprlib.Repr):
    """As `repr`, but of long and deep values the beginning only."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxdict = 32

    def repr_str(self, x: str, level: int) -> str:
        return repr(x[:200])

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if abs(x) < 10**100 else f"a number of about {int(x.bit_length() * 0.30103)} digits"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{...}"
        pairs = islice(x.items(), self.maxdict)
        return f"{{{', '.join(f'{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}' for k, v in pairs)}}}"

    def repr_instance(self, x: Any, level: int) -> str:
        return repr(x)


_SHORT = _Short()


def check_whole(name: str, value: object, *, least: int, most: int | None = None) -> None:
    """Raise ValueError, naming the option `name`, for what is no whole number from `least` to `most`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise ValueError(f"{name}: must be a whole number >= {least}, got {shown(value)}; choose another")
    if most is not None and int(value) > most:
        raise ValueError(f"{name}: must be a whole number <= {most}, got {shown(value)}; choose another")


def brief(message: str, *, most: int = 500) -> str:
    """`message` in one line; of a long one the middle is left out, since either end may name the file."""
    line = " ".join(message.split())
    line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[5 - most // 2 :]}"


def plain(message: str) -> str:
    """A message without the prefix that pydantic puts before errors of a class's own."""
    return message.replace(_PREFIX, "")
