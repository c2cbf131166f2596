"""Plain data damaged: a value of another kind, a key that is missing or new, sizes without end."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Tree = Any

# What no file should hold where it stands, and what some file holds.
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "x",
    "nan",
    "1",
    "=1+1",
    "a\nb",
    "\x1b[31m",
    "\u202e",
    "ü" * 300,
    "../" * 30,
    "x" * 20_000,
    "/dev/zero",
    0,
    1,
    -1,
    2,
    0.5,
    -0.0,
    1e-320,
    3.0,
    1e12,
    1e308,
    -1e308,
    10**9,
    10**18,
    2**63,
    2**64,
    10**400,
    -(10**400),
    float("nan"),
    float("inf"),
    -float("inf"),
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    [1, 2],
    ["x"],
    list(range(3000)),
    "2020-01-01",
)


def damaged(tree: Tree, rng: random.Random) -> Tree:
    """A copy of `tree` with one thing changed."""
    tree = copy.deepcopy(tree)
    holder, key = _place(tree, rng)
    if holder is None:
        return copy.deepcopy(rng.choice(VALUES))
    rng.choice(_CHANGES)(holder, key, rng)
    return tree


def _place(tree: Tree, rng: random.Random) -> tuple[Any, Any]:
    """A collection inside and one of its keys: those near the root most often."""
    holder, key = None, None
    while isinstance(tree, dict | list) and tree:
        holder = tree
        key = rng.choice(list(tree)) if isinstance(tree, dict) else rng.randrange(len(tree))
        tree = tree[key]
        if rng.random() < 0.25:
            break
    return holder, key


def _replace(holder: Any, key: Any, rng: random.Random) -> None:
    holder[key] = copy.deepcopy(rng.choice(VALUES))


def _scale(holder: Any, key: Any, rng: random.Random) -> None:
    """A number of the same kind, far away."""
    value = holder[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _replace(holder, key, rng)
    factor = rng.choice((-1, 0, 3, 1000, 10**6, 10**12))
    holder[key] = value * factor if isinstance(value, int) else value * float(factor)
    return None


def _drop(holder: Any, key: Any, rng: random.Random) -> None:
    del holder[key]


def _rename(holder: Any, key: Any, rng: random.Random) -> None:
    if isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
        return
    names: tuple[Any, ...] = (f"{key}x", "", "x" * 3000, "=1+1", "schema", "\u202e", key[:-1])
    holder[rng.choice(names)] = holder.pop(key)


def _add(holder: Any, key: Any, rng: random.Random) -> None:
    value = copy.deepcopy(rng.choice(VALUES))
    if isinstance(holder, list):
        holder.append(value)
    else:
        holder[rng.choice(("extra", "x" * 600, "a.b", "schema"))] = value


def _swap(holder: Any, key: Any, rng: random.Random) -> None:
    other = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    holder[key], holder[other] = holder[other], holder[key]


def _wrap(holder: Any, key: Any, rng: random.Random) -> None:
    value = holder[key]
    for _ in range(rng.choice((1, 2, 40, 300))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    holder[key] = value


def _repeat(holder: Any, key: Any, rng: random.Random) -> None:
    value = holder[key]
    if isinstance(value, list):
        holder[key] = value * rng.choice((0, 2, 50, 1000))
    elif isinstance(value, str):
        holder[key] = value * rng.choice((0, 2, 1000))
    elif isinstance(value, dict):
        holder[key] = value | {f"{name}{i}": one for name, one in value.items() for i in range(200)}
    else:
        holder[key] = [value] * 100


_CHANGES: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    _replace,
    _replace,
    _replace,
    _scale,
    _drop,
    _rename,
    _add,
    _swap,
    _wrap,
    _repeat,
)


def json_text(tree: Tree, rng: random.Random) -> str:
    """JSON, as Python writes it; at times with a key that appears twice, or nested without end."""
    try:
        text = json.dumps(tree)
    except (RecursionError, ValueError):
        return "[" * 100_000
    chance = rng.random()
    if chance < 0.05 and '": ' in text:
        at = rng.choice([i for i in range(len(text)) if text.startswith('": ', i)])
        start = text.rfind('"', 0, at)
        return f"{text[:start]}{text[start : at + 3]}{rng.choice(('null', '1', 'NaN', '[]'))}, {text[start:]}"
    if chance < 0.07:
        return f"{'[' * 5000}{text}{']' * 5000}"
    return text
