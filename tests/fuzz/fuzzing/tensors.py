"""Files of arrays damaged: numbers, shapes, types and headers, with checksums of the container that hold."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from typing import Any

import numpy as np

from fuzzing.trees import damaged, json_text

META = "meta"


def damaged_arrays(data: bytes, rng: random.Random) -> bytes:
    """A NumPy archive with another array, or with other plain data in its array ``meta``."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception:
        return data[: rng.randrange(len(data) + 1)]
    name = rng.choice([*arrays, META, META, META])
    if name == META:
        try:
            tree = json.loads(bytes(arrays[META]))
        except (KeyError, ValueError, RecursionError):
            tree = {}
        arrays[META] = np.frombuffer(json_text(damaged(tree, rng), rng).encode(), dtype=np.uint8)
    elif rng.random() < 0.2:
        del arrays[name]
    else:
        arrays[name] = _other(arrays[name], rng)
    out = io.BytesIO()
    np.savez(out, allow_pickle=True, **arrays)
    return out.getvalue()


def _other(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """An array of other numbers, of another shape, or of another type."""
    what = rng.randrange(9)
    if what == 0:
        return array[:0]
    if what == 1:
        return np.concatenate([array, array]) if array.ndim else array.reshape(1)
    if what == 2:
        return array.reshape(-1)
    if what == 3:
        return array[None]
    if what == 4:
        return np.array(["x"])
    if what == 5:
        return np.array([{"a": print}], dtype=object)
    if what == 6:
        with np.errstate(all="ignore"):
            return array.astype(rng.choice(["f2", "u1", "i8", "f8", "c8"]))
    changed = array.astype(np.float64) if what == 7 else array.copy()
    if changed.size:
        value: Any = (
            rng.choice((np.nan, np.inf, -1e308, -1, 10**5)) if what == 7 else rng.choice((-1, 0, 30_000))
        )
        with np.errstate(all="ignore"):
            changed.reshape(-1)[rng.randrange(changed.size)] = np.array(value).astype(changed.dtype)
    return changed


def damaged_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with another header, or with other JSON in the metadata of its header."""
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        body = data[8 + length :]
    except ValueError:
        return data[: rng.randrange(len(data) + 1)]
    known = header.get("__metadata__") if isinstance(header, dict) else None
    known = known if isinstance(known, dict) else {}
    texts = [key for key, value in known.items() if isinstance(value, str) and value.startswith("{")]
    what = rng.random()
    if texts and what < 0.6:
        key = rng.choice(texts)
        try:
            tree = json.loads(known[key])
        except (ValueError, RecursionError):
            tree = {}
        known[key] = json_text(damaged(tree, rng), rng)
    elif what < 0.8:
        body = _other_numbers(body, rng)
    else:
        header = damaged(header, rng)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def _other_numbers(body: bytes, rng: random.Random) -> bytes:
    """Float32 NaN, infinity or the largest number somewhere."""
    if len(body) < 8:
        return body
    at = 4 * rng.randrange(len(body) // 4)
    new = np.array([rng.choice((np.nan, np.inf, -np.inf, 3e38, 1e-40))], dtype="<f4").tobytes()
    return body[:at] + new + body[at + 4 :]


def damaged_pickle(data: bytes, rng: random.Random) -> bytes:
    """A file of torch.save with another pickle inside, or with something else than tensors."""
    if rng.random() < 0.4:
        return _strange(rng)
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
            victim = rng.choice(old.namelist())
            for name in old.namelist():
                part = bytearray(old.read(name))
                if name == victim and part:
                    for _ in range(rng.choice((1, 3))):
                        part[rng.randrange(len(part))] = rng.randrange(256)
                if name != victim or rng.random() < 0.8:
                    new.writestr(name, bytes(part))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return data[: rng.randrange(len(data) + 1)]
    return out.getvalue()


class _Code:
    """Runs a command where it is unpickled by a reader that runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was run')",)


def _strange(rng: random.Random) -> bytes:
    import torch

    deep: Any = {"x": torch.zeros(1)}
    for _ in range(200):
        deep = {"model": deep}
    values: tuple[Any, ...] = (
        None,
        3,
        "text",
        [torch.zeros(2)],
        {},
        {"model": 3},
        {1: torch.zeros(2)},
        {"a": torch.zeros(2).to_sparse()},
        {"a": torch.tensor([float("nan")])},
        {"a": torch.empty(3, device="meta")},
        {"a": torch.zeros(1).expand(10**9)},
        {"model": {"a": torch.zeros(2)}, "model_ema": {"decay": 0.99}},
        {"x" * 5000: torch.zeros(2)},
        {"a\nb": torch.zeros(2)},
        {f"a{i}": torch.zeros(1) for i in range(3000)},
        deep,
        _Code(),
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)},
    )
    out, value = io.BytesIO(), rng.choice(values)
    if isinstance(value, _Code) or rng.random() < 0.1:
        return pickle.dumps(value if not isinstance(value, dict) else {"a": 1})
    torch.save(value, out)
    return out.getvalue()
