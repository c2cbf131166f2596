"""Published ablations: pairs of networks that differ in one thing, and what that did to top-1.

`data/ablations.csv` holds one pair a row. A network is written as the name of a fixed point with changes
behind it, ``coatnet_2|stages.1.local.depth=2`` (paths into the architecture file, values in YAML), or as
``timm:NAME@RESOLUTION`` for a network of timm's, or as ``reference:MODEL/CHANGE`` for one of
scripts/_reference.py. What the surrogate reads of each is kept in `data/ablation_values.csv`, written by
scripts/build_evidence.py. `contrast` is what the pair varies.

A study is what is left out together, with all of its networks' families. Rows with ``likelihood`` true
enter the regression as differences: the networks of a study share an offset of their own, so that only what
sets them apart is fitted. The others are in the evidence as results already, or far from it; for them
`leaves` names what else goes when the study is left out.
`blind` says why no feature can tell the two networks apart as what they are; it is empty where one can.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hvnas._records import Cell, Row, read_csv, read_records
from hvnas.accuracy.surrogate.features import NAMES
from hvnas.arch import Arch
from hvnas.train.recipes import MOST_EPOCHS, AugmentationClass

Array = NDArray[np.float64]
DATA = Path(__file__).resolve().parents[1] / "data"
# What a pair varies, as the error report groups them.
Contrast = Literal[
    "late_attention",
    "early_attention",
    "mixers",
    "norms",
    "patches_stems",
    "gates_kernels",
    "depth_pyramid",
]
CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)
TRACED = ("timm:", "reference:")


@dataclass(frozen=True)
class Ablation:
    """Two networks under one training, and the difference in top-1 points, variant less base."""

    study: str
    family: str
    contrast: Contrast
    base: str
    variant: str
    base_top1: Annotated[float, Cell(above=0, most=100)]
    delta: Annotated[float, Cell(least=-100, most=100)]
    epochs: Annotated[float, Cell(above=0, most=MOST_EPOCHS)]
    distilled: bool
    augmentation: AugmentationClass
    likelihood: bool
    leaves: tuple[str, ...]
    blind: Annotated[str, Cell(optional=True)]
    source: Annotated[str, Cell(optional=True)]

    def leaves_out(self, family: str, network: str) -> bool:
        """Whether evidence of this family and network goes when the study is left out."""
        known = {"family": family, "network": network}
        return any(
            fnmatchcase(known[kind], pattern)
            for kind, _, pattern in (rule.partition(":") for rule in self.leaves)
        )


@lru_cache(maxsize=4)
def load_ablations(path: Path = DATA / "ablations.csv") -> tuple[Ablation, ...]:
    """The rows of `data/ablations.csv`. Raises ValueError naming the file and the row."""
    return tuple(read_records(path, Ablation))


@lru_cache(maxsize=4)
def load_theory(path: Path = DATA / "theory.csv") -> tuple[Ablation, ...]:
    """Differences that no paper prints: what two blocks more in one stage are worth.

    Their shape by stage is that of NAS-Bench-Macro, where 6,561 networks were trained on CIFAR-10 (arXiv
    2103.11922): the error falls as a power of the stages' depths, weighted 1, 0.93 and 0.66 from the first to
    the last, so that depth saturates and stages stand in for each other. Their size, the exponent 0.14, is
    that of ImageNet networks which scale all stages together. Written by scripts/depth_shape.py. They are a
    prior and never scored.
    """
    columns = ("family", "base", "variant", "base_top1", "delta", "epochs", "distilled")
    return tuple(_expected(row) for row in read_csv(path, columns))


def _expected(row: Row) -> Ablation:
    told = {
        "contrast": "depth_pyramid",
        "augmentation": "modern",
        "likelihood": True,
        "leaves": (),
        "blind": "",
        "source": "theory",
    }
    return row.record(Ablation, {"study": f"theory {row.text('base')}", **told})


@lru_cache(maxsize=4)
def ablation_values(path: Path = DATA / "ablation_values.csv") -> dict[str, Array]:
    """Column values of every network in the table, by how it is written there. Shape [columns] each."""
    rows = read_csv(path, ("network", *NAMES), advice=lambda name: "run scripts/build_evidence.py")
    return {row.text("network"): np.array(row.numbers(NAMES)) for row in rows}


def arch_of(network: str) -> Arch:
    """The architecture that `network` describes. Raises ValueError for a path that is not there."""
    import yaml

    from hvnas.arch import load_arch
    from hvnas.arch.edits import edited

    name, *changes = network.split("|")
    pairs = (change.partition("=") for change in changes)
    return edited(load_arch(name), {path: yaml.safe_load(value) for path, _, value in pairs}, where=network)
