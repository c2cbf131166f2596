"""A new chip of a family of accelerators, from a few measured networks.

What an op costs relative to others is shared in a family. A family's file is that of a device, its typical
chip; its rows are the times of networks on every chip, a cohort of rows each. A chip has four numbers of its
own, factors on the costs of the typical one: of calls (with the fixed cost), of weights, of arithmetic and of
activations. They are fitted as in hvnas.latency.calibration.recalibrate, with a prior of `STRENGTH`.

What the costs miss of a network they miss on every chip. A network's *offset* is the mean over chips of
ln(measured / predicted), whole chips being faster or slower left aside. A network that other chips have timed
is predicted by the costs and its offset, and tells more of a new chip than one of which nothing is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hvnas._files import data_dir
from hvnas._names import WrongField, brief, unknown_name, validated
from hvnas._records import Row, read_csv
from hvnas.arch import load_arch
from hvnas.latency.calibration.recalibrate import (
    AFTER,
    BEFORE,
    COHORT,
    Floats,
    Recalibrated,
    device_info,
    fit_multipliers,
    scaled,
    shares_of,
    times,
)
from hvnas.latency.columns import clean, column
from hvnas.latency.device import Device, LatencyArrays
from hvnas.latency.model import LinearModel
from hvnas.latency.registry import read_device
from hvnas.latency.remote.measurements import (
    ModelMeasurement,
    family_of,
    network_of,
    read_measurements,
)
from hvnas.latency.remote.suite import COLUMNS
from hvnas.latency.rows import LARGEST_SIDE, SAME_WORK, SCALED, Measurement
from hvnas.latency.scores import scores
from hvnas.ops import Column, Program, evaluate_columns

FOLDER = "families"
AT_LEAST = 3
GROUPS = ("calls", "weights", "arithmetic", "activations")
# Errors in ln(ms), roughly: of a network that other chips have timed, and of one of which nothing is known.
KNOWN_SD, UNKNOWN_SD = 0.05, 0.12
# How far a chip's four factors lie apart, roughly; how far whole chips do is next to unknown.
FACTOR_SD, CHIP_SD = 0.15, 1.0
STRENGTH = (KNOWN_SD / FACTOR_SD) ** 2


@dataclass(frozen=True)
class KnownNetwork:
    """A network that chips of a family have timed.

    `values` are the family's columns, `offset` is ln(measured / predicted) on the typical chip;
    `chips` says on how many it was timed.
    """

    name: str
    model: str
    family: str
    resolution: int
    values: Floats
    offset: float
    chips: int
    inside: bool
    row: Measurement


@dataclass(frozen=True)
class Timed:
    """A network measured on a new chip: milliseconds of one image, its columns, and who it is if known."""

    name: str
    family: str
    ms: float
    values: Floats
    known: KnownNetwork | None
    row: ModelMeasurement

    @property
    def offset(self) -> float:
        """ln(measured / predicted) on other chips; 0 where none has timed it."""
        return self.known.offset if self.known else 0.0

    def in_milliseconds(self, factor: float) -> Timed:
        """The same, its time multiplied by `factor`."""
        return dataclasses.replace(self, ms=self.ms * factor)

    @property
    def weight(self) -> float:
        """What its time counts beside that of a network that is known."""
        return 1.0 if self.known else (KNOWN_SD / UNKNOWN_SD) ** 2


@dataclass(frozen=True)
class Expected:
    """Mean error in percent of a chip with so many networks timed: the median, and the range, of chips.

    Of networks that other chips have timed (`known`), of families that none has (`unseen`), and of these
    where the networks timed are not known either (`own`).
    """

    timed: int
    known: float
    known_range: tuple[float, float]
    unseen: float
    unseen_range: tuple[float, float]
    own: float
    own_range: tuple[float, float]


@dataclass(frozen=True)
class Family:
    """A family of chips: its typical one, and the networks that its chips have timed.

    `columns` are those of its rows, the device's among them; all `values` here are of these columns.
    `expected` is what its file states of new chips.
    """

    device: Device
    model: LinearModel
    columns: tuple[str, ...]
    chips: tuple[str, ...]
    networks: tuple[KnownNetwork, ...]
    expected: tuple[Expected, ...] = ()

    def known(self, values: Floats) -> KnownNetwork | None:
        """The network that is the same work as one with the columns `values`, if one of these is."""
        places = [self.columns.index(name) for name in SAME_WORK]
        work = np.round(values[places])
        return next((n for n in self.networks if np.array_equal(np.round(n.values[places]), work)), None)

    def named(self, name: str) -> KnownNetwork | None:
        """The network of a name, of the source's or the one that it is rebuilt by."""
        return next((n for n in self.networks if name in (n.name, n.model)), None)

    def on_typical_chip(self, values: Floats) -> LatencyArrays:
        """Latencies and gate of n networks on the typical chip, of `values` [n, columns]."""
        return self.device.latency_columns(_picked(values, self.columns, self.device.columns))

    def ratio(self, timed: Timed) -> float:
        """A measured time over what the typical chip would take."""
        return timed.ms / float(self.on_typical_chip(timed.values[None]).ms[0] * np.exp(timed.offset))

    def for_model(self, values: Floats) -> Floats:
        """The model's columns among `values` [n, columns]."""
        return _picked(values, self.columns, self.model.columns)

    def values_of(self, program: Program) -> Floats:
        """The columns of a network, [columns]."""
        return clean(evaluate_columns([column(name) for name in self.columns], program))


def _picked(values: Floats, names: Sequence[str], wanted: Sequence[Column]) -> Floats:
    return values[:, [names.index(c.name) for c in wanted]]


def list_families() -> tuple[str, ...]:
    """List the families of accelerators there are."""
    return tuple(sorted(path.stem for path in (data_dir("latency_tables") / FOLDER).glob("*.yaml")))


def load_family(name: str | Path) -> Family:
    """Load a family by name, or from the path of its YAML file.

    Raises ValueError, one line: the names there are, or the file and what is wrong with it.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if str(name) not in list_families():
            raise ValueError(unknown_name("family", str(name), list_families()))
        path = data_dir("latency_tables") / FOLDER / f"{name}.yaml"
    device = read_device(path)
    if not isinstance(device.model, LinearModel):
        raise ValueError(f"{path}: is a table of ops; a family is a sum of terms and the times of its chips")
    if missing := [name for name in SAME_WORK if name not in device.rows[0].values]:
        raise ValueError(f"{path}: rows: the column {missing[0]} is missing; networks are told apart by it")
    if len({row.cohort for row in device.rows}) < 2:
        raise ValueError(f"{path}: rows: are of one chip; a family has a cohort of rows for each of several")
    return dataclasses.replace(make_family(device), expected=_expected(device, path))


def _expected(device: Device, path: Path) -> tuple[Expected, ...]:
    try:
        return validated(tuple[Expected, ...], device.report.get("new_chip", []))
    except WrongField as wrong:
        where = ".".join(("error.new_chip", *wrong.place))
        raise ValueError(brief(f"{path}: {where}: {wrong.said}")) from None


@dataclass(frozen=True)
class Times:
    """Times of networks on the chips of a family: ln(ms) [chips, n], NaN where a chip has not timed one.

    `firsts` holds a row of each network, `values` [n, columns] its columns.
    """

    chips: tuple[str, ...]
    firsts: tuple[Measurement, ...]
    columns: tuple[str, ...]
    values: Floats
    log_ms: Floats

    @staticmethod
    def of(rows: Sequence[Measurement]) -> Times:
        """The times in the rows of a family, in their order."""
        chips = tuple(dict.fromkeys(row.cohort for row in rows))
        firsts: dict[tuple[str, int], Measurement] = {}
        for row in rows:
            firsts.setdefault((row.network, row.resolution), row)
        keys = {key: place for place, key in enumerate(firsts)}
        log_ms = np.full((len(chips), len(keys)), np.nan)
        for row in rows:
            log_ms[chips.index(row.cohort), keys[row.network, row.resolution]] = np.log(row.ms)
        columns = tuple(rows[0].values)
        values = np.array([[row.values[name] for name in columns] for row in firsts.values()])
        return Times(chips, tuple(firsts.values()), columns, values, log_ms)


def make_family(device: Device) -> Family:
    """The family whose typical chip `device` is, its rows those of several chips."""
    assert isinstance(device.model, LinearModel)
    t = Times.of(device.rows)
    arrays = device.latency_columns(_picked(t.values, t.columns, device.columns))
    levels, _ = centred(t.log_ms[:, arrays.inside])
    offsets = np.nanmean(t.log_ms - levels[:, None], axis=0) - np.log(arrays.ms)
    networks = [
        KnownNetwork(
            name=row.network,
            model=row.model,
            family=row.family,
            resolution=row.resolution,
            values=t.values[i],
            offset=float(offsets[i]),
            chips=int(np.isfinite(t.log_ms[:, i]).sum()),
            inside=bool(arrays.inside[i]),
            row=row,
        )
        for i, row in enumerate(t.firsts)
    ]
    return Family(device, device.model, t.columns, t.chips, tuple(networks))


def centred(log_ms: Floats) -> tuple[Floats, Floats]:
    """Levels of chips [chips], which sum to 0, and of networks [n], that sum to `log_ms` [chips, n] best.

    Not every chip has timed every network: NaN where it has not.
    """
    levels = np.zeros(len(log_ms))
    for _ in range(50):
        typical = np.nanmean(log_ms - levels[:, None], axis=0)
        levels = np.nanmean(log_ms - typical, axis=1)
        levels -= levels.mean()
    return levels, np.nanmean(log_ms - levels[:, None], axis=0)


def group_of(column: str) -> str:
    """The one of `GROUPS` that a column's cost belongs to."""
    if column.endswith("macs"):
        return "arithmetic"
    if "weight" in column:
        return "weights"
    return "calls" if column in ("ops", "convs", "products", "matrices") else "activations"


def chip_model(
    typical: LinearModel, values: Floats, ms: Floats, *, offsets: Floats, weights: Floats | None = None
) -> LinearModel:
    """The costs of a chip, from the typical one's and networks measured on it.

    `values` [n, typical.columns] and `ms` [n] are the networks', `offsets` [n] what is known of them from
    other chips, `weights` [n] what each counts.
    """
    weights = np.ones(len(ms)) if weights is None else weights
    level = np.average(np.log(ms / typical.predict(values)) - offsets, weights=weights)
    model = times(typical, float(np.exp(level)))
    member = _members(model)
    shares = shares_of(model, values, ms) * np.exp(offsets)[:, None]
    factors = dict(zip(GROUPS, fit_multipliers(shares @ member, STRENGTH, weights).tolist(), strict=True))
    return LinearModel(
        model.fixed_ms * factors["calls"],
        tuple(scaled(term, factors[group_of(term.column)]) for term in model.terms),
        tuple(scaled(term, factors[group_of(term.column)]) for term in model.floor),
    )


def _members(model: LinearModel) -> Floats:
    """Which parameter is of which group, [1 + terms, groups]."""
    groups = ["calls", *(group_of(term.column) for term in model.terms)]
    return np.array([[float(group == name) for name in GROUPS] for group in groups])


def choose_networks(
    family: Family, values: Floats, known: Sequence[bool], *, most: int, population: Floats | None = None
) -> list[int]:
    """Which networks to time first, the most informative one first; at most `most`.

    `values` [n, columns] are the candidates', `known` [n] whether other chips have timed them.
    Each is the one after which the four factors, and so the times of `population` [m, columns] (default: the
    candidates), are least uncertain: the posterior variance of ln(ms), summed over the population.
    """
    shares = _relative(family, values)
    others = shares if population is None else _relative(family, population)
    noise = np.where(known, KNOWN_SD, UNKNOWN_SD) ** 2
    covariance = CHIP_SD**2 + FACTOR_SD**2 * np.eye(len(GROUPS))
    chosen: list[int] = []
    for _ in range(min(most, len(shares))):
        along = shares @ covariance
        gained = along / np.sqrt(noise + (along * shares).sum(axis=1))[:, None]
        less = ((others @ gained.T) ** 2).sum(axis=0)
        less[chosen] = -1.0
        best = int(less.argmax())
        chosen.append(best)
        covariance = covariance - np.outer(gained[best], gained[best])
    return chosen


def _relative(family: Family, values: Floats) -> Floats:
    """What each group takes of the typical chip's time, [n, groups]."""
    columns = family.for_model(values)
    ms = family.model.predict(columns)
    shares: Floats = shares_of(family.model, columns, ms) @ _members(family.model)
    return shares


@dataclass(frozen=True)
class Candidate:
    """A network that may be timed on a new chip, and who it is if other chips have timed it."""

    name: str
    resolution: int
    values: Floats
    known: KnownNetwork | None


def candidates(family: Family, suite: str | Path | None = None) -> list[Candidate]:
    """The networks in the gate that may be timed: those that other chips have, or those of a `suite`.

    `suite` is the ``suite.csv`` of an exported suite. Raises ValueError, one line, where it or a network in
    it does not load, or none of its networks lies in the gate.
    """
    if suite is None:
        return [Candidate(n.name, n.resolution, n.values, n) for n in family.networks if n.inside]
    path = Path(suite)
    found = [_candidate(family, row, path) for row in read_csv(path, COLUMNS) if row.cells["kind"] == "model"]
    inside = [c for c in found if family.on_typical_chip(c.values[None]).inside[0]]
    if not inside:
        raise ValueError(f"{path}: no whole network in it lies in the gate of {family.device.name}")
    return inside


def _candidate(family: Family, row: Row, path: Path) -> Candidate:
    key, resolution = row.text("key"), row.whole("resolution", most=LARGEST_SIDE)
    try:
        arch = load_arch(path.parent / key if Path(key).suffix in (".yaml", ".yml") else key)
        values = family.values_of(arch.with_(resolution=resolution).lower())
    except ValueError as error:
        raise ValueError(brief(f"{row.where}: key: {error}")) from None
    return Candidate(key, resolution, values, family.known(values))


def most_informative(family: Family, networks: Sequence[Candidate], *, most: int) -> list[Candidate]:
    """Which of `networks` to time first, at most `most`; what is to be known are all of the family's."""
    values = np.stack([c.values for c in networks])
    population = np.stack([n.values for n in family.networks if n.inside])
    chosen = choose_networks(
        family, values, [c.known is not None for c in networks], most=most, population=population
    )
    return [networks[i] for i in chosen]


def read_timed(path: str | Path, family: Family) -> tuple[Timed, ...]:
    """The whole networks of a measurement file, in its order.

    A key is as in hvnas.latency.remote.measurements, or the name of a network that the family's chips have
    timed. Raises ValueError, one line, where the file or a network in it does not load, or where no row is of
    a whole network.
    """
    path = Path(path)
    rows = [row for row in read_measurements(path) if row.kind == "model"]
    if not rows:
        raise ValueError(f"{path}: no row is of a whole network; there must be rows of the kind model")
    return tuple(_timed(row, path, family) for row in rows)


def _timed(row: ModelMeasurement, path: Path, family: Family) -> Timed:
    known = family.named(row.key)
    if known is not None:
        if row.resolution != known.resolution:
            raise ValueError(
                brief(f"{path}: {row.key}: resolution: is known at {known.resolution}, got {row.resolution}")
            )
        return Timed(known.name, known.family, row.ms / row.batch, known.values, known, row)
    network = network_of(row, path)
    values = family.values_of(network.program)
    same = family.known(values)
    group = same.family if same else family_of(network.arch)
    return Timed(network.name, group, network.ms, values, same, row)


def recalibrate_in_family(family: Family, timed: Sequence[Timed], *, name: str) -> Recalibrated:
    """A device of `family` from networks measured on it, at least three of them in the gate.

    Its interval is the family's, of networks whose family no chip has timed; its rows are what was measured,
    and, marked `SCALED`, the other networks that the family knows. Raises ValueError where fewer than three
    networks lie in the gate.
    """
    values = np.stack([t.values for t in timed])
    typical = family.on_typical_chip(values)
    fitted = [t for t, ok in zip(timed, typical.inside, strict=True) if ok]
    outside = tuple(t.name for t, ok in zip(timed, typical.inside, strict=True) if not ok)
    if len(fitted) < AT_LEAST:
        raise ValueError(
            f"a device of the family {family.device.name} needs at least {AT_LEAST} measured networks in its "
            f"gate, got {len(fitted)}; measure more"
        )
    ms = np.array([t.ms for t in fitted])
    before = typical.ms[typical.inside] * np.exp([t.offset for t in fitted])
    after = np.array([_left_out(family, fitted, index) for index in range(len(fitted))])
    model = _fit(family, fitted)
    report: dict[str, Any] = {
        "cohort": COHORT,
        "base": {"name": family.device.name, "hash": family.device.hash},
        "networks": len(timed),
        "networks_in_gate": len(fitted),
        "networks_known": sum(t.known is not None for t in fitted),
        AFTER: {"in_gate": scores(after, ms)},
        BEFORE: {"in_gate": scores(before, ms)},
    }
    device = dataclasses.replace(
        family.device,
        name=name,
        hash="",
        info=device_info(family.device, [t.row for t in fitted]),
        model=model,
        report=report,
        rows=_rows(family, model, timed),
    )
    return Recalibrated(device, tuple(t.name for t in fitted), outside, ms, before, after)


def _fit(family: Family, timed: Sequence[Timed]) -> LinearModel:
    return chip_model(
        family.model,
        family.for_model(np.stack([t.values for t in timed])),
        np.array([t.ms for t in timed]),
        offsets=np.array([t.offset for t in timed]),
        weights=np.array([t.weight for t in timed]),
    )


def _left_out(family: Family, timed: Sequence[Timed], index: int) -> float:
    """Milliseconds of a network, from the others."""
    model = _fit(family, [*timed[:index], *timed[index + 1 :]])
    here = timed[index]
    return float(model.predict(family.for_model(here.values[None]))[0] * np.exp(here.offset))


def _rows(family: Family, model: LinearModel, timed: Sequence[Timed]) -> tuple[Measurement, ...]:
    own = [
        Measurement(
            network=t.name,
            model=t.row.key,
            family=t.family,
            resolution=t.row.resolution,
            ms=t.ms,
            cohort=COHORT,
            protocol=t.row.protocol,
            device=t.row.device,
            source=t.row.source,
            values=dict(zip(family.columns, t.values.tolist(), strict=True)),
        )
        for t in timed
    ]
    measured = {id(t.known) for t in timed}
    left = [n for n in family.networks if id(n) not in measured]
    values = np.array([n.values for n in left]).reshape(len(left), len(family.columns))
    ms = model.predict(family.for_model(values)) * np.exp([n.offset for n in left])
    device = timed[0].row.device
    return (*own, *(_scaled_row(family, n, device, t) for n, t in zip(left, ms.tolist(), strict=True)))


def _scaled_row(family: Family, network: KnownNetwork, device: str, ms: float) -> Measurement:
    said = f"measured on {network.chips} other chips of the family {family.device.name}, scaled to this one"
    return dataclasses.replace(network.row, ms=ms, cohort=SCALED, protocol=said, device=device)
