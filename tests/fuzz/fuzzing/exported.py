"""Exported files damaged in what they say of a network: its classes, its images, its name and size.

The graph stays as it is: what a runtime makes of a damaged graph is the runtime's.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping

from fuzzing.trees import damaged, json_text
from hvnas.export.running import FACTS

Facts = Mapping[str, str]


def damaged_facts(facts: Facts, rng: random.Random) -> dict[str, str]:
    """Facts with another text, a missing or a new one; or with other JSON in one of them."""
    told = dict(facts)
    lists = [key for key, text in told.items() if text.startswith("[")]
    if lists and rng.random() < 0.6:
        key = rng.choice(lists)
        told[key] = json_text(damaged(_parsed(told[key]), rng), rng)
        return told
    other = damaged(told, rng)
    if not isinstance(other, dict):
        return {}
    return {str(key): text if isinstance(text, str) else json_text(text, rng) for key, text in other.items()}


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return []


def damaged_onnx(data: bytes, rng: random.Random) -> bytes:
    """An ONNX file with other metadata."""
    import onnx

    model = onnx.load_from_string(data)
    told = damaged_facts({entry.key: entry.value for entry in model.metadata_props}, rng)
    del model.metadata_props[:]
    for key, text in told.items():
        # Protocol buffers hold no halves of characters.
        clean = (part.encode(errors="replace").decode() for part in (key, text))
        model.metadata_props.add(**dict(zip(("key", "value"), clean, strict=True)))
    return model.SerializeToString()


def damaged_tflite(data: bytes, rng: random.Random) -> bytes:
    """A TFLite file with another text in the entry of its metadata that holds the facts, or without."""
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

    model = read_model_from_bytearray(bytearray(data))
    entry = next((each for each in model.metadata or () if each.name == FACTS.encode()), None)
    if entry is None:
        return data
    text = bytes(model.buffers[entry.buffer].data).decode(errors="replace")
    if rng.random() < 0.1:
        model.metadata.remove(entry)
    else:
        model.buffers[entry.buffer].data = list(_other_text(text, rng).encode(errors="replace"))
    return bytes(convert_object_to_bytearray(model))


def _other_text(text: str, rng: random.Random) -> str:
    facts = _parsed(text)
    if not isinstance(facts, dict) or rng.random() < 0.3:
        return json_text(damaged(facts, rng), rng) if rng.random() < 0.8 else text[: len(text) // 2]
    return json.dumps(damaged_facts({k: v for k, v in facts.items() if isinstance(v, str)}, rng))
