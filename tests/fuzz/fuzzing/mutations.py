"""Files damaged by a seed: first as what they are, such as YAML or CSV, then as text, then as bytes."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable
from typing import Any

import yaml

from fuzzing.exported import damaged_onnx, damaged_tflite
from fuzzing.tensors import damaged_arrays, damaged_pickle, damaged_safetensors
from fuzzing.trees import damaged, json_text

Mutation = Callable[[bytes, random.Random], bytes]

# Bytes of a damaged file from which on only bytes are changed: copies of its lines and keys come to 200 MB,
# which this file's patterns and writers take minutes for.
LARGE = 100_000
# Of which the text is a small part, and damaged alone.
FILES_OF_RUNTIMES = ("onnx", "tflite")

# Written into text where a number or a word stands.
TOKENS = (
    *"nan inf -inf -1 0 1e308 -1e308 1e999 1e-400 0x1F 1_000 1:30 3.5.1 true null ~ 1e400".split(),
    *"!!bool !!int !!python/object:os.system !!binary &a *a <<: [ ] { } # ' \" , ; : - | > % @ `".split(),
    "",
    " ",
    "9" * 21,
    "9" * 5000,
    "1" + "0" * 400,
    "x" * 200_000,
    "1 " * 100_000,
    "=cmd|'/c calc'!A0",
    "\x00",
    "\u202e",
    "\ufeff",
    "!!timestamp 2020-01-01",
    "!!set {a, b}",
    "[" * 3000,
    "{a: " * 1000,
    "&x [*x, *x]",
    "\u0663",
)


def mutate(data: bytes, kind: str, rng: random.Random) -> bytes:
    """`data`, a file of this kind, with one to three things changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        known = len(data) <= LARGE or kind in FILES_OF_RUNTIMES
        data = rng.choice(_MUTATIONS[kind] if known else _BYTES)(data, rng)
    return data


def _text(change: Callable[[str, random.Random], str]) -> Mutation:
    def mutation(data: bytes, rng: random.Random) -> bytes:
        changed = change(data.decode("utf-8", errors="replace"), rng)
        return changed.encode("utf-8", errors="replace")

    return mutation


# bytes


def flip(data: bytes, rng: random.Random) -> bytes:
    """Some bytes are others."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 4, 50)) if data else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The end is missing."""
    return data[: rng.randrange(len(data) + 1)]


def remove(data: bytes, rng: random.Random) -> bytes:
    """A part inside is missing."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100, 5000)) :]


def double(data: bytes, rng: random.Random) -> bytes:
    """A part appears twice."""
    at = rng.randrange(len(data) + 1)
    end = at + rng.choice((1, 2, 8, 100, 5000))
    return data[:end] + data[at:end] + data[end:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Something strange stands inside."""
    at = rng.randrange(len(data) + 1)
    what = (b"\x00", b"\xff", b"\xed\xa0\x80", b"\r", b"\x00" * 4096, b"\x1b[2J", rng.randbytes(16))
    return data[:at] + rng.choice(what) + data[at:]


def whole(data: bytes, rng: random.Random) -> bytes:
    """All of it is something else, or written in another way."""
    text = data.decode("utf-8", errors="replace")
    others: tuple[Callable[[], bytes], ...] = (
        lambda: b"",
        lambda: b"\n",
        lambda: b"\x00" * len(data),
        lambda: rng.randbytes(len(data) % 5000),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-16-le"),
        lambda: text.encode("latin-1", errors="replace"),
        lambda: text.replace("\n", "\r\n").encode(errors="replace"),
        lambda: text.replace("\n", "\r").encode(errors="replace"),
        lambda: data + data,
        lambda: b"x" * 200_000,
        lambda: b"PK\x03\x04" + data,
        lambda: b"<html><body>404</body></html>\n",
    )
    return rng.choice(others)()


# lines and words


def move_lines(text: str, rng: random.Random) -> str:
    """Lines are missing, appear twice, at another place, or elsewhere in the margin."""
    lines = text.split("\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(6)
    if what == 0:
        del lines[first]
    elif what == 1:
        lines.insert(second, lines[first])
    elif what == 2:
        lines[first], lines[second] = lines[second], lines[first]
    elif what == 3:
        lines[first] = " " * rng.choice((1, 2, 4)) + lines[first]
    elif what == 4:
        lines[first] = lines[first].lstrip()
    else:
        lines[first:first] = [lines[first]] * rng.choice((2, 200, 2000))
    return "\n".join(lines)


def replace_token(text: str, rng: random.Random) -> str:
    """A number or a word is another."""
    found = list(re.finditer(r"[\w.+-]+", text))
    if not found:
        return text
    token, new = rng.choice(found), rng.choice(TOKENS)
    return text[: token.start()] + new + text[token.end() :]


def insert_token(text: str, rng: random.Random) -> str:
    """Something strange stands before a number or a word."""
    found = list(re.finditer(r"[\w.+-]+", text))
    at = rng.choice(found).start() if found else 0
    return f"{text[:at]}{rng.choice(TOKENS)} {text[at:]}"


def long_line(text: str, rng: random.Random) -> str:
    """One line has hundreds of thousands of characters, which some patterns take a long time for."""
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    part = rng.choice(("x", "1", " ", "a,", "1.5 ", "a=1 ", "avg=", '"', "[", "(", "/", lines[at] or "y"))
    lines[at] += part * (200_000 // len(part))
    return "\n".join(lines)


# formats


def _yaml(data: bytes, rng: random.Random) -> bytes:
    try:
        tree = yaml.load(data, Loader=_YAML)
    # Tags that were put there make its constructors fail in ways of their own.
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError, TypeError):
        return flip(data, rng)
    try:
        text = yaml.dump(damaged(tree, rng), Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    except (RecursionError, ValueError):
        return b"schema: " + b"[" * 10_000
    return text.encode(errors="replace")


_YAML: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})


def _json(data: bytes, rng: random.Random) -> bytes:
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return flip(data, rng)
    return json_text(damaged(tree, rng), rng).encode(errors="replace")


def _json_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = _json(lines[at], rng)
    return b"\n".join(lines)


def _csv(text: str, rng: random.Random) -> str:
    if "\0" in text:  # thousands of them in a row end Python 3.11's own reader
        return replace_token(text, rng)
    try:
        rows = list(csv.reader(io.StringIO(text)))
    except csv.Error:
        return replace_token(text, rng)
    rows = [row for row in rows if row] or [[""]]
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    rng.choice(_CSV_CHANGES)(rows, row, at, rng)
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=rng.choice(",,,,,,,;\t"), lineterminator="\n").writerows(rows)
    return out.getvalue()


def _other_cell(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    row[at] = rng.choice(TOKENS)


def _spoil_column(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    value = rng.choice(TOKENS)
    for one in rows[1:]:
        if at < len(one):
            one[at] = value[:1000]


def _drop_cell(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    del row[at]


def _add_cell(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    row.insert(at, rng.choice(TOKENS))


def _move_column(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    how = rng.randrange(3)
    for one in rows:
        if at < len(one):
            cell = one[at] if how == 0 else one.pop(at)
            if how < 2:
                one.append(cell)


def _long_cell(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    row[at] = (row[at][:100] or "1") * rng.choice((1000, 70_000))


def _scaled_cell(rows: list[list[str]], row: list[str], at: int, rng: random.Random) -> None:
    row[at] = rng.choice(
        ("-{}", "{}e300", "{}000000", "{},5", "{}%", "{}us", '"{}', "0{}", "'{}", " {} ")
    ).format(row[at])


_CSV_CHANGES = (
    _other_cell,
    _other_cell,
    _other_cell,
    _spoil_column,
    _drop_cell,
    _add_cell,
    _move_column,
    _long_cell,
    _scaled_cell,
)
_BYTES: tuple[Mutation, ...] = (flip, cut, remove, double, insert, whole)
_WORDS = tuple(map(_text, (move_lines, replace_token, replace_token, insert_token, long_line)))
_LINES = (*_BYTES, *_WORDS)
_MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "bytes": _BYTES,
    "text": _LINES,
    "yaml": (*_LINES, *[_yaml] * 12),
    "json": (*_LINES, *[_json] * 12),
    "jsonl": (*_LINES, *[_json_lines] * 12),
    "csv": (*_LINES, *[_text(_csv)] * 12),
    "npz": (*_BYTES, *[damaged_arrays] * 12),
    "safetensors": (*_BYTES, *[damaged_safetensors] * 12),
    "torch": (*_BYTES, *[damaged_pickle] * 12),
    "onnx": (damaged_onnx,),
    "tflite": (damaged_tflite,),
}
