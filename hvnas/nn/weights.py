"""Weights in and out: safetensors only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from hvnas._files import read_json, refusing, replacing
from hvnas._names import brief
from hvnas.arch import Arch, load_arch
from hvnas.arch.files import from_dict
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.features import FeatureNetwork

HEAD = "head."
WEIGHTS = "model.safetensors"  # of a folder that is handed on
OWN, HUGGING_FACE = "config.yaml", "config.json"  # beside it: one of them says what network it is
KEY = "hvnas"  # under which Hugging Face's file holds it
StateDict = dict[str, Tensor]


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Copy a safetensors file into `model`, all of it or nothing.

    Relative-bias tables of another resolution are resized bilinearly to the model's; a model of
    features takes no notice of a head. Raises ValueError listing missing, unexpected and mis-shaped
    keys, or naming an unreadable file.
    """
    _put(model, read_safetensors(path), path)


def _put(model: nn.Module, state: StateDict, path: str | Path) -> None:
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


def read_facts(path: str | Path) -> dict[str, str]:
    """The text in the header of a safetensors file. Raises ValueError naming an unreadable file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(
            brief(f"{path}: not a readable safetensors file ({error}); check the path")
        ) from None


@dataclass(frozen=True)
class NetworkFolder:
    """A folder that hands a network on: its architecture, the file with its weights, and that file's text.

    `names` are those that its tensors have there, by ours, where they are others.
    """

    arch: Arch
    weights: Path
    facts: Mapping[str, str]
    names: Mapping[str, str] | None = None

    def load_into(self, model: nn.Module) -> None:
        """Copy the weights into `model`, as `load_weights`; its errors."""
        state = read_safetensors(self.weights)
        if self.names is not None:
            shapes = {key: tensor.shape for key, tensor in model.state_dict().items()}
            missing = [theirs for theirs in self.names.values() if theirs not in state]
            if missing:
                raise ValueError(brief(f"{self.weights}: {missing[0]}: is missing; export it again"))
            named = {ours: state[theirs] for ours, theirs in self.names.items()}
            # other code bases give the same numbers other axes of length one
            state = {
                key: tensor.reshape(shapes[key])
                if key in shapes and tensor.numel() == shapes[key].numel()
                else tensor
                for key, tensor in named.items()
            }
        _put(model, state, self.weights)


def holds_network(path: str | Path) -> bool:
    """Whether a folder hands a network on: it has weights, and a file that says of what network."""
    names = (OWN, HUGGING_FACE)
    return (Path(path) / WEIGHTS).is_file() and any((Path(path) / name).is_file() for name in names)


def read_folder(path: str | Path) -> NetworkFolder:
    """Read a folder that ``hvnas export --format torch`` or ``huggingface`` wrote. No code in it is run.

    Raises ValueError, one line, naming the file that is missing or damaged.
    """
    folder = Path(path)
    own, hub = folder / OWN, folder / HUGGING_FACE
    if not holds_network(folder):
        raise ValueError(
            f"{folder}: holds no network ({WEIGHTS} with {OWN} or {HUGGING_FACE}); "
            "make one with hvnas export --format torch or huggingface"
        )
    weights = folder / WEIGHTS
    if own.is_file():
        return NetworkFolder(load_arch(own), weights, read_facts(weights))
    with refusing(hub):
        data = read_json(hub)
        ours = data.get(KEY) if isinstance(data, dict) else None
        if not isinstance(ours, dict) or not isinstance(ours.get("arch"), dict):
            raise ValueError(f"{KEY}.arch: is missing; hvnas export --format huggingface writes it")
        names = ours.get("names")
        if names is not None and not _are_names(names):
            raise ValueError(f"{KEY}.names: must map names to names; export it again")
        return NetworkFolder(from_dict(ours["arch"], where=str(hub)), weights, read_facts(weights), names)


def _are_names(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value.values())


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
