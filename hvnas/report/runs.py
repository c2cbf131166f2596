"""A run folder read back: what was asked, the exact front, how the search went, and what redoes it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hvnas._files import read_text, refusing
from hvnas._names import shown
from hvnas._numbers import LARGEST, took
from hvnas._records import Row, read_csv
from hvnas._request import options_of, words_of
from hvnas._runs import LOG
from hvnas.latency import Device
from hvnas.search.evaluations import best_place, files_words, left_out_words, shown_places
from hvnas.search.objectives import TOP1, Objective, parse_objective
from hvnas.search.request import SearchRequest
from hvnas.search.rows import Bools, Floats, Rows
from hvnas.search.runs.folder import CONFIG, FRONT, HISTORY, RunConfig, SearchFolder, check_assumed
from hvnas.search.runs.result import CROSS_FITTED
from hvnas.search.runs.session import FIELDS, Moment

# Of a front of many costs, some hundred bytes a member.
_LIMIT = 256 * 2**20
# Proxies of deep networks come to large numbers.
_SCORE = 1e100
_ENDED = re.compile(r" (finished|stopped): (\d+) evaluated, .*?(?:the sum of (\d+) parts)?$", re.MULTILINE)
_LIMITED = re.compile(r"^[-\d]+ [:\d]+ limit: (.+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. Arrays are over the n members of its front, the first objective improving.

    `costs` [n, k] holds the objectives, all minimised, top-1 as mean minus one standard deviation, at the
    decimals of ``pareto.csv``. `ms` with `low` and `high` (5-95 %) is on the first device, `chance` that of
    the budget; `top1` and `sd` are points, or a score and 0 where `unit` is ``score``; `cross_fitted` and
    `cross_fitted_sd` are nan where the file does not have both, `measured` is `ms` where a network was timed,
    else nan; `params` and `macs` are counts; `written` is
    who has a file. `best` is the place of the best, `best_row` [genes] its encoding. `limit` says what kept
    the search from better networks, where its log does. `parts` counts the times that the run was begun or
    resumed, `stopped` says that it did not come to its end.
    """

    folder: Path
    name: str
    config: RunConfig
    objectives: tuple[Objective, ...]
    unit: str
    members: tuple[str, ...] = field(repr=False)
    costs: Floats = field(repr=False)
    ms: Floats = field(repr=False)
    low: Floats = field(repr=False)
    high: Floats = field(repr=False)
    top1: Floats = field(repr=False)
    sd: Floats = field(repr=False)
    cross_fitted: Floats = field(repr=False)
    cross_fitted_sd: Floats = field(repr=False)
    measured: Floats = field(repr=False)
    params: Floats = field(repr=False)
    macs: Floats = field(repr=False)
    chance: Floats = field(repr=False)
    written: Bools = field(repr=False)
    best_row: Rows = field(repr=False)
    history: tuple[Moment, ...] = field(repr=False)
    evaluated: int
    parts: int
    stopped: bool
    limit: str | None

    @property
    def seconds(self) -> float:
        """Wall time from the call to the front, all parts together."""
        return self.history[-1].seconds

    @property
    def best(self) -> int:
        """The place of the best network; see `hvnas.search.evaluations`."""
        return best_place(self.sd)

    def how(self, place: int) -> str:
        """How the latency of a network is known, in a run in which some were timed; empty in others."""
        if not np.isfinite(self.measured).any():
            return ""
        return "measured" if np.isfinite(self.measured[place]) else "predicted"

    @property
    def shown(self) -> list[int]:
        """The places of the networks that tables show: see `hvnas.search.evaluations`."""
        return shown_places(self.sd, self.written)


def device_title(device: str) -> str:
    """A device as pages name it: of its own file without the folder."""
    path = Path(device)
    return path.stem if path.suffix in (".yaml", ".yml") else device


def run_lines(run: Run) -> list[str]:
    """Lines on a run beside its numbers, as the search itself says them: how many networks, and its limit."""
    files = files_words(int(run.written.sum()), len(run.members))
    resumed = [f"took {took(run.seconds, parts=run.parts)}"] if run.parts > 1 else []
    limit = [] if run.limit is None else [f"limit: {run.limit}"]
    return [files, *left_out_words(run.sd), *resumed, *limit]


def load_runs(folders: list[Path]) -> tuple[Run, ...]:
    """Return the runs in `folders`, each under a name of its own: the folder's, or the whole path of it.

    Raises ValueError, one line, for a folder that is listed twice or holds no whole run.
    """
    places = [folder.resolve() for folder in folders]
    for i, folder in enumerate(folders):
        if places[i] in places[:i]:
            raise ValueError(f"{folder}: is listed twice; list it once")
    runs = [load_run(folder) for folder in folders]
    names = [run.name for run in runs]
    return tuple(run if names.count(run.name) == 1 else replace(run, name=str(run.folder)) for run in runs)


def load_run(folder: str | Path) -> Run:
    """Return the run in `folder`.

    Raises ValueError, one line, naming what is missing or damaged and where.
    """
    with refusing(folder):
        return _load(Path(folder))


def _load(folder: Path) -> Run:
    config = SearchFolder(folder).config
    for name in (FRONT, HISTORY, LOG):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder}: has no {name}: its search has not ended, or found nothing within its budget; "
                f"hvnas resume {folder} ends it, or says so"
            )
    objectives = _objectives(config, folder / CONFIG)
    with refusing(folder / CONFIG):
        check_assumed(config.recipe, config.scenario)
    rows = list(read_csv(folder / FRONT, optional=None, limit=_LIMIT))
    unit = "score" if "score" in rows[0].cells else "points"
    top1 = _column(rows, "score", most=_SCORE) if unit == "score" else _column(rows, TOP1)
    sd = np.zeros(len(top1)) if unit == "score" else _column(rows, "top1_sd")
    crossed = np.array([_crossed(row) for row in rows])
    found = {TOP1: top1 - sd}
    keys = [str(objective) for objective in objectives]
    values = [found[key] if key in found else _column(rows, key) for key in keys]
    log = read_text(folder / LOG, limit=_LIMIT)
    stopped, evaluated, parts = _ending(folder / LOG, log)
    limits = _LIMITED.findall(log)
    return Run(
        folder=folder,
        name=folder.resolve().name,
        config=config,
        objectives=objectives,
        unit=unit,
        members=tuple(_cells(rows, "name")),
        costs=np.stack([o.sign * each for o, each in zip(objectives, values, strict=True)], axis=1),
        ms=_column(rows, "latency_ms"),
        low=_column(rows, "latency_low"),
        high=_column(rows, "latency_high"),
        top1=top1,
        sd=sd,
        cross_fitted=crossed[:, 0],
        cross_fitted_sd=crossed[:, 1],
        measured=np.array([_measured(row) for row in rows]),
        params=_column(rows, "params"),
        macs=_column(rows, "macs"),
        chance=_column(rows, "p_within_budget"),
        written=np.array([cell != "" for cell in _cells(rows, "file")]),
        best_row=_encoding(rows, best_place(sd)),
        history=_history(folder / HISTORY),
        evaluated=evaluated,
        parts=parts,
        stopped=stopped,
        limit=limits[-1] if limits else None,
    )


def _objectives(config: RunConfig, path: Path) -> tuple[Objective, ...]:
    try:
        return tuple(parse_objective(text, field="objectives") for text in config.objectives)
    except ValueError as error:
        raise ValueError(f"{error} ({path})") from None


def _cells(rows: Sequence[Row], name: str) -> list[str]:
    """A column of one row or more, as it is written."""
    if name not in rows[0].cells:
        raise ValueError(f"{rows[0].path}: {name}: missing column; it is damaged, or of another version")
    return [row.cells[name] for row in rows]


def _column(rows: Sequence[Row], name: str, *, most: float = LARGEST) -> Floats:
    """A column of finite numbers."""
    _cells(rows, name)
    return np.array([row.number_of(name, least=-most, most=most) for row in rows])


def _crossed(row: Row) -> tuple[float, float]:
    """The cross-fitted top-1 of a line and its standard deviation, nan where it does not have both."""
    if not all(map(row.cells.get, CROSS_FITTED)):
        return math.nan, math.nan
    mean, sd = CROSS_FITTED
    return row.number_of(mean), row.number_of(sd, least=0)


def _measured(row: Row) -> float:
    """The measured latency of a line, nan where it has none."""
    return row.number_of("measured_ms", above=0) if row.cells.get("measured_ms") else math.nan


def _encoding(rows: Sequence[Row], place: int) -> Rows:
    """The row of a line."""
    cell = _cells(rows, "encoding")[place]
    try:
        return np.array([int(i) for i in cell.split()], dtype=np.int16)
    except (ValueError, OverflowError):
        raise rows[-1].refusal("encoding", f"{shown(cell)} is not an encoding; the file is damaged") from None


def _history(path: Path) -> tuple[Moment, ...]:
    return tuple(
        row.record(Moment, {name: _number(row, name) for name in ("hypervolume", "best")})
        for row in read_csv(path, FIELDS, limit=_LIMIT)
    )


def _number(row: Row, name: str) -> float:
    """A score has no hypervolume, and an empty front no best: nan there."""
    return math.nan if row.cells[name] == "nan" else row.number_of(name, least=-_SCORE, most=_SCORE)


def _ending(path: Path, log: str) -> tuple[bool, int, int]:
    """Whether the run was stopped when it last ended, how many it had evaluated, and in how many parts."""
    endings = _ENDED.findall(log)
    if not endings:
        raise ValueError(
            f"{path}: does not say how the search ended; hvnas resume {path.parent} ends the search"
        )
    how, evaluated, parts = endings[-1]
    if len(evaluated) > 18 or len(parts) > 18:
        raise ValueError(
            f"{path}: {shown(evaluated)} evaluated in {shown(parts or 1)} parts: no search does; "
            "the file is damaged"
        )
    return how == "stopped", int(evaluated), int(parts or 1)


@dataclass(frozen=True)
class Settings:
    """`command` redoes the run; `notes` are what it cannot say; `facts` what the result depends on."""

    run: str
    command: str
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def settings_of(run: Run, devices: Sequence[Device]) -> Settings:
    """The settings of a run. `devices` are those of its devices that can be loaded."""
    config = run.config
    defaults = {device.name: device.default_margin() for device in devices}
    request = _request(config, throughput=any(device.info.batch > 1 for device in devices))
    return Settings(
        run=run.name,
        command=shlex.join(["hvnas", "search", *words_of(request)]),
        notes=tuple(_notes(config, defaults)),
        facts=tuple(_facts(config)),
    )


def _request(config: RunConfig, *, throughput: bool) -> SearchRequest:
    """What a command line asks for to have the run again, the estimates made here and the study its own."""
    fixed = {
        "margin": config.margin[0] if _one_margin(config) else None,
        # The resolution and classes of an estimator's images are no choice.
        "classes": config.classes if config.resolution is None else None,
        "throughput": throughput,
        "engine": replace(config.engine, storage=None),
    }
    return SearchRequest(**{name: getattr(config, name) for name in options_of(SearchRequest)} | fixed)


def _one_margin(config: RunConfig) -> bool:
    return len(set(config.margin)) == 1


def _notes(config: RunConfig, defaults: dict[str, float]) -> list[str]:
    """What the command line has no option for, or takes from the machine that it runs on."""
    notes = []
    if not config.fixed_points:
        notes.append("it began without the papers' models: hvnas.search(..., fixed_points=False) in Python")
    margins = dict(zip(config.device, config.margin, strict=True))
    if not _one_margin(config) and any(defaults.get(name, m) != m for name, m in margins.items()):
        told = ", ".join(f"{margin!r} on {name}" for name, margin in margins.items())
        notes.append(f"the margins were {told}: hvnas.search(..., margin=[...]) in Python")
    if config.engine.storage is not None:
        notes.append(f"its study was shared in {config.engine.storage}: other searches took part in it")
    return notes


def _facts(config: RunConfig) -> list[tuple[str, str]]:
    devices = zip(config.device, config.device_hash, strict=True)
    versions = ", ".join(f"{name} {version}" for name, version in config.versions.items())
    return [
        ("space", f"{config.space} (hash {config.space_hash})"),
        *(("device", f"{name} (hash {mark})") for name, mark in devices),
        ("estimator", f"{config.estimator}, {config.recipe}, {config.scenario}"),
        ("versions", versions),
    ]
