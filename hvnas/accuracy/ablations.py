"""Published ablations: pairs of networks that differ in one thing, and what that did to top-1.

`data/ablations.csv` holds one pair a row. A network is written as the name of a fixed point with changes
behind it, ``coatnet_2|stages.1.local.depth=2`` (paths into the architecture file, values in YAML), or as
``timm:NAME@RESOLUTION`` or ``metaformer:MIXER`` for networks of timm's classes. What the surrogate reads of
each is kept in `data/ablation_values.csv`, written by scripts/build_evidence.py.

A study is what is left out together. Rows with ``likelihood`` true enter the regression as differences: the
networks of a study share an offset of their own, so that only what sets them apart is fitted. The others
are in the evidence as results already; for them `leaves` names what else goes when the study is left out.
`blind` says why no feature can tell the two networks apart as what they are; it is empty where one can.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hvnas._files import read_text
from hvnas.accuracy.columns import NAMES
from hvnas.arch import Arch

Array = NDArray[np.float64]
DATA = Path(__file__).resolve().parent / "data"
TRACED = ("timm:", "metaformer:")


@dataclass(frozen=True)
class Ablation:
    """Two networks under one training, and the difference in top-1 points, variant less base."""

    study: str
    family: str
    base: str
    variant: str
    base_top1: float
    delta: float
    epochs: float
    distilled: bool
    augmentation: str
    likelihood: bool
    leaves: tuple[str, ...]
    blind: str
    source: str

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
    found = []
    for number, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), start=2):
        try:
            found.append(
                Ablation(
                    study=row["study"],
                    family=row["family"],
                    base=row["base"],
                    variant=row["variant"],
                    base_top1=float(row["base_top1"]),
                    delta=float(row["delta"]),
                    epochs=float(row["epochs"]),
                    distilled=row["distilled"] == "true",
                    augmentation=row["augmentation"],
                    likelihood=row["likelihood"] == "true",
                    leaves=tuple(rule for rule in row["leaves"].split(";") if rule),
                    blind=row["blind"],
                    source=row["source"],
                )
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: row {number}: {error}; correct the row") from None
    return tuple(found)


@lru_cache(maxsize=4)
def load_theory(path: Path = DATA / "theory.csv") -> tuple[Ablation, ...]:
    """Differences that no paper prints and nobody doubts: two blocks more in one stage do not harm.

    They stand for monotony in the regression, a fifth of a point each: from PoolFormer-S12 to -S24, twelve
    blocks are worth 3.1 (arXiv 2111.11418, Table 2). They are never scored.
    """
    return tuple(
        Ablation(
            study=f"theory {row['base']}",
            family=row["family"],
            base=row["base"],
            variant=row["variant"],
            base_top1=float(row["base_top1"]),
            delta=float(row["delta"]),
            epochs=float(row["epochs"]),
            distilled=row["distilled"] == "true",
            augmentation="modern",
            likelihood=True,
            leaves=(),
            blind="",
            source="theory",
        )
        for row in csv.DictReader(io.StringIO(read_text(path)))
    )


@lru_cache(maxsize=4)
def ablation_values(path: Path = DATA / "ablation_values.csv") -> dict[str, Array]:
    """Column values of every network in the table, by how it is written there. Shape [columns] each."""
    rows = list(csv.reader(io.StringIO(read_text(path))))
    if rows[0] != ["network", *NAMES]:
        raise ValueError(
            f"{path}: the columns are others than the surrogate's; run scripts/build_evidence.py"
        )
    return {row[0]: np.array(row[1:], dtype=np.float64) for row in rows[1:]}


def arch_of(network: str) -> Arch:
    """The architecture that `network` describes. Raises ValueError for a path that is not there."""
    import yaml

    from hvnas.arch import load_arch
    from hvnas.arch.edits import edited

    name, *changes = network.split("|")
    pairs = (change.partition("=") for change in changes)
    return edited(load_arch(name), {path: yaml.safe_load(value) for path, _, value in pairs}, where=network)
