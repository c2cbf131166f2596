"""What is asked of a supernet's training. Nothing here needs torch: the command's help is made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from hvnas._request import Option, Request
from hvnas.train.request import DataName, Epochs, Resolution, TestSize, TrainSize, Workers


@dataclass(frozen=True, kw_only=True)
class SupernetRequest(Request):
    """What is asked of a supernet's training.

    What is None is left to the recipe, the scheme, the data set, or the run that is continued.
    """

    space: Annotated[str | None, Option(group="Networks", help="A space by name, or a YAML file.")] = None
    data: DataName = None
    scheme: Annotated[
        str | None,
        Option(
            group="Training",
            help="spreading, sandwich, widening, conflict-aware, single-path, fair or shrinking. "
            "Default: spreading.",
        ),
    ] = None
    paths: Annotated[
        int | None, Option(group="Training", help="Random networks per step. Default: the scheme's.")
    ] = None
    recipe: Annotated[
        str | None, Option(group="Training", help="A recipe with a training section. Default: supernet.")
    ] = None
    epochs: Epochs = None
    batch: Annotated[int | None, Option(group="Training", help="Images per step. Default: the recipe's.")] = (
        None
    )
    resolution: Resolution = None
    train_size: TrainSize = None
    test_size: TestSize = None
    bn_calib: Annotated[
        int | None,
        Option(
            group="Training",
            help="Training images for recalibrating BatchNorm before scoring; 0: none. Default: 512.",
        ),
    ] = None
    importance: Annotated[
        bool | None,
        Option(
            group="Training",
            help="Learn the importance of each block beside the weights, for --strategy slimming.",
        ),
    ] = None
    seed: Annotated[
        int | None, Option(group="Training", help="Seed of weights, batches and sampling. Default: 0.")
    ] = None
    workers: Workers = field(default_factory=Workers)
