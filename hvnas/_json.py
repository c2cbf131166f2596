"""JSON that is plain data: each key once, numbers that are numbers, and nothing deep or without end."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from hvnas._names import shown
from hvnas._yaml import MAX_DEPTH, MAX_DIGITS

_LARGEST = 10**MAX_DIGITS
# Digits as 0: numbers out of all bounds have more of them than others, or an exponent of three.
_AS_ZERO = bytes.maketrans(b"123456789E", b"000000000e")
_SUSPECTS = (b"0" * (MAX_DIGITS + 1), b"e000", b"e+000")
# What a value is made of; of a text what follows, too, where that makes it a key.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"(?:\s*+(:))?|[\[\]{}]|NaN|-?Infinity|-?\d[\d.eE+-]*+', re.DOTALL)
# Half of a pair that stands for one character: no text in any file.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> Any:
    """The value in `text`.

    Raises ValueError, one line with the line of `text`: what is no JSON, NaN and infinity, also as numbers
    too large for any, a key that appears twice, halves of characters, and what is beyond the limits that YAML
    has, `MAX_DEPTH` and `MAX_DIGITS`.
    """
    try:
        value = json.loads(text, object_pairs_hook=_mapping, parse_constant=_no_number)
        _check_depth(value)
        _check_numbers(value, text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} (line {error.lineno}); is it complete?") from None
    except (ValueError, RecursionError):
        raise ValueError(_first_fault(text)) from None
    return value


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError
    return data


def _no_number(name: str) -> Any:
    raise ValueError


def _check_depth(value: Any) -> None:
    for depth, level in enumerate(_levels(value)):
        if depth >= MAX_DEPTH and not {list, dict}.isdisjoint(map(type, level)):
            raise ValueError


def _check_numbers(value: Any, text: str) -> None:
    """Raise ValueError for numbers that are out of all bounds."""
    digits = text.encode(errors="replace").translate(_AS_ZERO)
    if not any(suspect in digits for suspect in _SUSPECTS):
        return
    for level in _levels(value):
        for number in level:
            if type(number) is int and not -_LARGEST < number < _LARGEST:
                raise ValueError
            if type(number) is float and not math.isfinite(number):
                raise ValueError


def _levels(value: Any) -> Iterator[list[Any]]:
    """The value, what it holds, what that holds, and so on."""
    level = [value]
    while level:
        yield level
        # Long lists of numbers are nothing to go through one by one.
        is_flat = {list, dict}.isdisjoint(map(type, level))
        open_ = [] if is_flat else [v for v in level if type(v) in (list, dict)]
        level = list(chain.from_iterable(v.values() if type(v) is dict else v for v in open_))


def _first_fault(text: str) -> str:
    """What of valid JSON is not taken, with its line."""
    keys: list[set[str]] = []
    for token in _TOKEN.finditer(text):
        if said := _fault(token[0], token[1] is not None, keys):
            return f"{said} (line {text.count(chr(10), 0, token.start()) + 1})"
    return "is not taken"


def _fault(token: str, is_key: bool, keys: list[set[str]]) -> str:
    """What is wrong with a token, where `keys` are those before it of each mapping or list that is open."""
    if token in ("[", "{"):
        keys.append(set())
        return "nested too deeply" if len(keys) > MAX_DEPTH else ""
    if token in ("]", "}"):
        keys.pop()
        return ""
    if token[0] != '"':
        return _number_fault(token)
    if not is_key and "\\" not in token:
        return ""
    word = json.loads(token[: token.rindex('"') + 1])
    if any("\ud800" <= char <= "\udfff" for char in word):
        return f"{shown(word)} holds half of a character"
    if is_key and word in keys[-1]:
        return f"the key {shown(word)} appears twice"
    if is_key:
        keys[-1].add(word)
    return ""


def _number_fault(token: str) -> str:
    if token.lstrip("-").isdigit():
        digits = len(token.lstrip("-"))
        return f"a number of {digits} digits; the longest has {MAX_DIGITS}" if digits > MAX_DIGITS else ""
    return "" if math.isfinite(float(token)) else f"{shown(token)} is not a finite number"
