"""The run folder: everything needed to resume, reload and redo a search, its networks as an Optuna study."""

from __future__ import annotations

import errno
import os
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import Field, dataclass, field, fields, replace
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hvnas._files import refuse_unknown, refusing, sync_folder, write_atomic
from hvnas._names import WrongField, shown, validated
from hvnas._numbers import took
from hvnas._records import csv_text
from hvnas._request import default_of
from hvnas._runs import LOG, RunFolder, RunKind, writing
from hvnas._yaml import dump_yaml
from hvnas.accuracy.estimator import check_scenario
from hvnas.arch import Arch, save_arch, to_dict
from hvnas.search.objectives import parse_objective
from hvnas.search.problem import Problem
from hvnas.search.request import SearchRequest
from hvnas.search.runs.checkpoint import RESUME_HINT, FolderCheckpoint
from hvnas.search.runs.result import Found, SearchResult, describe, with_origin
from hvnas.search.runs.session import history_csv
from hvnas.search.shared.trials import (
    DESCRIPTION,
    EVALUATED,
    EVALUATED_WORDS,
    HOLDS,
    UNIT,
    EvaluatedNetwork,
    StudyFile,
    evaluated_networks,
    write_front,
)
from hvnas.search.strategies.slimming import FIGURE, PATH
from hvnas.train.recipes import load_recipe

if TYPE_CHECKING:
    from hvnas.latency.remote.measurements import MeasuredModel, ModelMeasurement

CONFIG, BEST, FRONT, HISTORY, STUDY, ARCHS, STATE = (
    "config.yaml",
    "best.yaml",
    "pareto.csv",
    "history.csv",
    "study.journal",
    "archs",
    ".state",
)
# Networks that were timed, and their times.
MEASURED, TIMES = "measured", "measurements.csv"


# The keys of a run's config.yaml in their order, those that every run has and those that came later. Of the
# options that came after them a run writes those that are not at their default.
_ALWAYS = tuple(
    "space space_hash device device_hash estimator recipe scenario budget_ms margin outside strategy evals "
    "seed fixed_points versions".split()
)
_LATER = tuple(
    "objectives constraints others other_hashes other_margins engine storage estimator_hash resolution "
    "classes".split()
)
# One value for each device in a field, which the file splits into that of the first device and the others.
_SPLIT = {"device": "others", "device_hash": "other_hashes", "margin": "other_margins"}
# The device's table says whether it is of throughput.
_NOT_KEPT = {"given", "engine", "throughput"}


@dataclass(frozen=True, kw_only=True)
class RunConfig(SearchRequest):
    """A search as it was asked for, every default resolved, and what its names stood for.

    `space` and `device` are names or paths. `device`, `device_hash` and `margin` have one value for each
    device. `engine` is its name and the storage without the password; `estimator_hash` is that of the files
    that the estimator's name points to, if any. `resolution` and `classes` are those that every network is
    put to, each None where the space decides.
    """

    device: tuple[str, ...]
    device_hash: tuple[str, ...]
    space: str = field()
    space_hash: str
    estimator: str = field()
    estimator_hash: str = ""
    budget_ms: float = field()
    margin: tuple[float, ...] = field()
    objectives: tuple[str, ...] = ("top1", "latency_ms")
    constraints: tuple[str, ...] = ()
    evals: int = field()
    fixed_points: bool = field()
    versions: dict[str, str]


@dataclass(frozen=True)
class RunRecord:
    """The networks of a run that are on record.

    `networks` are all that were evaluated, or None where the record is the front alone; `description` says
    which, in a clause. `unit` is that of their top-1.
    """

    networks: tuple[EvaluatedNetwork, ...] | None
    description: str
    unit: str


def check_assumed(recipe: str, scenario: str) -> None:
    """Raise ValueError where the recipe or the scenario that accuracy is told for is not known."""
    load_recipe(recipe)
    check_scenario(scenario)


def _options() -> list[Field[Any]]:
    """The fields that the file has under their own names."""
    return [each for each in fields(RunConfig) if each.name not in _NOT_KEPT]


def _key_of(place: Sequence[str]) -> str:
    """Where the file has what is wrong at this place of the request."""
    first, *rest = place
    if first == "engine":
        return "storage" if "storage" in rest else "engine"
    if first in _SPLIT:
        return first if rest[:1] == ["0"] else _SPLIT[first]
    return ".".join(place)


class SearchFolder(RunFolder[RunConfig]):
    """The folder of a search."""

    kind = RunKind(
        config=RunConfig,
        file=CONFIG,
        schema="hvnas.run/1",
        taken="holds a run already; choose another name, or continue it with hvnas resume",
        foreign="exists and holds no run; choose another name",
        missing=f"holds no run (no {CONFIG}); give a folder of hvnas search --out",
        lock=f"{STATE}/lock",
        folders=(STATE, MEASURED),
    )

    def writing(self) -> AbstractContextManager[None]:
        """Failures end in how the run goes on."""
        return writing(self.path, RESUME_HINT)

    def begin(self, config: RunConfig) -> None:
        """Begin a run; from now on it can be resumed."""
        with writing(self.path, "no run was begun"):
            self.create(config)
        self.log(f"started: {config.strategy}, {config.evals} evaluations, seed {config.seed}")

    def reopen(self) -> None:
        """Go on with the run: what a cut left half written goes."""
        self.remove_parts()
        self.log("resumed")

    def to_plain(self, config: RunConfig) -> dict[str, Any]:
        """One device stands by itself, the others in a list; so do their hashes and margins."""
        data = super().to_plain(config)
        data |= {"engine": config.engine.name, "storage": config.engine.storage}
        for name, others in _SPLIT.items():
            data[name], *data[others] = data[name]
        given = {each.name for each in _options() if getattr(config, each.name) != default_of(each)}
        return {name: data[name] for name in (*_ALWAYS, *_LATER, *sorted(given.difference(_ALWAYS, _LATER)))}

    def from_plain(self, data: dict[str, Any]) -> RunConfig:
        """The other way. Raises ValueError naming the field at fault."""
        options = [each.name for each in _options()]
        refuse_unknown(data, dict.fromkeys((*_ALWAYS, *_LATER, *options)), "", CONFIG)
        for name in _ALWAYS:
            if name not in data:
                raise ValueError(f"{name}: is missing; restore the file")
        further = [data.pop(others, []) for others in _SPLIT.values()]
        if not all(isinstance(each, list) and len(each) == len(further[0]) for each in further):
            raise ValueError(f"{', '.join(_SPLIT.values())}: must be lists of one length")
        for name, values in zip(_SPLIT, further, strict=True):
            data[name] = [data[name], *values]
        data["engine"] = {"name": data.pop("engine", "local"), "storage": data.pop("storage", None)}
        try:
            config = validated(RunConfig, data)
        except WrongField as wrong:
            raise ValueError(f"{_key_of(wrong.place)}: {wrong.said}") from None
        _check_numbers(config)
        return config

    def checkpoint(self, *, every: float) -> FolderCheckpoint:
        """Where strategies keep their state."""
        mark = zlib.crc32((self.path / CONFIG).read_bytes())
        return FolderCheckpoint(self.path / STATE, every=every, mark=mark)

    def files(self) -> list[str]:
        """The names of what searches write here that is there, sorted; what others put here is not theirs."""
        names = (CONFIG, BEST, FRONT, HISTORY, STUDY, LOG, ARCHS, MEASURED, PATH, FIGURE)
        return sorted(name for name in names if (self.path / name).exists())

    def measurements(self) -> tuple[MeasuredModel, ...]:
        """The networks that were timed. Raises ValueError naming the file that is damaged."""
        from hvnas.latency.remote.measurements import read_models

        path = self.path / MEASURED / TIMES
        return read_models(path) if path.is_file() else ()

    def add_measurements(self, models: Sequence[tuple[Arch, ModelMeasurement]]) -> None:
        """Keep networks with their times; a network that was timed before has its new time.

        Raises ValueError where they are of another protocol than those that are there.
        """
        from hvnas.latency.remote.measurements import write_measurements

        folder = self.path / MEASURED
        rows = {model.row.key: model.row for model in self.measurements()}
        with self.writing():
            folder.mkdir(exist_ok=True)
            for arch, row in models:
                key = f"{arch.hash}.yaml"
                rows[key] = replace(row, key=key)
                save_arch(arch, folder / key)
            write_measurements(folder / TIMES, list(rows.values()))

    def study_file(self, problem: Problem) -> StudyFile:
        """The study of all that the log of `problem` holds. Raises AssertionError where it has none."""
        assert problem.trials is not None, "the problem has a log"
        return StudyFile(self.path.resolve().name, problem, problem.trials)

    def record(self, *, storage: str | None = None) -> RunRecord:
        """The networks of the run, from its study, or from that in the storage which it shares.

        `storage` is that of the run with its password. Raises ValueError, one line, where there is no record
        yet or it is damaged.
        """
        from hvnas.search.shared.storage import Storage, parse_storage
        from hvnas.search.shared.study import stored_study, study_name

        place, name = storage or self.config.engine.storage, None
        if place is None:
            if not (self.path / STUDY).exists():
                raise ValueError(
                    f"{self.path}: has no {STUDY} yet, which comes with its first network or at its end; "
                    f"hvnas resume {self.path} goes on with it"
                )
            where = Storage(journal=(self.path / STUDY).resolve())
            remedy = f"hvnas resume {self.path} writes it anew"
        else:
            from hvnas.search.making import problem_of

            where, name = parse_storage(place), study_name(problem_of(self.config))
            remedy = "give the --storage of the search"
        study, trials = stored_study(where, name, remedy=remedy)
        told = study.user_attrs
        if place is None and told.get(HOLDS) != EVALUATED:
            return RunRecord(None, str(told.get(DESCRIPTION, _front_words())), str(told.get(UNIT, "points")))
        with refusing(where.reference):
            networks = evaluated_networks(trials, list(map(parse_objective, self.config.objectives)))
        words = str(told.get(DESCRIPTION, EVALUATED_WORDS))
        return RunRecord(tuple(networks), words, str(told.get(UNIT, "points")))

    def write(self, result: SearchResult) -> SearchResult:
        """Write front, study and best; returns the result with the files' paths.

        `pareto.csv` holds the exact front, `archs/` and the study its readable part. All files are whole
        before the first one takes its place, and `best.yaml` comes last: where it is, everything is.
        """
        files = [self.path / ARCHS / f"{found.name}.yaml" for found in result.front]
        front = tuple(replace(f, file=file) for f, file in zip(result.front, files, strict=True))
        with (
            self.writing(),
            tempfile.TemporaryDirectory(dir=self.path, prefix=".", suffix=".part") as aside,
        ):
            self._write_aside(Path(aside), replace(result, front=front))
            self._put_in_place(Path(aside))
        self.log(f"limit: {result.limit}")
        ended = "stopped" if result.stopped else "finished"
        self.log(
            f"{ended}: {result.evaluated} evaluated, {len(result.archive)} on the front, "
            f"{took(result.seconds, parts=result.parts)}"
        )
        return replace(result, front=front, out=self.path)

    def _write_aside(self, aside: Path, result: SearchResult) -> None:
        """All files of a front, in a folder beside those that are there."""
        _write_archs(aside / ARCHS, result)
        self._write_study(aside / STUDY, result)
        archive = result.archive
        members = describe(result.problem, archive.rows, archive.evaluations, timed=result.timed)
        write_atomic(aside / FRONT, front_csv(members, written={found.name: found for found in result.front}))
        write_atomic(aside / HISTORY, history_csv(result.history))
        best = with_origin(
            result.best, result.problem, seed=result.seed, rivals=result.rivals, timed=result.timed
        )
        save_arch(best, aside / BEST)

    def _write_study(self, path: Path, result: SearchResult) -> None:
        """Every network where they are logged, else those that are written as files."""
        log, evaluated = result.problem.trials, result.evaluated
        if not log:
            how = "in whole batches" if log is None else "by an earlier version"
            name, words = self.path.resolve().name, _front_words(f"{evaluated:,} networks", how)
            write_front(path, name=name, problem=result.problem, front=result.front, description=words)
            return
        missing = evaluated - len(log)
        words = EVALUATED_WORDS
        if missing > 0:
            words = (
                f"the last {len(log)} networks; {missing} before them were evaluated by an earlier version"
            )
        self.study_file(result.problem).write(path, description=words)

    def _put_in_place(self, aside: Path) -> None:
        for name in (STUDY, FRONT, HISTORY, BEST):
            if (self.path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self.path / name))
        if (self.path / ARCHS).exists() and not (self.path / ARCHS).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path / ARCHS))
        (self.path / BEST).unlink(missing_ok=True)
        if (self.path / ARCHS).exists():
            (self.path / ARCHS).replace(aside / "before")
        for name in (ARCHS, STUDY, FRONT, HISTORY, BEST):
            (aside / name).replace(self.path / name)
        sync_folder(self.path)


def _front_words(many: str = "networks", how: str = "by an earlier version") -> str:
    """What a study says that holds the front alone."""
    return (
        f"no history: {many} were evaluated {how}, and only those of {ARCHS}, a readable part of the front, "
        "are here, all with the time at which they were written"
    )


def _check_numbers(config: RunConfig) -> None:
    for name, numbers in (("budget_ms", [config.budget_ms]), ("margin", config.margin)):
        if any(map(isnan, numbers)):
            raise ValueError(f"{name}: must be a number, got nan; restore the file")
    for name, value, least in (("evals", config.evals, 1), ("seed", config.seed, 0)):
        if value < least:
            raise ValueError(f"{name}: must be a whole number >= {least}, got {shown(value)}")


def _write_archs(folder: Path, result: SearchResult) -> None:
    """The architectures of the front, a file each."""
    folder.mkdir()
    for found in result.front:
        arch = with_origin(found, result.problem, seed=result.seed, timed=result.timed)
        (folder / f"{found.name}.yaml").write_text(dump_yaml(to_dict(arch)), encoding="utf-8")
    # All written first and synced then: one after the other takes several times as long.
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def front_csv(front: Sequence[Found], *, written: Mapping[str, Found]) -> str:
    """The exact front as CSV, a line per architecture, in fixed decimals.

    `written` are those that have a file, by name. Behind the encoding stands their cross-fitted top-1, where
    there is one, and where networks were timed their measured latency.
    """
    timed = any(isfinite(network.measured_ms) for network in front)
    names = tuple(dict.fromkeys(name for found in written.values() for name in found.cross_fitted_json()))

    def row(network: Found) -> dict[str, Any]:
        known = written.get(network.name)
        numbers = {} if known is None else known.cross_fitted_json()
        return {
            "file": "" if known is None else f"{ARCHS}/{network.name}.yaml",
            **_csv_row(network),
            **{name: "" if numbers.get(name) is None else f"{numbers[name]:.3f}" for name in names},
            **({"measured_ms": _measured(network)} if timed else {}),
        }

    return csv_text(map(row, front))


def _measured(network: Found) -> str:
    return f"{network.measured_ms:.4f}" if isfinite(network.measured_ms) else ""


def _csv_row(network: Found) -> dict[str, Any]:
    return {
        "name": network.name,
        "latency_ms": f"{network.latency_ms:.4f}",
        "latency_low": f"{network.latency_low:.4f}",
        "latency_high": f"{network.latency_high:.4f}",
        "p_within_budget": f"{network.p_within_budget:.4f}",
        "inside": str(network.inside).lower(),
        **{name: "" if value is None else f"{value:.3f}" for name, value in network.accuracy_json().items()},
        "params": network.params,
        "macs": network.macs,
        **{name: f"{value:.4f}" for name, value in network.more.items()},
        "encoding": " ".join(str(int(i)) for i in network.row),
    }
