"""What is asked of a training. Nothing here needs torch: the help of the commands is made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from hvnas._request import Address, EngineName, Option, Request, check_ray_options

COUNT = 2  # workers on Ray where nobody says how many
SAVE_EVERY = 300.0
NO_TEACHER = "none"

DataName = Annotated[str | None, Option(group="Data", help="digits, shapes, folder:DIR or hf:NAME.")]
Epochs = Annotated[int | None, Option(group="Training", help="Default: the recipe's.")]
Resolution = Annotated[
    int | None, Option(group="Data", help="Pixels of the images. Default: the data set's.")
]
TrainSize = Annotated[int | None, Option(group="Data", help="Use at most this many training images.")]
TestSize = Annotated[int | None, Option(group="Data", help="Use at most this many test images.")]


@dataclass(frozen=True, kw_only=True)
class Workers(Request):
    """Where a training runs: in this process, or on `count` workers of Ray that share each batch.

    `cpus` and `gpus` are those of each worker. `address` is that of a running cluster; None starts one for
    this run. `device` is torch's name; None: CUDA where there is one, on Ray where workers have GPUs.
    `save_every` is the seconds between checkpoints within an epoch.

    Raises ValueError naming the field that makes no sense.
    """

    device: Annotated[
        str | None, Option(group="Engine", help="cpu or cuda. Default: cuda where there is one.")
    ] = None
    engine: Annotated[
        EngineName, Option(group="Engine", help="In this process, or data parallel on workers of Ray Train.")
    ] = "local"
    count: Annotated[
        int | None,
        Option(group="Engine", name="workers", help="Ray workers that share each batch. Default: 2."),
    ] = None
    cpus: Annotated[
        float, Option(group="Engine", name="cpus-per-worker", help="CPUs that Ray reserves for a worker.")
    ] = 1.0
    gpus: Annotated[
        float, Option(group="Engine", name="gpus-per-worker", help="GPUs that Ray reserves for a worker.")
    ] = 0.0
    address: Address = None
    save_every: Annotated[
        float, Option(group="Output", least=0, help="Seconds between checkpoints in an epoch.")
    ] = SAVE_EVERY

    def __post_init__(self) -> None:
        super().__post_init__()
        shared = None if self.count == 1 and self.engine == "local" else self.count
        check_ray_options(
            self.engine, address=self.address, workers=shared, cpus=self.cpus, gpus=self.gpus, per="worker"
        )

    @property
    def number(self) -> int:
        """How many there are."""
        return (COUNT if self.engine == "ray" else 1) if self.count is None else self.count

    @property
    def torch_device(self) -> str:
        """Where each worker on Ray computes."""
        return self.device or ("cuda" if self.gpus > 0 else "cpu")


@dataclass(frozen=True, kw_only=True)
class TrainRequest(Request):
    """What is asked of a network's training; what is None is left to recipe and data.

    `teacher` is ``none`` where a recipe that distils is to train without; `single_scale` trains at one
    resolution whatever the recipe says; `batch` takes the learning rate along in proportion. `weights` are
    those that the network begins with; `freeze`, `unfreeze` and `layer_decay` are those of
    `hvnas.train.settings.FineTuning`.
    """

    source: Annotated[
        str | None,
        Option(
            name="network",
            argument=True,
            metavar="ARCH|RUN",
            help="A model's name, a YAML file, or the folder of a search.",
        ),
    ] = None
    data: DataName = None
    recipe: Annotated[
        str | None,
        Option(
            group="Training", metavar="NAME|FILE", help="How to train; a wrong name lists all. Default: tiny."
        ),
    ] = None
    epochs: Epochs = None
    batch: Annotated[
        int | None,
        Option(
            group="Training", help="Images per step, the learning rate in proportion. Default: the recipe's."
        ),
    ] = None
    resolution: Resolution = None
    train_size: TrainSize = None
    test_size: TestSize = None
    strict: Annotated[
        bool, Option(group="Data", help="Stop at an image that cannot be read, instead of skipping it.")
    ] = False
    weights: Annotated[
        str | None,
        Option(
            group="Fine-tuning",
            name="init",
            also="weights",
            metavar="FILE",
            help="A safetensors file of initial weights; hvnas weights import makes one.",
        ),
    ] = None
    freeze: Annotated[
        int | None,
        Option(group="Fine-tuning", least=0, help="Epochs at the start in which the head alone is trained."),
    ] = None
    unfreeze: Annotated[
        int | None,
        Option(
            group="Fine-tuning",
            least=0,
            help="Epochs until one more stage is trained, from the last on. Default: all at once.",
        ),
    ] = None
    layer_decay: Annotated[
        float | None,
        Option(
            group="Fine-tuning",
            help="Learning rate of a block as a share of the next one's. Default: 1, the same for all.",
        ),
    ] = None
    teacher: Annotated[
        str | None,
        Option(
            group="Training",
            metavar="RUN|ARCH|none",
            help="The trained network that a distilling recipe learns from.",
        ),
    ] = None
    teacher_weights: Annotated[
        str | None,
        Option(group="Training", metavar="FILE", help="The weights of a teacher that is not a trained RUN."),
    ] = None
    patience: Annotated[
        int | None, Option(group="Training", help="Stop after this many epochs without a better top-1.")
    ] = None
    single_scale: Annotated[
        bool, Option(group="Training", help="Train at one resolution, whatever the recipe says.")
    ] = False
    seed: Annotated[
        int | None, Option(group="Training", help="Seed of weights, batches and augmentation. Default: 0.")
    ] = None
    workers: Workers = field(default_factory=Workers)
    latency_device: Annotated[
        str | None,
        Option(
            group="Output",
            metavar="NAME|FILE",
            help="Device whose latency is stated. Default: the one the network was found for.",
        ),
    ] = None
