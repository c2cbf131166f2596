"""A search from names to a result, and the continuation of one that was cut."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from hvnas.arch import load_arch
from hvnas.search.archive import Archive
from hvnas.search.folder import RunConfig, RunFolder, versions
from hvnas.search.problem import Outside, Problem
from hvnas.search.reach import InfeasibleBudget, Reach, check_budget, find_reach, widened
from hvnas.search.registry import strategy_entry
from hvnas.search.result import SearchResult
from hvnas.search.seams import DeviceLike, EstimatorLike, Progress, Rows, Silent, SpaceLike
from hvnas.search.state import Checkpoint, State

_CHECKPOINT_SECONDS = 3.0


def search(
    space: SpaceLike | str | Path = "hybrid-mobile",
    device: DeviceLike | str | Path = "iphone12",
    *,
    budget_ms: float,
    strategy: str = "evolution",
    recipe: str = "modern300",
    scenario: str = "imagenet1k",
    estimator: EstimatorLike | str = "surrogate",
    evals: int | None = None,
    seed: int = 0,
    margin: float | None = None,
    outside: Outside = "forbid",
    fixed_points: bool = True,
    throughput: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Search `space` for the best top-1 within `budget_ms` milliseconds on `device`.

    Args:
        space: a Space, or its name or YAML file.
        device: a Device, or its name or YAML file.
        budget_ms: the latency budget in milliseconds, batch one.
        strategy: a registered strategy, see `list_strategies`.
        recipe: the training recipe that top-1 is estimated for.
        scenario: ``imagenet1k`` or ``large-data``.
        estimator: an AccuracyEstimator or its name.
        evals: how many distinct architectures to evaluate; None: the strategy's default.
        seed: the same seed gives the same result.
        margin: relative reserve, ``ms * (1 + margin) <= budget_ms``; None: the device's default, with which
            the budget is kept with a chance of 0.9.
        outside: ``allow`` admits networks outside the device's gate.
        fixed_points: begin from the papers' models inside the space too; without them the result owes
            nothing to known models.
        throughput: the budget is milliseconds per image of a batch, which is what the tables of some devices
            hold; it must be set for those, and for no others.
        out: the run folder to write; None: nothing is written.
        progress: told how the search goes.

    Raises:
        InfeasibleBudget: no architecture meets the budget; it carries the smallest reachable latency.
        ValueError: a name, number or file that will not do, or a run folder that is taken.
    """
    started = time.perf_counter()
    entry = strategy_entry(strategy)
    evals = entry.default_evals if evals is None else evals
    _check_counts(evals, seed)
    folder = None if out is None else RunFolder(Path(out))
    if folder is not None:
        folder.refuse_if_taken()
    problem = make_problem(
        space,
        device,
        estimator,
        budget_ms=budget_ms,
        margin=margin,
        recipe=recipe,
        scenario=scenario,
        outside=outside,
    )
    _check_throughput(problem.device, throughput)
    config = RunConfig(
        space=_reference(space),
        space_hash=problem.space.hash,
        device=_reference(device),
        device_hash=problem.device.hash,
        estimator=estimator if isinstance(estimator, str) else type(estimator).__name__,
        recipe=recipe,
        scenario=scenario,
        budget_ms=budget_ms,
        margin=problem.margin,
        outside=outside,
        strategy=strategy,
        evals=evals,
        seed=seed,
        fixed_points=fixed_points,
        versions=versions(),
    )
    return execute(problem, config, folder=folder, progress=progress, started=started)


def resume(out: str | Path, *, progress: Progress | None = None) -> SearchResult:
    """Continue the run in folder `out` to the result that it would have had uncut.

    A finished run is loaded. Raises ValueError where the folder holds no run, a file in it is damaged, or
    its space or device is no longer the one that it was begun with.
    """
    started = time.perf_counter()
    folder = RunFolder(Path(out))
    config = folder.config()
    problem = make_problem(
        config.space,
        config.device,
        config.estimator,
        budget_ms=config.budget_ms,
        margin=config.margin,
        recipe=config.recipe,
        scenario=config.scenario,
        outside="allow" if config.outside == "allow" else "forbid",
    )
    for what, now, then in (
        ("space", problem.space.hash, config.space_hash),
        ("device", problem.device.hash, config.device_hash),
    ):
        if now != then:
            raise ValueError(
                f"{what}: {getattr(config, what)} has changed since this run began (hash {now}, was {then}); "
                f"start a new run ({folder.path})"
            )
    return execute(problem, config, folder=folder, resumed=True, progress=progress, started=started)


def make_problem(
    space: SpaceLike | str | Path,
    device: DeviceLike | str | Path,
    estimator: EstimatorLike | str,
    *,
    budget_ms: float,
    margin: float | None = None,
    recipe: str = "modern300",
    scenario: str = "imagenet1k",
    outside: Outside = "forbid",
) -> Problem:
    """A Problem from names, files or objects. Raises ValueError for what is unknown or out of range."""
    from hvnas.latency import load_device
    from hvnas.space import load_space

    loaded = load_device(device) if isinstance(device, (str, Path)) else device
    return Problem(
        space=load_space(space) if isinstance(space, (str, Path)) else space,
        device=loaded,
        estimator=_column_estimator(estimator) if isinstance(estimator, str) else estimator,
        budget_ms=budget_ms,
        margin=loaded.default_margin() if margin is None else margin,
        recipe=recipe,
        scenario=scenario,
        outside=outside,
    )


def _column_estimator(name: str) -> EstimatorLike:
    from hvnas.accuracy import ColumnEstimator, load_estimator

    estimator = load_estimator(name)
    if not isinstance(estimator, ColumnEstimator):
        raise ValueError(f"estimator: {name} needs whole networks; a search needs one that reads columns")
    if getattr(estimator, "unit", "points") != "points":
        raise ValueError(f"estimator: {name} gives scores, not top-1; a search maximises top-1")
    return estimator


def execute(
    problem: Problem,
    config: RunConfig,
    *,
    folder: RunFolder | None = None,
    resumed: bool = False,
    progress: Progress | None = None,
    started: float | None = None,
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
) -> SearchResult:
    """Search `problem` as `config` says, in `folder` if there is one. See `search`."""
    started = time.perf_counter() if started is None else started
    progress = progress or Silent()
    reach = find_reach(problem)
    check_budget(problem, reach)
    known = _known_rows(problem.space)
    reach = widened(reach, problem, known)
    # The fastest architecture is a seed so that every strategy knows something feasible.
    seeds = [reach.min_row[None], *([known] if config.fixed_points else [])]
    problem = problem.with_seeds(np.concatenate(seeds))
    # An unknown recipe must not leave a folder behind.
    problem.evaluate(problem.seeds)
    checkpoint = Checkpoint()
    if folder is not None:
        if resumed:
            folder.log("resumed")
        else:
            folder.create(config)
        checkpoint = folder.checkpoint(every=checkpoint_seconds)
    progress.reachable(reach)
    archive = _archive(problem, config, progress, checkpoint)
    if len(archive) == 0:
        raise _nothing_found(problem, reach, archive)
    result = SearchResult.of(
        problem,
        archive,
        strategy=config.strategy,
        seed=config.seed,
        reach=reach,
        seconds=time.perf_counter() - started,
    )
    return result if folder is None else folder.write(result)


def _archive(problem: Problem, config: RunConfig, progress: Progress, checkpoint: Checkpoint) -> Archive:
    """The front of the strategy, or of the finished state in `checkpoint`."""
    state = checkpoint.load()
    if state is not None and state.meta.get("finished"):
        return Archive.stored(state.arrays, evaluated=state.meta["evaluated"])
    archive = (
        strategy_entry(config.strategy)
        .make()
        .run(problem, evals=config.evals, seed=config.seed, progress=progress, checkpoint=checkpoint)
    )
    checkpoint.save(State(arrays=archive.arrays(), meta={"finished": True, "evaluated": archive.evaluated}))
    return archive


def _nothing_found(problem: Problem, reach: Reach, archive: Archive) -> InfeasibleBudget:
    return InfeasibleBudget(
        f"budget_ms: none of {archive.evaluated} architectures meets {problem.budget_ms:g} ms; the smallest "
        f"reachable latency is {reach.min_ms:.3f} ms. Give more evaluations or a larger budget.",
        smallest_ms=reach.min_ms,
        arch=problem.space.decode(reach.min_row),
        rule=None,
    )


def _known_rows(space: SpaceLike) -> Rows:
    """The fixed points in the space. Shape [k, genes]."""
    rows = [space.encode(load_arch(name)) for name in space.fixed_points()]
    return np.array(rows, dtype=np.int16).reshape(-1, len(space.genes))


def _reference(thing: SpaceLike | DeviceLike | str | Path) -> str:
    """What finds it again: a name, or the whole path of a file."""
    if not isinstance(thing, (str, Path)):
        return thing.name
    return str(Path(thing).resolve()) if Path(thing).suffix in (".yaml", ".yml") else str(thing)


def _check_throughput(device: DeviceLike, asked: bool) -> None:
    """Raise ValueError where the budget is meant to be of one kind and the device's table is of the other."""
    info = getattr(device, "info", None)
    batch = 1 if info is None else info.batch
    if batch > 1 and not asked:
        raise ValueError(
            f"device: {device.name}'s table is ms per image at batch {batch} (throughput), not latency; "
            f"add --throughput (in Python, throughput=True)"
        )
    if batch == 1 and asked:
        raise ValueError(f"throughput: {device.name}'s table is latency at batch 1; leave --throughput out")


def _check_counts(evals: int, seed: int) -> None:
    for name, value, least in (("evals", evals, 1), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}: must be a whole number >= {least}, got {value!r}; give another")
