"""What a training was asked for, as a JSON file in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hvnas._files import read_text, write_atomic
from hvnas._validation import first_wrong

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")


def write_record(path: Path, record: DataclassInstance) -> None:
    """Write a dataclass of plain fields, whole or not at all."""
    write_atomic(path, json.dumps(asdict(record), indent=1) + "\n")


def read_record(path: Path, kind: type[Record], *, schema: str) -> Record:
    """The record of a `kind` in a file. Raises ValueError, one line, naming file and field."""
    from pydantic import TypeAdapter, ValidationError

    try:
        record: Any = TypeAdapter(kind).validate_json(read_text(path), strict=True)
    except ValidationError as error:
        wrong = first_wrong(error)
        raise ValueError(f"{path}: {wrong.at or 'JSON'}: {wrong.said}; restore the file") from None
    if name := _not_finite(asdict(record)):
        raise ValueError(f"{path}: {name}: must be a finite number; restore the file")
    if record.schema != schema:
        raise ValueError(f"{path}: schema: must be {schema}, got {record.schema!r}")
    found: Record = record
    return found


def _not_finite(data: Any, name: str = "") -> str:
    """The name of the first number that is not finite, empty where there is none."""
    if isinstance(data, float):
        return "" if isfinite(data) else name
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return next(
        (found for key, value in items if (found := _not_finite(value, f"{name}.{key}".strip(".")))), ""
    )
