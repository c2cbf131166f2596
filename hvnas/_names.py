"""Messages of one line: a name that does not exist, and what pydantic says of a file's fields."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

MOST_CHARACTERS = 240
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
    """``unknown model 'x'; did you mean 'y'? There are: ...``."""
    # How alike names are takes time in the square of their length, and a file may name anything.
    close = get_close_matches(name, known, n=1, cutoff=0.4) if len(name) <= 200 else []
    hint = f"; did you mean {close[0]!r}? There" if close else "; there"
    names = listed(known) if known else "none"
    also = f" (or {alternative})" if alternative else ""
    return f"unknown {what} {shown(name)}{hint} are: {names}{also}"


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


def to_plain(value: Any) -> Any:
    """The other way: a dataclass as mappings, lists, text and numbers, its fields in their order."""
    adapter = _adapter(type(value))  # type: ignore[arg-type]
    return adapter.dump_python(value, mode="json", warnings=False)


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
