"""A study computed: every row's size, latency, memory on this host and top-1, beside what was published."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hvnas._files import refusing
from hvnas.accuracy.estimator import POINTS
from hvnas.arch import Arch
from hvnas.latency import Device, LatencyEstimate, load_device
from hvnas.ops.counting import count_macs, count_params
from hvnas.studies.ablation.estimates import Judge, Judged, make_judge, without_studies
from hvnas.studies.ablation.matching import Match, match
from hvnas.studies.ablation.study import Entry, Known, Part, Study, entries, known_of, stem_counts

OnStep = Callable[[int, str], None]

RUNS = 7
# A network that takes longer is timed less often: a table has many rows.
LONG_MS, FEW_RUNS = 500.0, 3
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a part's table.

    `match` is None where nothing was to be held equal. `judged` holds an estimate per scenario, `unseen` the
    same without the published ablation under test; both are empty where the part asks for none.
    """

    name: str
    arch: Arch
    is_base: bool
    note: str
    match: Match | None
    params: int
    macs: int
    peak_bytes: int
    stem_params: int
    stem_macs: int
    latency: LatencyEstimate | None
    measured: Measured | None
    judged: tuple[Judged, ...]
    unseen: tuple[Judged, ...]
    known: Known

    @property
    def is_equal(self) -> bool:
        """Whether the row is of the base's size, or nothing was to be made equal."""
        return self.match is None or self.match.ok


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """A part with its rows; `device` says whose latency it is, `unit` what the estimates count."""

    part: Part
    rows: tuple[Row, ...]
    device: Device | None
    said: str
    scenarios: tuple[str, ...]
    recipe: str
    unit: str
    assumed: tuple[str, ...]

    @property
    def base(self) -> Row:
        """The row that the others are compared with."""
        return next(row for row in self.rows if row.is_base)


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study with its tables; `meaning` says what the estimates are of where they are not ImageNet's."""

    study: Study
    parts: tuple[PartResult, ...]
    estimator: str
    meaning: str


def run_study(
    study: Study,
    *,
    device: str | None = None,
    scenario: str | None = None,
    estimator: str = "surrogate",
    seeds: int | None = None,
    on_step: OnStep | None = None,
) -> StudyResult:
    """Compute every part of a study.

    `device` and `scenario` stand in for those of the file; `seeds` is for an estimator that trains. Every
    name and path is looked up before anything long is done. `on_step` is told how many rows are done, and
    what comes next. Raises ValueError, one line, naming what is wrong.
    """
    judge = make_judge(estimator, seeds)
    jobs = [_Job.of(study, part, judge, device=device, scenario=scenario) for part in study.parts]
    results, done = [], 0
    for job in jobs:
        results.append(job.run(done, on_step))
        done += len(job.entries)
    return StudyResult(study=study, parts=tuple(results), estimator=estimator, meaning=judge.meaning)


def count_rows(study: Study) -> int:
    """How many rows the study's tables have. Raises ValueError for a network that cannot be made."""
    with refusing(study.where):
        return sum(len(entries(study, part)[0]) for part in study.parts)


@dataclass(frozen=True)
class _Job:
    """A part with all that it names looked up."""

    part: Part
    entries: tuple[Entry, ...]
    base: int
    device: Device
    host: Host | None
    judge: Judge
    without: Judge | None
    scenarios: tuple[str, ...]
    recipe: str

    @classmethod
    def of(cls, study: Study, part: Part, judge: Judge, *, device: str | None, scenario: str | None) -> _Job:
        from hvnas.accuracy.estimator import check_scenario
        from hvnas.ops.counting import list_macs_rules, list_params_rules
        from hvnas.train.recipes import load_recipe

        if scenario:
            check_scenario(scenario)
        scenarios = (scenario,) if scenario and part.scenarios else part.scenarios
        recipe = study.recipe(part.recipe)
        asked = load_device(device) if device else None
        with refusing(study.where):
            for rule, known in (("macs_rule", list_macs_rules()), ("params_rule", list_params_rules())):
                if getattr(part, rule) not in known:
                    raise ValueError(f"{part.name}: {rule}: must be one of {', '.join(known)}")
            for name in scenarios:
                check_scenario(name)
            load_recipe(recipe)
            found, base = entries(study, part)
            asked = asked or load_device(part.device)
            host = Host(part.backend) if part.measure else None
            without = without_studies(judge, part.evidence)
        return cls(
            part=part,
            entries=found,
            base=base,
            device=asked,
            host=host,
            judge=judge,
            without=without,
            scenarios=scenarios,
            recipe=recipe,
        )

    def run(self, done: int, on_step: OnStep | None) -> PartResult:
        """The part's table."""
        matches = self._matches()
        archs = [match.arch for match in matches]
        equal = np.array([match.ok for match in matches])
        if on_step:
            on_step(done, f"{self.part.name}: accuracy")
        judged, unit = self._judged(self.judge, archs, equal)
        unseen, _ = self._judged(self.without, archs, equal)
        rows = []
        for i, match_ in enumerate(matches):
            if on_step:
                on_step(done + i, f"{self.part.name}: {self.entries[i].name}")
            rows.append(self._row(i, match_, judged[i], unseen[i]))
        return PartResult(
            part=self.part,
            rows=tuple(rows),
            device=None if self.host else self.device,
            said=self.host.said if self.host else "",
            scenarios=self.scenarios,
            recipe=self.part.recipe,
            unit=unit,
            assumed=self.judge.estimator.assumptions(archs) if self.scenarios else (),
        )

    def _matches(self) -> list[Match]:
        """Every row's network, made equal to the base where the part says so."""
        if not self.part.equal:
            return [Match(entry.arch, "", {}) for entry in self.entries]
        target = self._quantities(self.entries[self.base].arch)
        return [
            match(entry.arch, target, measure=self._quantities, scale=self.part.scale)
            for entry in self.entries
        ]

    def _quantities(self, arch: Arch) -> Mapping[str, float]:
        program = arch.lower()
        found: dict[str, float] = {}
        for name in self.part.equal:
            if name == "params":
                found[name] = count_params(program, self.part.params_rule)
            elif name == "macs":
                found[name] = count_macs(program, self.part.macs_rule)
            else:
                found[name] = self.device.latency(program).ms
        return found

    def _judged(
        self, judge: Judge | None, archs: Sequence[Arch], equal: np.ndarray
    ) -> tuple[list[tuple[Judged, ...]], str]:
        """Each row's estimates, one per scenario, and their unit."""
        if judge is None or not self.scenarios:
            return [()] * len(archs), POINTS
        found = [judge.beliefs(archs, recipe=self.recipe, scenario=scenario) for scenario in self.scenarios]
        columns = [beliefs.judge(base=self.base, equal=equal) for beliefs in found]
        return list(zip(*columns, strict=True)), found[0].unit

    def _row(self, i: int, match_: Match, judged: tuple[Judged, ...], unseen: tuple[Judged, ...]) -> Row:
        entry = self.entries[i]
        program = match_.arch.lower()
        stem = stem_counts(match_.arch)
        return Row(
            name=entry.name,
            arch=match_.arch,
            is_base=i == self.base,
            note=entry.variant.note,
            match=match_ if self.part.equal else None,
            params=count_params(program, self.part.params_rule),
            macs=count_macs(program, self.part.macs_rule),
            peak_bytes=program.fused().peak_bytes,
            stem_params=stem[0],
            stem_macs=stem[1],
            latency=None if self.host else self.device.latency(program),
            measured=self.host.measure(match_.arch) if self.host else None,
            judged=judged,
            unseen=unseen,
            known=known_of(entry, self.part, self.device.name),
        )


@dataclass(frozen=True)
class Measured:
    """One network on this host at batch one.

    `ms` is the median of `n` runs, `spread` what their middle half spans; `memory` is by how many bytes the
    process grew while the network ran, its weights not counted, None where the system does not tell.
    """

    ms: float
    spread: float
    n: int
    memory: int | None


class Host:
    """A backend of `hvnas.latency.measure` on one thread, with the memory of the process watched."""

    def __init__(self, backend: str = "torch-cpu", *, threads: int = 1) -> None:
        """Raises ValueError as `make_backend`."""
        from hvnas.latency.measure.backends import make_backend
        from hvnas.latency.measure.sampling import host_cpu

        self.backend = make_backend(backend, threads=threads)
        runtime = self.backend.runtime
        counted = "1 thread" if threads == 1 else f"{threads} threads"
        self.said = (
            f"{host_cpu()}, {runtime.runtime} {runtime.runtime_version}, {counted}, {runtime.precision}, "
            f"batch 1, random weights; {runtime.clock}"
        )

    def measure(self, arch: Arch) -> Measured:
        """Times `arch` and watches its memory in the first runs."""
        sampler = self.backend.network(arch)
        times: list[float] = []
        memory = grown(lambda: times.extend(sampler(1)))
        runs = FEW_RUNS if times[0] > LONG_MS else RUNS
        times.extend(sampler(runs - 1))
        low, median, high = np.quantile(times, [0.25, 0.5, 0.75])
        return Measured(float(median), float(high - low), runs, memory)


def grown(job: Callable[[], object]) -> int | None:
    """Bytes by which the process's memory grew at its peak during `job`; None where /proc does not tell."""
    gc.collect()
    with suppress(OSError, AttributeError):  # what was freed before must not hide what is used now
        ctypes.CDLL(None).malloc_trim(0)
    try:
        RESET.write_text("5", encoding="ascii")  # proc(5): the peak starts again from here
        before = _status("VmRSS")
    except OSError:
        job()
        return None
    job()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    raise OSError(f"{STATUS}: no {name}")
