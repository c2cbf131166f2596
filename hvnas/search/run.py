"""A search from names to a result, and the continuation of one that was cut."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from hvnas._files import refusing
from hvnas._names import MOST_SEED, check_whole
from hvnas._request import Outside, check_same, filled
from hvnas._runs import versions
from hvnas.latency.device import LatencyDevice
from hvnas.search.engines.engine import run_strategy, strategy_on
from hvnas.search.evaluations import Archive, TrialLog
from hvnas.search.making import DeviceSet, each_of, estimator_hash, problem_of, settled
from hvnas.search.objectives import TOP1
from hvnas.search.problem import Problem
from hvnas.search.reach import (
    InfeasibleBudget,
    Reach,
    check_budget,
    find_reach,
    known_rows,
    with_widest_budget,
)
from hvnas.search.request import AUTO, Engine, SearchRequest
from hvnas.search.runs.checkpoint import Checkpoint, State, Stopped
from hvnas.search.runs.folder import CONFIG, STUDY, RunConfig, SearchFolder, check_assumed
from hvnas.search.runs.result import SearchResult
from hvnas.search.runs.session import History, Progress, Session, Silent, no_log, reference_of
from hvnas.search.strategies.registry import strategy_entry
from hvnas.search.timed import HostTimer, Rounds, TimedFront, check_host, check_timed, known_timings

if TYPE_CHECKING:
    from hvnas.arch import Arch
    from hvnas.latency.remote.measurements import ModelMeasurement
    from hvnas.search.request import (
        AnyConstraint,
        AnyDevice,
        AnyEstimator,
        AnyObjective,
        AnySpace,
    )
    from hvnas.search.strategies.registry import Choice

LOCAL = Engine()
_CHECKPOINT_SECONDS = 3.0
# Where a network takes seconds a strategy's own default, meant for microseconds, would take days.
_EXPENSIVE_EVALS = 200


def search(
    space: AnySpace = "hybrid-mobile",
    device: AnyDevice | Sequence[AnyDevice] = "iphone12",
    *,
    budget_ms: float | None = None,
    strategy: str = AUTO,
    recipe: str = "modern300",
    scenario: str = "imagenet1k",
    estimator: AnyEstimator = "surrogate",
    objectives: Sequence[AnyObjective] = (),
    constraints: Sequence[AnyConstraint] = (),
    classes: int | None = None,
    evals: int | None = None,
    seed: int = 0,
    margin: float | None = None,
    outside: Outside = "forbid",
    fixed_points: bool | None = None,
    throughput: bool = False,
    measure: int | None = None,
    engine: Engine = LOCAL,
    out: str | Path | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> SearchResult:
    """Search `space` for the best top-1 within `budget_ms` milliseconds on `device`.

    The arguments up to `engine` are the fields of `SearchRequest`, which says what each of them means.

    Args:
        out: the run folder to write; None: nothing is written.
        progress: told how the search goes.
        stop: once it is set, the search ends after the batch in hand with the front that it has.

    Raises:
        InfeasibleBudget: no architecture meets the budget; it carries the smallest reachable latency.
        ValueError: a name, number or file that will not do, or a run folder that is taken.
    """
    request = SearchRequest(
        space=space,
        device=each_of(device),
        budget_ms=budget_ms,
        strategy=strategy,
        recipe=recipe,
        scenario=scenario,
        estimator=estimator,
        objectives=tuple(objectives),
        constraints=tuple(constraints),
        classes=classes,
        evals=evals,
        seed=seed,
        margin=margin,
        outside=outside,
        fixed_points=fixed_points,
        throughput=throughput,
        measure=measure,
        engine=engine,
    )
    return start(request, out=out, progress=progress, stop=stop)


def start(
    request: SearchRequest,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> SearchResult:
    """Search as `request` says. Writes `out`, and raises, as `search` does."""
    started = time.perf_counter()
    if request.strategy != AUTO:
        strategy_entry(request.strategy)
    _check_counts(request.evals, request.seed)
    if request.measure is not None:
        check_whole("measure", request.measure, least=1)
        # Who is timed needs no reserve for what its table may miss.
        request = replace(request, margin=0.0 if request.margin is None else request.margin)
    folder = None if out is None else SearchFolder(Path(out))
    if folder is not None:
        folder.refuse_if_taken()
    devices = DeviceSet(request.device)
    problem = problem_of(request, devices)
    for one in problem.devices:
        _check_throughput(one, request.throughput)
    if request.measure is not None:
        check_timed(problem)
        check_host(problem.device)
    reach = None
    if request.budget_ms is None:
        problem, reach = with_widest_budget(problem)
    choice = None
    if request.strategy == AUTO:
        from hvnas.search.strategies.registry import resolve_strategy

        choice = resolve_strategy(problem, request.evals, several=request.engine.storage is not None)
        request = replace(request, strategy=choice.name)
    return execute(
        problem,
        _resolved(request, problem, devices),
        engine=request.engine,
        folder=folder,
        progress=progress,
        stop=stop,
        choice=choice,
        reach=reach,
        started=started,
    )


def _resolved(request: SearchRequest, problem: Problem, devices: DeviceSet) -> RunConfig:
    """`request` with every default resolved, and what its names stand for."""
    named, size, engine = settled(request, devices), problem.image_size, request.engine
    estimator = request.estimator
    resolved = replace(
        named,
        budget_ms=problem.budget_ms,
        margin=(problem.margin, *problem.other_margins),
        objectives=tuple(map(str, problem.objectives)),
        evals=_default_evals(problem, request.strategy) if request.evals is None else request.evals,
        fixed_points=problem.cheap if request.fixed_points is None else request.fixed_points,
        resolution=size and size.resolution,
        classes=size and size.classes,
        engine=Engine(name=engine.name, storage=engine.shown_storage),
    )
    return RunConfig(
        **vars(resolved),
        space_hash=problem.space.hash,
        device_hash=tuple(device.hash for device in problem.devices),
        estimator_hash=estimator_hash(estimator) if isinstance(estimator, str) else "",
        versions=versions("cmaes", "numpy", "optuna", "scipy"),
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
    folder = SearchFolder(Path(out))
    config = folder.config
    engine = config.engine if engine is None else engine
    return _resumed(folder, config, engine=engine, progress=progress, stop=stop, started=started)


def _resumed(
    folder: SearchFolder,
    config: RunConfig,
    *,
    engine: Engine,
    progress: Progress | None,
    stop: Event | None,
    started: float,
) -> SearchResult:
    """The result of the run in `folder`, of which `config` was read. Raises ValueError as `resume`."""
    with refusing(folder.path / CONFIG):
        problem = problem_of(config)
        strategy_on(config.strategy, engine).check(problem)
        check_assumed(config.recipe, config.scenario)
    _check_unchanged(problem, config, folder)
    return execute(
        problem,
        config,
        engine=engine,
        folder=folder,
        resumed=True,
        progress=progress,
        stop=stop,
        started=started,
    )


def resume_as(
    request: SearchRequest,
    out: str | Path,
    *,
    progress: Progress | None = None,
    stop: Event | None = None,
) -> SearchResult:
    """Continue the run in folder `out`, whose options must be those that `request` gives.

    Where estimates are made may differ. Raises ValueError as `resume`, and naming an option that differs.
    """
    started = time.perf_counter()
    folder = SearchFolder(Path(out))
    config = folder.config
    begun = replace(config, throughput=request.throughput, constraints=tuple(sorted(config.constraints)))
    if request.strategy == AUTO:
        request = replace(request, strategy=config.strategy)
    whole = filled(request, begun)
    wanted = settled(whole, DeviceSet(whole.device))
    wanted = replace(wanted, constraints=tuple(sorted(map(str, wanted.constraints))))
    check_same(wanted, begun, what=f"the run in {folder.path}")
    engine = filled(request.engine, config.engine)
    return _resumed(folder, config, engine=engine, progress=progress, stop=stop, started=started)


def _check_unchanged(problem: Problem, config: RunConfig, folder: SearchFolder) -> None:
    devices = zip(config.device, problem.devices, config.device_hash, strict=True)
    for what, name, now, then in (
        ("space", config.space, problem.space.hash, config.space_hash),
        *(("device", name, device.hash, then) for name, device, then in devices),
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
    folder: SearchFolder | None = None,
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
    if folder is not None and (not problem.cheap or strategy_on(config.strategy, engine).one_by_one):
        problem = replace(problem.with_seeds(problem.seeds), trials=TrialLog())
    with nullcontext() if folder is None else folder.locked():
        # An estimate of seconds is not to be made twice.
        every = checkpoint_seconds if problem.cheap else 0.0
        checkpoint = Checkpoint()
        if folder is not None and resumed:
            checkpoint = _reopened(folder, every=every)
        elif folder is not None:
            folder.begin(config)
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
            trials=problem.trials,
        )
        if folder is not None and problem.trials is not None:
            session.saved = partial(checkpoint.keep, STUDY, folder.study_file(problem).write)
        archive, stopped = _archive(problem, config, engine, session)
        if len(archive) == 0:
            raise _nothing_found(problem, reach, archive, stopped=stopped)
        timed = None
        if not stopped:
            timed, stopped = _timed(TimedFront.of(problem, archive, {}), config, engine, session, folder)
        result = SearchResult.of(
            problem,
            archive,
            strategy=config.strategy,
            seed=config.seed,
            reach=reach,
            history=session.history.moments,
            parts=session.history.parts,
            stopped=stopped,
            timed=timed,
        )
        result = result if folder is None else folder.write(result)
    problem.keep_tables()
    return result


def _prepared(
    problem: Problem, config: RunConfig, engine: Engine, reach: Reach | None
) -> tuple[Problem, Reach]:
    """The problem with its seeds, and its reach; ValueError for what must not leave a folder behind."""
    known = known_rows(problem.space)
    reach = reach or find_reach(problem, known=known)
    check_budget(problem, reach)
    strategy_on(config.strategy, engine).check(problem)
    # The fastest architecture is a seed so that every strategy knows something feasible.
    seeds = [reach.min_row[None], *([known] if config.fixed_points else [])]
    problem = problem.with_seeds(np.concatenate(seeds))
    _check_recipe(problem)
    return problem, reach


def _reopened(folder: SearchFolder, *, every: float) -> Checkpoint:
    """The checkpoint of a run that was cut."""
    checkpoint = folder.checkpoint(every=every)
    # A state that is damaged, or of another configuration, is refused before the folder is touched.
    checkpoint.load()
    folder.reopen()
    return checkpoint


def _archive(problem: Problem, config: RunConfig, engine: Engine, session: Session) -> tuple[Archive, bool]:
    """The front of the strategy, or of the finished state, and whether the run was asked to stop."""
    state = session.load()
    if state is not None and state.meta.get("finished"):
        with session.restoring():
            archive = Archive.stored(state.arrays, evaluated=state.meta["evaluated"])
            _check_rows(problem, archive)
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


def _timed(
    front: TimedFront, config: RunConfig, engine: Engine, session: Session, folder: SearchFolder | None
) -> tuple[TimedFront | None, bool]:
    """The front with what is timed of it, None where nothing is; and whether it was asked to stop."""
    problem, count = front.problem, config.measure or 0
    known = {} if folder is None else known_timings(problem, folder.measurements(), folder.path)
    if not count and not known:
        return None, False
    check_timed(problem)

    def search(corrected: Problem) -> Archive:
        session.log("the device is faster than its table: searching on with its latencies corrected")
        return run_strategy(
            corrected, config, LOCAL, replace(session, progress=Silent(), checkpoint=Checkpoint())
        )

    def keep(arch: Arch, row: ModelMeasurement) -> None:
        if folder is not None:
            folder.add_measurements([(arch, row)])

    def told(now: TimedFront, place: int) -> None:
        predicted, key = now.table.ms[place], now.keys[place]
        session.log(f"timed {key:016x}: {now.timings[key].ms:.4f} ms, predicted {predicted:.4f} ms")
        session.timed(now, count)

    again = problem.cheap and engine.name == "local" and engine.storage is None
    rounds = Rounds(
        known=known,
        time=HostTimer(problem, keep).time,
        search=search if again else None,
        told=told,
        stopping=session.stopping,
    )
    try:
        front, stopped = rounds.run(front, count)
    except Stopped:
        return None, True
    if len(front.front()) == 0:
        raise _nothing_kept(front)
    return (front if front.timings else None), stopped


def _nothing_kept(front: TimedFront) -> InfeasibleBudget:
    fastest = int(front.ms.argmin())
    return InfeasibleBudget(
        f"budget_ms: none of the {len(front.timings)} networks that were timed keeps "
        f"{front.problem.budget_ms:g} ms, and at {front.factor:.3g} times what the table says no network of "
        "the front does. Measure the table again, or give a larger budget.",
        smallest_ms=float(front.ms[fastest]),
        arch=front.problem.space.decode(front.rows[fastest]),
        rule=None,
    )


def _check_rows(problem: Problem, archive: Archive) -> None:
    """Raise ValueError unless the archive's rows are of the space."""
    sizes = np.array([len(gene.values) for gene in problem.space.genes])
    if archive.rows.shape[1] != len(sizes) or not ((archive.rows >= 0) & (archive.rows < sizes)).all():
        raise ValueError("front.rows: are not rows of the space")


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
    check_assumed(problem.recipe, problem.scenario)
    if problem.cheap:
        problem.evaluate(problem.seeds)
    problem.estimator.check()


def _check_throughput(device: LatencyDevice, throughput: bool) -> None:
    """Raise ValueError where the budget is meant to be of one kind and the device's table is of the other."""
    batch = 1 if device.info is None else device.info.batch
    if batch > 1 and not throughput:
        raise ValueError(
            f"device: {device.name}'s table is ms per image at batch {batch} (throughput), not latency; "
            f"add --throughput (in Python, throughput=True)"
        )
    if batch == 1 and throughput:
        raise ValueError(f"throughput: {device.name}'s table is latency at batch 1; leave --throughput out")


def _default_evals(problem: Problem, strategy: str) -> int:
    usual = strategy_entry(strategy).default_evals
    return usual if problem.cheap else min(usual, _EXPENSIVE_EVALS)


def _check_counts(evals: int | None, seed: int) -> None:
    if evals is not None:
        check_whole("evals", evals, least=1)
    check_whole("seed", seed, least=0, most=MOST_SEED)
