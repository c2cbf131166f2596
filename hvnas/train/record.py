"""What a training was asked for, as a JSON file in its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hvnas._files import read_json, refusing, write_atomic
from hvnas._validation import first_wrong, shown, validated

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record")


def write_record(path: Path, record: DataclassInstance) -> None:
    """Write a dataclass of plain fields, whole or not at all."""
    write_atomic(path, json.dumps(asdict(record), indent=1) + "\n")


def read_record(path: Path, kind: type[Record], *, schema: str) -> Record:
    """The record of a `kind` in a file. Raises ValueError, one line, naming file and field."""
    from pydantic import TypeAdapter, ValidationError

    with refusing(path):
        try:
            record: Any = validated(TypeAdapter(kind), read_json(path))
        except ValidationError as error:
            wrong = first_wrong(error)
            raise ValueError(f"{wrong.at or 'JSON'}: {wrong.said}; restore the file") from None
        if record.schema != schema:
            raise ValueError(f"schema: must be {schema}, got {shown(record.schema)}")
    found: Record = record
    return found
