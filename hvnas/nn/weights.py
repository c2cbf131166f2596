"""Weights in and out: safetensors only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from hvnas._files import replacing
from hvnas._names import brief
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.features import FeatureNetwork

HEAD = "head."
StateDict = dict[str, Tensor]


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Copy a safetensors file into `model`, all of it or nothing.

    Relative-bias tables of another resolution are resized bilinearly to the model's; a model of
    features takes no notice of a head. Raises ValueError listing missing, unexpected and mis-shaped
    keys, or naming an unreadable file.
    """
    state = read_safetensors(path)
    if isinstance(model, FeatureNetwork):
        state = {key: tensor for key, tensor in state.items() if not key.startswith(HEAD)}
    state = fit_biases(model, state)
    check_weights(model, state, where=str(path))
    model.load_state_dict(state)


def read_safetensors(path: str | Path) -> StateDict:
    """The tensors of a safetensors file. Raises ValueError naming an unreadable file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(
            brief(f"{path}: not a readable safetensors file ({error}); check the path")
        ) from None


def save_weights(state: StateDict, path: str | Path, *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, in one step. `metadata` is text that travels in the file's header.

    Raises OSError naming `path` where it cannot be written.
    """
    from safetensors.torch import save_file

    # safetensors takes neither views nor two names of one storage
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
    with replacing(path) as part:
        save_file(tensors, part, metadata={"format": "pt", **(metadata or {})})


def check_weights(model: nn.Module, state: StateDict, *, where: str) -> None:
    """Raise ValueError, one line that begins with `where`, unless `state` fits `model` key for key."""
    ours = model.state_dict()
    problems = differences(ours, state)
    if not problems:
        return
    classes = _other_classes(ours, state)
    if classes is not None:
        theirs, wanted = classes
        raise ValueError(
            f"{where}: its classifier has {theirs} classes, the network {wanted}; "
            f"build the network for {theirs}: arch.with_(classes={theirs}), or --classes {theirs}"
        )
    raise ValueError(brief(f"{where}: these weights are of another network: {problems}"))


def _other_classes(ours: StateDict, theirs: StateDict) -> tuple[int, int] | None:
    """Their and our number of classes, where nothing but that differs."""
    if ours.keys() != theirs.keys():
        return None
    wrong = [key for key in ours if theirs[key].shape != ours[key].shape]
    if not all(key.startswith(HEAD) and theirs[key].shape[1:] == ours[key].shape[1:] for key in wrong):
        return None
    counts = {
        (theirs[key].shape[0], ours[key].shape[0]) for key in wrong if theirs[key].dim() and ours[key].dim()
    }
    return counts.pop() if len(counts) == 1 else None


def differences(ours: StateDict, theirs: StateDict) -> str:
    """One line on how two state dicts differ; empty where they fit."""
    return "; ".join(
        f"{len(keys)} {what}: {_shorten(keys)}" for what, keys in _differing(ours, theirs).items() if keys
    )


def mismatches(ours: StateDict, theirs: StateDict) -> int:
    """In how many keys two state dicts differ."""
    return sum(map(len, _differing(ours, theirs).values()))


def _differing(ours: StateDict, theirs: StateDict) -> dict[str, list[str]]:
    return {
        "missing": sorted(ours.keys() - theirs.keys()),
        "unexpected": sorted(theirs.keys() - ours.keys()),
        "mis-shaped": [
            f"{key} {tuple(theirs[key].shape)} for {tuple(ours[key].shape)}"
            for key in sorted(ours.keys() & theirs.keys())
            if ours[key].shape != theirs[key].shape
        ],
    }


def _shorten(keys: list[str], most: int = 4) -> str:
    more = f", and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
