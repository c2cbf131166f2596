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
    from hvnas.latency import LatencyDevice
    from hvnas.search.objectives import Constraint, Objective
    from hvnas.search.rows import SpaceLike

if TYPE_CHECKING:
    AnySpace: TypeAlias = SpaceLike | str | Path
    AnyDevice: TypeAlias = LatencyDevice | str | Path
    AnyEstimator: TypeAlias = AccuracyEstimator | str
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
        EngineName,
        Option(group="Engine", name="engine", help="Where networks are evaluated: here, or on Ray."),
    ] = "local"
    address: Address = None
    workers: Annotated[
        int | None, Option(group="Engine", help="Parallel trials. Default: as many as Ray has room for.")
    ] = None
    cpus_per_trial: Annotated[float, Option(group="Engine", help="CPUs that Ray reserves for a trial.")] = 1.0
    gpus_per_trial: Annotated[float, Option(group="Engine", help="GPUs that Ray reserves for a trial.")] = 0.0
    max_retries: Annotated[int, Option(group="Engine", help="How often Ray retries a failed trial.")] = 2
    storage: Annotated[
        str | None,
        Option(
            group="Engine",
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
    """Everything that is asked of a search.

    Args:
        space: a Space, or its name or YAML file.
        device: a Device, or its name or YAML file; or several, whose front is one over all of them.
        budget_ms: the latency budget in milliseconds on the first device, batch one. None: what the slowest
            network needs that gates and constraints allow, so that nothing is too slow.
        strategy: a registered strategy, see `list_strategies`; ``auto`` picks by what an estimate costs.
        recipe: the training recipe that top-1 is estimated for.
        scenario: ``imagenet1k`` or ``large-data``.
        estimator: an AccuracyEstimator or its name.
        objectives: what is traded against each other, as ``params`` or ``latency_ms@NAME``; the first decides
            which network is the best. Default: top-1, then the latency on each device.
        constraints: bounds beside the budget, as ``params<=6e6`` or ``latency@NAME<=20``.
        classes: the classes of every network's head, in all that is counted, timed and written; top-1 stays
            that of the data which the estimator knows. None: those of the space or the estimator's images.
        evals: how many distinct architectures to evaluate; None: the strategy's default, or 200 where an
            estimate takes seconds.
        seed: the same seed gives the same result.
        margin: relative reserve, ``ms * (1 + margin) <= budget_ms``; None: the device's default, with which
            the budget is kept with a chance of 0.9.
        outside: ``allow`` admits networks outside the device's gate.
        fixed_points: begin from the papers' models inside the space too; without them the result owes
            nothing to known models. None: where an estimate is cheap.
        measure: time up to so many of the most promising networks on this host, of which the device's file
            must be a table, and take the best of those that keep the budget by measurement; see
            `hvnas.search.timed`. None: latencies stay predicted.
        throughput: the budget is milliseconds per image of a batch, which is what the tables of some devices
            hold; it must be set for those, and for no others.
        engine: where the estimates are made, and the storage that several processes share.
        resolution: what every network is put to, in a run that is continued.
    """

    device: Annotated[
        tuple[AnyDevice, ...],
        Option(
            group="Device and budget",
            metavar="NAME|FILE",
            help="The device: see hvnas devices. Several: one front over all of them.",
        ),
    ]
    budget_ms: Annotated[
        float | None,
        Option(
            group="Device and budget",
            help="The largest allowed latency in milliseconds. Default: the slowest network's.",
        ),
    ] = None
    space: Annotated[
        AnySpace,
        Option(group="Networks", metavar="NAME|FILE", help="The networks to choose among: see hvnas spaces."),
    ] = "hybrid-mobile"
    strategy: Annotated[
        str, Option(group="Search", help="auto chooses by the cost of an estimate; a wrong name lists all.")
    ] = AUTO
    estimator: Annotated[
        AnyEstimator,
        Option(group="Accuracy", metavar="NAME|FILE", help="How accuracy is estimated: see hvnas accuracy."),
    ] = "surrogate"
    objectives: Annotated[
        tuple[AnyObjective, ...],
        Option(
            group="Search",
            name="objective",
            metavar="METRIC",
            help="What to optimise; may be repeated, the first ranks. Default: top1, latency_ms.",
        ),
    ] = ()
    constraints: Annotated[
        tuple[AnyConstraint, ...],
        Option(
            group="Networks",
            name="constraint",
            metavar="BOUND",
            help="For example params<=6e6 or latency@NAME<=20; may be repeated.",
        ),
    ] = ()
    classes: Annotated[
        int | None,
        Option(group="Networks", help="Number of classes of the head. Default: the space's."),
    ] = None
    recipe: Annotated[str, Option(group="Accuracy", help="The training that top-1 is estimated for.")] = (
        "modern300"
    )
    scenario: Annotated[
        str,
        Option(
            group="Accuracy",
            metavar="NAME",
            help="The data that top-1 is estimated for: imagenet1k or large-data.",
        ),
    ] = "imagenet1k"
    evals: Annotated[
        int | None,
        Option(group="Search", help="How many networks to evaluate. Default: what suits the strategy."),
    ] = None
    seed: Annotated[int, Option(group="Search", help="The same seed gives the same result.")] = 0
    margin: Annotated[
        AnyMargin | None,
        Option(
            group="Device and budget",
            help="Safety margin, as a share of the latency. Default: a 90 % chance of the budget.",
        ),
    ] = None
    outside: Annotated[
        Outside,
        Option(
            group="Device and budget",
            help="How to treat networks outside the device's gate, where it is less certain.",
        ),
    ] = "forbid"
    fixed_points: bool | None = None
    throughput: Annotated[
        bool,
        Option(
            group="Device and budget", help="The budget is ms per image of a batch, like the device's table."
        ),
    ] = False
    measure: Annotated[
        int | None,
        Option(
            group="Measuring",
            least=1,
            help="Time up to this many of the best networks here, and choose by measured latency.",
        ),
    ] = None
    resolution: int | None = None
    engine: Engine = field(default_factory=Engine)
