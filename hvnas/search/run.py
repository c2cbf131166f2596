"""A search from names to a result, and the continuation of one that was cut."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from hvnas._files import refusing
from hvnas._validation import MOST_SEED, check_whole
from hvnas.accuracy.estimator import ImageSize, check_scenario
from hvnas.search.archive import Archive
from hvnas.search.earlier import renew
from hvnas.search.engines import LOCAL, Engine, resumed_engine, run_strategy, strategy_on
from hvnas.search.estimator_files import estimator_hash, estimator_reference
from hvnas.search.folder import CONFIG, RunConfig, RunFolder, versions
from hvnas.search.history import History, reference_of
from hvnas.search.making import AnyDevice, DeviceSet, make_problem, reference
from hvnas.search.objectives import TOP1, Constraint, Objective
from hvnas.search.problem import Outside, Problem
from hvnas.search.reach import (
    UNBOUNDED_MS,
    InfeasibleBudget,
    Reach,
    check_budget,
    find_reach,
    known_rows,
    with_widest_budget,
)
from hvnas.search.registry import strategy_entry
from hvnas.search.result import SearchResult
from hvnas.search.seams import DeviceLike, EstimatorLike, Progress, Silent, SpaceLike
from hvnas.search.session import Session, no_log
from hvnas.search.state import Checkpoint, State, Stopped
from hvnas.train.recipes import load_recipe

if TYPE_CHECKING:
    from hvnas.accuracy import AccuracyEstimator
    from hvnas.search.auto import Choice

AUTO = "auto"
_CHECKPOINT_SECONDS = 3.0
# Where a network takes seconds a strategy's own default, meant for microseconds, would take days.
_EXPENSIVE_EVALS = 200


def search(
    space: SpaceLike | str | Path = "hybrid-mobile",
    device: AnyDevice | Sequence[AnyDevice] = "iphone12",
    *,
    budget_ms: float | None = None,
    strategy: str = AUTO,
    recipe: str = "modern300",
    scenario: str = "imagenet1k",
    estimator: EstimatorLike | AccuracyEstimator | str = "surrogate",
    objectives: Sequence[str | Objective] = (),
    constraints: Sequence[str | Constraint] = (),
    classes: int | None = None,
    evals: int | None = None,
    seed: int = 0,
    margin: float | None = None,
    outside: Outside = "forbid",
    fixed_points: bool | None = None,
    throughput: bool = False,
    engine: Engine = LOCAL,
    out: str | Path | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> SearchResult:
    """Search `space` for the best top-1 within `budget_ms` milliseconds on `device`.

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
        throughput: the budget is milliseconds per image of a batch, which is what the tables of some devices
            hold; it must be set for those, and for no others.
        engine: where the estimates are made, and the storage that several processes share.
        out: the run folder to write; None: nothing is written.
        progress: told how the search goes.
        stop: once it is set, the search ends after the batch in hand with the front that it has.

    Raises:
        InfeasibleBudget: no architecture meets the budget; it carries the smallest reachable latency.
        ValueError: a name, number or file that will not do, or a run folder that is taken.
    """
    started = time.perf_counter()
    if strategy != AUTO:
        strategy_entry(strategy)
    _check_counts(evals, seed)
    folder = None if out is None else RunFolder(Path(out))
    if folder is not None:
        folder.refuse_if_taken()
    devices = DeviceSet(device)
    problem = make_problem(
        space,
        devices,
        estimator,
        budget_ms=UNBOUNDED_MS if budget_ms is None else budget_ms,
        margin=margin,
        recipe=recipe,
        scenario=scenario,
        outside=outside,
        objectives=objectives,
        constraints=constraints,
        classes=classes,
    )
    for one in problem.devices:
        _check_throughput(one, throughput)
    reach = None
    if budget_ms is None:
        problem, reach = with_widest_budget(problem)
    choice = None
    if strategy == AUTO:
        from hvnas.search.auto import resolve_strategy

        choice = resolve_strategy(problem, evals, several=engine.storage is not None)
        strategy = choice.name
    size = problem.image_size
    config = RunConfig(
        space=reference(space),
        space_hash=problem.space.hash,
        device=devices.references[0],
        device_hash=problem.device.hash,
        estimator=estimator_reference(estimator) if isinstance(estimator, str) else type(estimator).__name__,
        estimator_hash=estimator_hash(estimator) if isinstance(estimator, str) else "",
        recipe=recipe,
        scenario=scenario,
        budget_ms=problem.budget_ms,
        margin=problem.margin,
        outside=outside,
        strategy=strategy,
        evals=_default_evals(problem, strategy) if evals is None else evals,
        seed=seed,
        fixed_points=problem.cheap if fixed_points is None else fixed_points,
        versions=versions(),
        objectives=tuple(map(str, problem.objectives)),
        constraints=tuple(map(str, problem.constraints)),
        others=tuple(devices.references[1:]),
        other_hashes=tuple(one.hash for one in problem.others),
        other_margins=problem.other_margins,
        engine=engine.name,
        storage=engine.shown_storage,
        resolution=size and size.resolution,
        classes=size and size.classes,
    )
    return execute(
        problem,
        config,
        engine=engine,
        folder=folder,
        progress=progress,
        stop=stop,
        choice=choice,
        reach=reach,
        started=started,
    )


def resume(
    out: str | Path,
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> SearchResult:
    """Continue the run in folder `out` to the result that it would have had uncut.

    A finished run is loaded. `engine` defaults to that of the run. Raises ValueError where the folder holds
    no run, a file in it is damaged, or its space or a device is no longer the one that it was begun with.
    """
    started = time.perf_counter()
    folder = RunFolder(Path(out))
    config = folder.config()
    with refusing(folder.path / CONFIG):
        problem = problem_of(config)
        strategy_entry(config.strategy)
        load_recipe(config.recipe)
        check_scenario(config.scenario)
    _check_unchanged(problem, config, folder)
    return execute(
        problem,
        config,
        engine=resumed_engine(config) if engine is None else engine,
        folder=folder,
        resumed=True,
        progress=progress,
        stop=stop,
        started=started,
    )


def problem_of(config: RunConfig) -> Problem:
    """The problem that a run was begun with, by what its names stand for now; ValueError as `search`."""
    return make_problem(
        config.space,
        [config.device, *config.others],
        config.estimator,
        budget_ms=config.budget_ms,
        margin=(config.margin, *config.other_margins),
        recipe=config.recipe,
        scenario=config.scenario,
        outside="allow" if config.outside == "allow" else "forbid",
        objectives=config.objectives,
        constraints=config.constraints,
        image_size=_size_of(config),
    )


def _size_of(config: RunConfig) -> ImageSize | None:
    size = ImageSize(config.resolution, config.classes)
    return None if size == ImageSize() else size


def _check_unchanged(problem: Problem, config: RunConfig, folder: RunFolder) -> None:
    others = zip(config.others, problem.others, config.other_hashes, strict=True)
    for what, name, now, then in (
        ("space", config.space, problem.space.hash, config.space_hash),
        ("device", config.device, problem.device.hash, config.device_hash),
        *(("device", name, device.hash, then) for name, device, then in others),
        ("estimator", config.estimator, estimator_hash(config.estimator), config.estimator_hash),
    ):
        if then and now != then:
            raise ValueError(
                f"{what}: {name} has changed since this run began (hash {now}, was {then}); "
                f"start a new run ({folder.path})"
            )


def execute(
    problem: Problem,
    config: RunConfig,
    *,
    engine: Engine = LOCAL,
    folder: RunFolder | None = None,
    resumed: bool = False,
    progress: Progress | None = None,
    stop: Event | None = None,
    choice: Choice | None = None,
    reach: Reach | None = None,
    started: float | None = None,
    checkpoint_seconds: float = _CHECKPOINT_SECONDS,
) -> SearchResult:
    """Search `problem` as `config` says, in `folder` if there is one. See `search`.

    `choice` is why the strategy was chosen, to be told where nobody named one; `reach` that of the problem,
    where it is known.
    """
    started = time.perf_counter() if started is None else started
    progress = progress or Silent()
    problem, reach = _prepared(problem, config, engine, reach)
    with nullcontext() if folder is None else folder.held():
        # An estimate of seconds is not to be made twice.
        every = checkpoint_seconds if problem.cheap else 0.0
        checkpoint = Checkpoint()
        if folder is not None and resumed:
            checkpoint = _reopened(folder, problem, every=every)
        elif folder is not None:
            folder.create(config)
            checkpoint = folder.checkpoint(every=every)
        if choice is not None:
            progress.chosen(choice.name, choice.reason)
        progress.reachable(reach)
        session = Session(
            progress=progress,
            checkpoint=checkpoint,
            history=History(reference_of(problem, reach), sign=problem.objectives[0].sign, started=started),
            stop=stop or Event(),
            log=no_log if folder is None else folder.log,
        )
        archive, stopped = _archive(problem, config, engine, session)
        if len(archive) == 0:
            raise _nothing_found(problem, reach, archive, stopped=stopped)
        result = SearchResult.of(
            problem,
            archive,
            strategy=config.strategy,
            seed=config.seed,
            reach=reach,
            history=session.history.moments,
            parts=session.history.parts,
            stopped=stopped,
        )
        return result if folder is None else folder.write(result)


def _prepared(
    problem: Problem, config: RunConfig, engine: Engine, reach: Reach | None
) -> tuple[Problem, Reach]:
    """The problem with its seeds, and its reach; ValueError for what must not leave a folder behind."""
    known = known_rows(problem.space)
    reach = reach or find_reach(problem, known=known)
    check_budget(problem, reach)
    check = getattr(strategy_on(config.strategy, engine), "check", None)
    if check is not None:
        check(problem)
    # The fastest architecture is a seed so that every strategy knows something feasible.
    seeds = [reach.min_row[None], *([known] if config.fixed_points else [])]
    problem = problem.with_seeds(np.concatenate(seeds))
    _check_recipe(problem)
    return problem, reach


def _reopened(folder: RunFolder, problem: Problem, *, every: float) -> Checkpoint:
    """The checkpoint of a run that was cut."""
    checkpoint = folder.checkpoint(every=every)
    went_on = renew(checkpoint, problem)
    folder.reopen()
    if not went_on:
        folder.log("the state is of an earlier version, which this one cannot go on from: begun again")
    return checkpoint


def _archive(problem: Problem, config: RunConfig, engine: Engine, session: Session) -> tuple[Archive, bool]:
    """The front of the strategy, or of the finished state, and whether the run was asked to stop."""
    state = session.load()
    if state is not None and state.meta.get("finished"):
        with session.restoring():
            archive = Archive.stored(state.arrays, evaluated=state.meta["evaluated"])
            _check_rows(problem, archive)
        if not session.history.moments:  # a state of version 0.1.0 knows nothing of how the search went
            session.history.close(archive)
        return archive, False
    try:
        archive = run_strategy(problem, config, engine, session)
    except Stopped:
        archive = session.archive or Archive(len(problem.space.genes))
        session.history.close(archive)
        return archive, True
    session.history.close(archive)
    session.finish(State(arrays=archive.arrays(), meta={"finished": True, "evaluated": archive.evaluated}))
    return archive, False


def _check_rows(problem: Problem, archive: Archive) -> None:
    """Raise ValueError unless the archive's rows are of the space."""
    sizes = np.array([len(gene.values) for gene in problem.space.genes])
    if archive.rows.shape[1] != len(sizes) or not ((archive.rows >= 0) & (archive.rows < sizes)).all():
        raise ValueError("front.rows: are no rows of the space")


def _nothing_found(problem: Problem, reach: Reach, archive: Archive, *, stopped: bool) -> InfeasibleBudget:
    kept = "".join(f" and {constraint}" for constraint in problem.constraints)
    scored = [str(c) for c in problem.constraints if c.what.metric == TOP1]
    loosen = f", or loosen {', '.join(scored)}" if scored else ""
    so_far = " before the search was stopped" if stopped else ""
    return InfeasibleBudget(
        f"budget_ms: none of {archive.evaluated} architectures{so_far} meets {problem.budget_ms:g} ms{kept}; "
        f"the smallest latency found is {reach.min_ms:.3f} ms. Give more evaluations or a larger "
        f"budget{loosen}.",
        smallest_ms=reach.min_ms,
        arch=problem.space.decode(reach.min_row),
        rule=None,
        stopped=stopped,
    )


def _check_recipe(problem: Problem) -> None:
    """Raise ValueError for what the estimator cannot do, which must not leave a folder behind."""
    load_recipe(problem.recipe)
    check_scenario(problem.scenario)
    if problem.cheap:
        problem.evaluate(problem.seeds)
    check = getattr(problem.estimator, "check", None)
    if check is not None:
        check()


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


def _default_evals(problem: Problem, strategy: str) -> int:
    usual = strategy_entry(strategy).default_evals
    return usual if problem.cheap else min(usual, _EXPENSIVE_EVALS)


def _check_counts(evals: int | None, seed: int) -> None:
    if evals is not None:
        check_whole("evals", evals, least=1)
    check_whole("seed", seed, least=0, most=MOST_SEED)
