"""A checkpoint of another code base as weights of one of our networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hvnas.arch import Arch
from hvnas.nn.coatnet import fit_biases
from hvnas.nn.foreign.base import StateDict, converter, sources
from hvnas.nn.foreign.checkpoint import read_checkpoint
from hvnas.nn.network import build_on_meta
from hvnas.nn.weights import check_weights, mismatches

COUNTER = ".num_batches_tracked"


@dataclass(frozen=True)
class Imported:
    """Weights with our names, whose names they came with, and the part of the file that they were."""

    state: StateDict
    source: str
    part: str = ""


def import_weights(
    path: str | Path,
    arch: Arch,
    *,
    source: str | None = None,
    family: str | None = None,
    averaged: bool = True,
) -> Imported:
    """The weights in a checkpoint of another code base, checked against the network of `arch`.

    `source` is ``timm`` or ``official`` (the authors' release); unless given, it is the one whose names
    fit best. `averaged` takes the moving average of weights where the file has it. `family` says whose
    converter reads the file, `arch`'s published family unless given. Counters of batches, which no output
    depends on, may be missing; relative-bias tables of another resolution are resized. Raises ValueError
    naming the file and what is wrong with it: missing, unexpected and mis-shaped keys, another number of
    classes, or that no converter is known.
    """
    family = family or (arch.published or {}).get("family")
    if family is None:
        raise ValueError(f"{arch.name} does not say of which family it is; name the family (--family)")
    candidates = (source,) if source else sources(family)
    converters = {name: converter(name, family) for name in candidates or ("timm",)}
    read, model = read_checkpoint(path, averaged=averaged), build_on_meta(arch)
    every = [
        Imported(_fitted(convert(read.state, arch), model), name, read.part)
        for name, convert in converters.items()
    ]
    best = min(every, key=lambda imported: mismatches(model.state_dict(), imported.state))
    check_weights(model, best.state, where=str(path))
    return best


def _fitted(state: StateDict, model: nn.Module) -> StateDict:
    counters = {key: torch.tensor(0) for key in model.state_dict() if key.endswith(COUNTER)}
    return fit_biases(model, counters | state)
