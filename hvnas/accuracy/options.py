"""Options behind the name of a family of estimators: ``train:data=digits,epochs=3``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from hvnas._files import refuse_unknown
from hvnas._validation import first_wrong

T = TypeVar("T")


def read_options(text: str, kind: type[T], *, family: str, **given: Any) -> T:
    """A dataclass `kind` of ``name=value,name=value`` and of the fields `given`.

    Raises ValueError, one line, naming the field at fault.
    """
    from pydantic import TypeAdapter, ValidationError

    values: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{family}: {part!r} is no option; write name=value, separated by commas")
        values[name.strip()] = value.strip()
    names = (field.name for field in fields(kind) if field.name not in given)  # type: ignore[arg-type]
    refuse_unknown(values, names, "", f"{family}:{text}")
    try:
        options: T = TypeAdapter(kind).validate_python(values | given)
        return options
    except ValidationError as error:
        wrong = first_wrong(error)
        if not wrong.place:
            raise ValueError(wrong.said) from None
        raise ValueError(f"{family}: {wrong.at}: {wrong.said}") from None
