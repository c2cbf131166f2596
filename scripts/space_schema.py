"""Write search_spaces/space.schema.json, by which editors check and complete space files.

It is made from what the reader of space files and the blocks themselves say: names of fields, their types
and their limits.

    python scripts/space_schema.py            # print it
    python scripts/space_schema.py --write    # replace the file
    python scripts/space_schema.py --check    # exit with 1 where the file holds another one
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

from hvnas._files import write_atomic
from hvnas.arch import INNER
from hvnas.blocks import block_class, list_blocks
from hvnas.blocks.limits import LIMITS, MOST_VALUES, OTHER
from hvnas.ops.op import KINDS
from hvnas.space.reading import MOST_STAGES, NAMED, SCHEMA, STAGE_KEYS, TOP_KEYS
from hvnas.space.spec import RULES, SAME

FILE = Path(__file__).resolve().parent.parent / "search_spaces" / "space.schema.json"
Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WORDS = {
    "schema": "The format of this file.",
    "name": "The space's name; the file's where it is left out.",
    "description": "One line.",
    "parent": "A space by name, or the path of a .yaml file beside this one; makes the file a restriction.",
    "resolution": "Pixels a side of the square image.",
    "counts": "How many stages a network has.",
    "tokens": "Mobile-Former's global tokens: null for none, or [count, dimension].",
    "stems": "Names to blocks; in a restriction names of the parent's.",
    "heads": "Names to blocks; in a restriction names of the parent's.",
    "stem_width": "Channels behind the stem; same is the width of the first stage.",
    "downsamples": "Names to blocks, null (none) or inner (the stage's first block strides by itself).",
    "blocks": "Names to the blocks that runs may consist of; in a restriction blocks that it adds.",
    "genes": "Values of blocks' fields that are searched; a list among them is a profile, one value a block.",
    "stage": "Lists that hold for every stage.",
    "stages": "The stages, first to last; what a stage names replaces the list in stage.",
    "rules": "growing_widths: no stage narrower than the one before. 4d_before_3d: behind mb3d only mb3d.",
    "limits": "Upper bounds that members keep.",
    "exclude": "Fields of blocks with values that no network shall have, such as {act: silu, se: true}.",
    "multiple_of": "Leaves the widths, of stages, global runs and the stem, that are multiples of it.",
    "downsample": "Names from downsamples.",
    "width": "Channels of the stage's runs.",
    "local": "Names from blocks: the types of the first run.",
    "local_depth": "How many blocks the first run has; 0 leaves it out.",
    "global": "Names from blocks: the types of the second run.",
    "global_depth": "How many blocks the second run has; 0 leaves it out.",
    "global_width": "Channels of the second run; same is the stage's width.",
}


def number(field: str, *, whole: bool = True) -> Schema:
    """A number within the limits of a field."""
    least, most = LIMITS.get(field, OTHER)
    return {"type": "integer" if whole else "number", "minimum": least, "maximum": most}


def values(items: Schema) -> Schema:
    """A list of different values."""
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MOST_VALUES, "uniqueItems": True}


def names(keys: tuple[str, ...] = ()) -> Schema:
    """A list of names."""
    return values({"enum": list(keys)} if keys else TEXT)


def mapping(properties: Schema, *, required: tuple[str, ...] = ()) -> Schema:
    """A mapping of these fields and no others, each with its description."""
    described = {
        name: {"description": WORDS[name], **kind} if name in WORDS else kind
        for name, kind in properties.items()
    }
    return {
        "type": "object",
        "properties": described,
        "required": list(required),
        "additionalProperties": False,
    }


def field_schema(kind: Any, shown: str) -> Schema:
    """What a field of a block may hold."""
    if kind is bool:
        return {"type": "boolean"}
    if kind is str:
        return TEXT
    if kind in (int, float):
        return number(shown, whole=kind is int)
    return {"type": "array", "items": field_schema(get_args(kind)[0], shown), "maxItems": MOST_VALUES}


def block(role: str) -> Schema:
    """A block of a role: its type, and the fields of that type."""
    choices = []
    for name in list_blocks(role):
        cls = block_class(name)
        hints = get_type_hints(cls)
        own = {
            shown: field_schema(hints[each.name], shown)
            for each in dataclasses.fields(cls)
            if (shown := each.name if each.name != "out" else "classes" if role == "head" else "width")
        }
        fields: Schema = {"type": {"const": name}, **own}
        if role == "body":
            fields["reads"] = {"type": "array", "items": TEXT, "description": "Genes that fill in fields."}
        choices.append(
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"properties": fields, "additionalProperties": False},
            }
        )
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list_blocks(role)}},
        "allOf": choices,
    }


def presets(kind: Schema) -> Schema:
    """Names to blocks."""
    return {"type": "object", "minProperties": 1, "maxProperties": MOST_VALUES, "additionalProperties": kind}


def stage() -> Schema:
    """The lists of a stage."""
    kinds = {
        "downsample": names(),
        "width": values(number("width")),
        "local": names(),
        "global": names(),
        "local_depth": values(number("depth")),
        "global_depth": values(number("depth")),
        "global_width": values({"anyOf": [{"const": SAME}, number("width")]}),
    }
    return mapping({key: kinds[key] for key in STAGE_KEYS})


def space() -> Schema:
    """A whole space file."""
    pair = {
        "type": "array",
        "prefixItems": [number("tokens"), number("width")],
        "minItems": 2,
        "maxItems": 2,
    }
    plain = {"type": ["number", "string", "boolean"]}
    excluded = {"anyOf": [plain, values(plain)]}
    kinds: Schema = {
        "schema": {"const": SCHEMA},
        "name": TEXT,
        "description": TEXT,
        "parent": TEXT,
        "resolution": values(number("resolution")),
        "counts": values({"type": "integer", "minimum": 1, "maximum": MOST_STAGES}),
        "tokens": values({"anyOf": [{"type": "null"}, pair]}),
        "stems": {},
        "heads": {},
        "stem_width": values({"anyOf": [{"const": SAME}, number("width")]}),
        "downsamples": {},
        "blocks": presets(block("body")),
        "genes": {
            "type": "object",
            "additionalProperties": values(
                {"anyOf": [plain, {"type": "array", "items": plain, "minItems": 1}]}
            ),
        },
        "stage": stage(),
        "stages": {"type": "array", "items": stage(), "minItems": 1, "maxItems": MOST_STAGES},
        "rules": names(RULES),
        "limits": mapping({name: {"type": "number", "exclusiveMinimum": 0} for name in ("params", "macs")}),
        "exclude": {
            "type": "object",
            "properties": {"op": {"anyOf": [{"enum": sorted(KINDS)}, names(tuple(sorted(KINDS)))]}},
            "additionalProperties": excluded,
        },
        "multiple_of": number("width"),
    }
    whole = {
        "stems": presets(block("stem")),
        "heads": presets(block("head")),
        "downsamples": presets({"anyOf": [{"type": "null"}, {"const": INNER}, block("downsample")]}),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search space of hvnas",
        **mapping({key: kinds[key] for key in TOP_KEYS}, required=("schema",)),
        "if": {"required": ["parent"]},
        "then": {"properties": {"stems": names(), "heads": names(), "downsamples": False}},
        "else": {"properties": whole, "required": list(NAMED)},
    }


def text() -> str:
    """The file."""
    return json.dumps(space(), indent=1) + "\n"


def main() -> int:
    """Print, write or check the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the file")
    parser.add_argument("--check", action="store_true", help="exit with 1 where the file holds another one")
    arguments = parser.parse_args()
    if arguments.check:
        return int(not FILE.is_file() or FILE.read_text(encoding="utf-8") != text())
    if arguments.write:
        write_atomic(FILE, text())
    else:
        print(text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
