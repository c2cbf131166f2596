"""The folder of a supernet's training: what it is of, as JSON, and its state, as safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hvnas._files import refusing
from hvnas._names import shown
from hvnas._runs import RunFolder, RunKind
from hvnas.nn.weights import check_weights
from hvnas.space import Space, load_space
from hvnas.supernet.importance import NAME, attach
from hvnas.supernet.supernet import Supernet
from hvnas.train.data import Data, load_data
from hvnas.train.folder import check_recorded
from hvnas.train.state import read_model

RUN, STATE = "supernet.json", "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True)
class SupernetRun:
    """A supernet's training as it was asked for, every default resolved.

    `space` and `recipe` are names or paths; `genes` are the space's, with their values. `data` is a name for
    `load_data`, with `resolution`, `train_size` and `test_size` as there, `data_key` what it led to. `batch`
    and `paths` are None where the recipe's and the scheme's own are taken. `importance` says whether the
    importances of blocks are trained with the weights.
    """

    space: str
    space_hash: str
    genes: dict[str, list[Any]]
    data: str
    data_key: str
    resolution: int
    classes: int
    train_size: int | None
    test_size: int | None
    recipe: str
    epochs: int
    batch: int | None
    scheme: str
    paths: int | None
    bn_calib: int
    seed: int
    importance: bool = False

    def load_data(self) -> Data:
        """The data set. Raises ValueError where its name leads to other data now."""
        data = load_data(
            self.data, resolution=self.resolution, train_size=self.train_size, test_size=self.test_size
        )
        if data.key != self.data_key:
            raise ValueError(
                f"data {self.data}: was {self.data_key} when the supernet was trained, is {data.key}; "
                "bring the former back, or train the supernet anew"
            )
        return data


def genes_of(space: Space) -> dict[str, list[Any]]:
    """Names and values of a space's genes, as JSON has them."""
    genes: dict[str, list[Any]] = json.loads(json.dumps({gene.name: gene.values for gene in space.genes}))
    return genes


class SupernetFolder(RunFolder[SupernetRun]):
    """A folder with a supernet's training."""

    kind = RunKind(
        config=SupernetRun,
        file=RUN,
        schema="hvnas.supernet/1",
        taken="holds a supernet already; continue it with --resume, or choose another folder",
        foreign="exists and holds no supernet; choose another folder",
        missing=f"holds no supernet ({RUN} is missing); train one with hvnas supernet train",
    )

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self.state = self.path / STATE

    def from_plain(self, data: dict[str, Any]) -> SupernetRun:
        """Raises ValueError also for numbers that no training takes."""
        run = super().from_plain(data)
        check_recorded(data, self.file)
        return run

    def space(self) -> Space:
        """The space of the supernet. Raises ValueError where its file has changed since, saying how."""
        with refusing(self.file):
            space = load_space(self.config.space)
        self.check_space(space)
        return space

    def check_space(self, space: Space) -> None:
        """Raise ValueError naming the difference where the supernet is of another space."""
        if space.hash == self.config.space_hash:
            return
        raise ValueError(
            f"{self.path}: a supernet of another space: {self._difference(space)}; use the space that it was "
            "trained for, or train another one"
        )

    def _difference(self, space: Space) -> str:
        theirs, ours = self.config.genes, genes_of(space)
        other = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
        if not other:
            return f"its genes are the same, but blocks, rules or limits are not (hash {space.hash})"
        name = other[0]
        more = f", and {len(other) - 1} more genes" if len(other) > 1 else ""
        return f"{name[:60]} was {_values(theirs, name)}, is {_values(ours, name)}{more}"

    def load(self) -> Supernet:
        """The supernet with the weights trained so far, or their average where one is kept, in eval.

        Raises ValueError where nothing is saved yet, or the space has changed.
        """
        if not self.state.is_file():
            raise ValueError(
                f"{self.path}: nothing is trained yet ({STATE} is missing); "
                "wait, or continue it with --resume"
            )
        weights = read_model(self.state)
        space = self.space()
        with refusing(self.file):
            net = Supernet(space, classes=self.config.classes, resolution=self.config.resolution)
        if any(key.startswith(f"{NAME}.") for key in weights):
            attach(net)
        check_weights(net, weights, where=str(self.state))
        net.load_state_dict(weights)
        return net.eval()


def digest(net: Supernet) -> str:
    """12 hexadecimal digits of a supernet's weights and statistics."""
    hashed = hashlib.sha256()
    for tensor in net.state_dict().values():
        hashed.update(tensor.cpu().contiguous().numpy())
    return hashed.hexdigest()[:12]


def _values(genes: Mapping[str, list[Any]], name: str) -> str:
    return shown(genes[name]) if name in genes else "not there"
