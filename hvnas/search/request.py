"""What is asked of a search: the one list of its options, to which a new one is added.

The command with its help, a run's config.yaml, the check of a search that is continued, and the command line
in a report are made from it. Nothing here needs numpy, so that help does not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from hvnas._request import Address, EngineName, Option, Outside, Request, check_ray_options

if TYPE_CHECKING:
    from hvnas.accuracy import AccuracyEstimator
    from hvnas.search.objectives import Constraint, Objective
    from hvnas.search.problem import DeviceLike, EstimatorLike
    from hvnas.search.rows import SpaceLike

if TYPE_CHECKING:
    AnySpace: TypeAlias = SpaceLike | str | Path
    AnyDevice: TypeAlias = DeviceLike | str | Path
    AnyEstimator: TypeAlias = EstimatorLike | AccuracyEstimator | str
    AnyObjective: TypeAlias = str | Objective
    AnyConstraint: TypeAlias = str | Constraint
    AnyMargin: TypeAlias = float | Sequence[float]
else:
    # What a command line or a file says; only Python has more than names.
    AnySpace = AnyDevice = AnyEstimator = AnyObjective = AnyConstraint = str
    AnyMargin = float

AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Engine(Request):
    """Where estimates are made.

    ``local`` is this process. ``ray`` is the cluster at `address` (``auto``: the one running here; None: a
    local one for this run) with at most `workers` trials at once (None: as many as it fits), each with its
    share of CPUs and GPUs, which may be fractions; with 0 GPUs it sees none. A trial that fails, or whose
    machine is lost, is tried again `max_retries` times.
    `storage` is a journal file or a database URL through which several processes share one study.

    Raises ValueError naming the field that makes no sense.
    """

    name: Annotated[
        EngineName, Option(name="engine", help="Where networks are evaluated: here, or on Ray.")
    ] = "local"
    address: Address = None
    workers: Annotated[int | None, Option(help="Parallel trials. Default: as many as Ray has room for.")] = (
        None
    )
    cpus_per_trial: Annotated[float, Option(help="CPUs that Ray reserves for a trial.")] = 1.0
    gpus_per_trial: Annotated[float, Option(help="GPUs that Ray reserves for a trial.")] = 0.0
    max_retries: Annotated[int, Option(help="How often Ray retries a failed trial.")] = 2
    storage: Annotated[
        str | None,
        Option(
            metavar="FILE|URL",
            help="A journal file or database: searches that name the same one share a study.",
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ray_options(
            self.name,
            address=self.address,
            workers=self.workers,
            cpus=self.cpus_per_trial,
            gpus=self.gpus_per_trial,
            per="trial",
            max_retries=self.max_retries,
        )

    @property
    def shown_storage(self) -> str | None:
        """The storage without its password."""
        if self.storage is None:
            return None
        from hvnas.search.shared.storage import parse_storage

        return parse_storage(self.storage).reference


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Request):
    """What is asked of a search; see `hvnas.search` for what each field says.

    `resolution` is what every network is put to in a run that is continued; what is None is left to the
    device, the strategy and the estimator.
    """

    device: Annotated[
        tuple[AnyDevice, ...],
        Option(
            metavar="NAME|FILE", help="The device: see hvnas devices. Several: one front over all of them."
        ),
    ]
    budget_ms: Annotated[
        float | None,
        Option(help="The largest allowed latency in milliseconds. Default: the slowest network's."),
    ] = None
    space: Annotated[
        AnySpace, Option(metavar="NAME|FILE", help="The networks to choose among: see hvnas spaces.")
    ] = "hybrid-mobile"
    strategy: Annotated[
        str, Option(help="auto chooses by the cost of an estimate; a wrong name lists all.")
    ] = AUTO
    estimator: Annotated[
        AnyEstimator, Option(metavar="NAME|FILE", help="How accuracy is estimated: see hvnas accuracy.")
    ] = "surrogate"
    objectives: Annotated[
        tuple[AnyObjective, ...],
        Option(
            name="objective",
            metavar="METRIC",
            help="What to optimise; may be repeated, the first ranks. Default: top1, latency_ms.",
        ),
    ] = ()
    constraints: Annotated[
        tuple[AnyConstraint, ...],
        Option(
            name="constraint",
            metavar="BOUND",
            help="For example params<=6e6 or latency@NAME<=20; may be repeated.",
        ),
    ] = ()
    classes: Annotated[
        int | None,
        Option(help="Number of classes of the head. Default: the space's."),
    ] = None
    recipe: Annotated[str, Option(help="The training that top-1 is estimated for.")] = "modern300"
    scenario: Annotated[
        str, Option(metavar="NAME", help="The data that top-1 is estimated for: imagenet1k or large-data.")
    ] = "imagenet1k"
    evals: Annotated[
        int | None, Option(help="How many networks to evaluate. Default: what suits the strategy.")
    ] = None
    seed: Annotated[int, Option(help="The same seed gives the same result.")] = 0
    margin: Annotated[
        AnyMargin | None,
        Option(help="Safety margin, as a share of the latency. Default: a 90 % chance of the budget."),
    ] = None
    outside: Annotated[
        Outside, Option(help="How to treat networks outside the device's gate, where it is less certain.")
    ] = "forbid"
    fixed_points: bool | None = None
    throughput: Annotated[
        bool, Option(help="The budget is ms per image of a batch, like the device's table.")
    ] = False
    resolution: int | None = None
    engine: Engine = field(default_factory=Engine)
