"""What is wrong with a file's fields, of all that pydantic says about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic import ValidationError

_PREFIX = "Value error, "
# What these say names the value, or there is none to name.
_OWN = ("value_error", "missing", "json_invalid")


class Wrong(NamedTuple):
    """The first mistake: the path of the field, none where it is of several, and what is wrong."""

    place: tuple[str, ...]
    said: str

    @property
    def at(self) -> str:
        """The field, as ``schedule.epochs``."""
        return ".".join(self.place)


def first_wrong(error: ValidationError) -> Wrong:
    """The first mistake of a validation."""
    first = error.errors()[0]
    shown = "" if first["type"] in _OWN else f", got {first['input']!r}"
    return Wrong(tuple(map(str, first["loc"])), plain(first["msg"]) + shown)


def plain(message: str) -> str:
    """A message without the prefix that pydantic puts before errors of a class's own."""
    return message.replace(_PREFIX, "")
