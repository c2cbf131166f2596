"""Weights in and out: safetensors only."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from hvnas.nn.coatnet import fit_biases


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Copy a safetensors file into `model`, all of it or nothing.

    Relative-bias tables of another resolution are resized bilinearly to the model's. Raises
    ValueError listing missing, unexpected and mis-shaped keys, or naming an unreadable file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); check the path") from None
    state = fit_biases(model, state)
    problems = differences(model.state_dict(), state)
    if problems:
        raise ValueError(f"{path}: these weights are of another network: {problems}")
    model.load_state_dict(state)


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> str:
    """One line on how two state dicts differ; empty where they fit."""
    groups = {
        "missing": sorted(ours.keys() - theirs.keys()),
        "unexpected": sorted(theirs.keys() - ours.keys()),
        "mis-shaped": [
            f"{key} {tuple(theirs[key].shape)} for {tuple(ours[key].shape)}"
            for key in sorted(ours.keys() & theirs.keys())
            if ours[key].shape != theirs[key].shape
        ],
    }
    return "; ".join(f"{len(keys)} {what}: {_shorten(keys)}" for what, keys in groups.items() if keys)


def _shorten(keys: list[str], most: int = 4) -> str:
    more = f", and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
