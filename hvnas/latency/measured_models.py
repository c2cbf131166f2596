"""Measured times joined with the networks that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvnas._clean import shortened
from hvnas._validation import brief
from hvnas.arch import Arch, load_arch
from hvnas.latency.measurements import ModelMeasurement, read_measurements
from hvnas.ops import Program


@dataclass(frozen=True)
class MeasuredModel:
    """A network and its measured time; `family` is the paper's, or what the network mostly consists of."""

    name: str
    family: str
    arch: Arch
    program: Program
    row: ModelMeasurement

    @property
    def ms(self) -> float:
        """Milliseconds per image: what a device predicts. A measurement's are those of its batch."""
        return self.row.ms / self.row.batch


def read_models(path: str | Path) -> tuple[MeasuredModel, ...]:
    """The whole networks of a measurement file, in its order.

    A key is the name of a model, or the path of a network's YAML file, relative to the measurement file.
    Rows of blocks and ops are not whole networks and are left out. Raises ValueError, one line, where the
    file or a network in it does not load, or where no row is of a whole network.
    """
    path = Path(path)
    models = tuple(_model(row, path) for row in read_measurements(path) if row.kind == "model")
    if not models:
        raise ValueError(f"{path}: no row is of a whole network; there must be rows of the kind model")
    return models


def _model(row: ModelMeasurement, path: Path) -> MeasuredModel:
    own = Path(row.key).suffix in (".yaml", ".yml")
    try:
        arch = load_arch(path.parent / row.key if own else row.key)
        sized = arch if arch.resolution == row.resolution else arch.with_(resolution=row.resolution)
        program = sized.lower()
    except ValueError as error:
        key = shortened(row.key, 60)
        raise ValueError(brief(f"{path}: {key} at {row.resolution}: {error}")) from None
    # A file of one's own is told by where it lies: two may well have the same name inside.
    return MeasuredModel(row.key if own else arch.name, family_of(arch), sized, program, row)


def family_of(arch: Arch) -> str:
    """A paper's family, or else the type of block in the stages that takes most MACs."""
    published = (arch.published or {}).get("family")
    if isinstance(published, str):
        return published
    program = arch.lower()
    types = {label: block.type for label, block in arch.parts()}
    macs: dict[str, int] = {}
    for label, op in zip(program.labels, program.ops, strict=True):
        if label.startswith("stages.") and not label.endswith(".downsample"):
            macs[types[label]] = macs.get(types[label], 0) + op.macs
    return max(macs, key=lambda name: macs[name]) if macs else "none"
