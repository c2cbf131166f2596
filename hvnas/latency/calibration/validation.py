"""What a device says against what was measured: the report that its file keeps, and its figure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hvnas.arch import Arch
from hvnas.latency.device import Device, LatencyDevice
from hvnas.latency.files import store_in_error
from hvnas.latency.measure.plan import macs_range
from hvnas.latency.plots import Points, save_scatter
from hvnas.latency.scores import Floats, scores
from hvnas.ops import Program
from hvnas.space.space import Space

SECTION = "validation"
# Sets what is drawn here apart from what a table is built on with the same seed.
STREAM = 0x76616C
# What a backend must have in common with the table that it is to check.
SAME_RUNTIME = ("runtime", "compute_unit", "precision", "threads")
SIZES = 3
AT_LEAST_IN_BIN = 3
# Two networks with equal columns are the same work, whatever their names.
COLUMNS = ("macs", "weight_bytes", "act_bytes", "params")


def report(
    predicted: ArrayLike,
    measured: ArrayLike,
    families: Sequence[str],
    macs: ArrayLike,
    noise: Sequence[tuple[float, float]] | None = None,
    *,
    inside: ArrayLike | None = None,
    in_table: ArrayLike | None = None,
) -> dict[str, Any]:
    """Plain data: how far `predicted` lies from `measured` (milliseconds [n]).

    `networks`; `overall` (`hvnas.latency.scores.scores`); `in_gate`, where `inside` [n] says that not all
    are; `not_in_table`, where `in_table` [n] says that the device knows times of some (either is None where
    that leaves none); `one_factor`: the median of measured / predicted, and the MAPE that is left once it is
    multiplied in; `by_family`;
    `by_size`, thirds in MACs; `noise_floor`: of pairs of measurements of one network, the mean difference
    in percent of their mean, None where `noise` has none. Raises ValueError as `scores`.
    """
    ms, true = np.asarray(predicted, float), np.asarray(measured, float)
    found: dict[str, Any] = {"networks": len(true), "overall": scores(ms, true)}
    parts = {"in_gate": inside, "not_in_table": None if in_table is None else ~np.asarray(in_table)}
    for name, chosen in parts.items():
        if chosen is not None and not np.all(chosen):
            found[name] = _scores_of(ms, true, np.asarray(chosen))
    factor = float(np.median(true / ms))
    found["one_factor"] = {"factor": round(factor, 4), "mape": scores(ms * factor, true)["mape"]}
    order = np.argsort(np.asarray(macs, float), kind="stable")
    found["by_family"] = _by(np.asarray(families, str), ms, true)
    found["by_size"] = _by(_sizes(np.asarray(macs, float)[order]), ms[order], true[order])
    found["noise_floor"] = noise_floor(noise)
    return found


def noise_floor(pairs: Sequence[tuple[float, float]] | None) -> dict[str, Any] | None:
    """How far two measurements of one network differ, in percent of their mean; no fit can be closer."""
    if not pairs:
        return None
    first, second = np.array(pairs, float).T
    gaps = 200 * np.abs(first - second) / (first + second)
    return {"pairs": len(pairs), "mape": round(float(gaps.mean()), 2), "max": round(float(gaps.max()), 2)}


def store(report: Mapping[str, Any], path: str | Path) -> None:
    """Put a report into the ``error:`` section of a device file, as `validation`; one step, all else kept.

    Raises ValueError where the file is no device file, OSError where it cannot be written.
    """
    store_in_error(path, SECTION, report)


def save_plot(
    names: Sequence[str],
    predicted: Sequence[float],
    measured: Sequence[float],
    families: Sequence[str],
    path: str | Path,
    *,
    title: str,
) -> None:
    """Predicted against measured, a colour for each family. Raises ValueError as `check_target`."""
    rows = list(zip(families, names, predicted, measured, strict=True))
    points = []
    for family in dict.fromkeys(families):
        here = [row for row in rows if row[0] == family]
        points.append(Points(family, [r[1] for r in here], [r[2] for r in here], [r[3] for r in here]))
    save_scatter(points, path, title=title)


def held_out(
    space: Space,
    n: int,
    *,
    seed: int,
    known: Collection[str] = (),
) -> list[Arch]:
    """`n` different members that no table was built on, of the sizes that tables are of, named by hash.

    The generator's stream is apart from those that tables are built with, whatever the seed; members whose
    hash is in `known` are left out besides. Raises ValueError where the space has too few.
    """
    rng, macs = np.random.default_rng([STREAM, seed]), macs_range(space)
    found: dict[str, Arch] = {}
    for _ in range(20):
        for row in space.sample(n, rng=rng, macs=macs):
            arch = space.decode(row)
            if arch.hash not in known and len(found) < n:
                found.setdefault(arch.hash, arch.with_(name=f"held_out_{arch.hash}"))
        if len(found) == n:
            return list(found.values())
    raise ValueError(f"{space.name} holds no {n} networks that the device was not built on; ask for fewer")


def device_file(name: str | Path) -> Path | None:
    """The YAML file behind a device's name or path; None for one that another package provides."""
    from hvnas._files import data_dir

    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = data_dir("latency_tables") / f"{name}.yaml"
    return path if path.is_file() else None


def check_host(device: Device, *, remedy: str = "give times measured there with --measurements") -> None:
    """Raises ValueError, ending in `remedy`, where a measured device's table is of another machine."""
    from hvnas.latency.measure.sampling import host_cpu

    if device.info.device != (here := host_cpu()):
        raise ValueError(
            f"{device.name}: measured on {device.info.device}, while this host is {here}; {remedy}"
        )


def backend_of(device: Device, *, remedy: str = "give measured times of its networks instead") -> str:
    """The backend of this host that times as a measured device's table was timed.

    Raises ValueError, ending in `remedy`, where the device was not measured by one of the backends there are.
    """
    from hvnas.latency.measure.backends import list_backends, make_backend

    info = device.info
    for name in list_backends():
        try:
            runtime = make_backend(name, threads=info.threads or 1).runtime
        except ValueError:  # not on this host
            continue
        if all(getattr(runtime, field) == getattr(info, field) for field in SAME_RUNTIME):
            return name
    raise ValueError(
        f"{device.name}: no backend of this host measures as its table was measured ({info.runtime}, "
        f"{info.compute_unit}, {info.precision}, {info.threads} threads); {remedy}"
    )


def host_backend(device: LatencyDevice, *, remedy: str) -> str:
    """The backend of this host that times as the table of `device` was timed.

    Raises ValueError, one line, for a device that is not this host; it ends in `remedy`.
    """
    from hvnas.latency.tables.op_model import PARTIAL

    if not isinstance(device, Device) or device.info.method != "measured":
        method = "" if device.info is None else f"{device.info.method}, "
        raise ValueError(f"{device.name} is {method}not a table of this host; {remedy}")
    if PARTIAL in device.rules:
        raise ValueError(f"{device.name} is not complete; run hvnas latency measure again to finish it")
    check_host(device, remedy=remedy)
    return backend_of(device, remedy=remedy)


def known_hashes(path: str | Path | None) -> frozenset[str]:
    """Hashes of the whole networks that the table at `path` was fitted to; none where it lists none.

    Raises ValueError where that list does not load.
    """
    from hvnas.latency.tables.op_rows import NETWORK, read_whole_rows

    listed = None if path is None else Path(path).with_suffix(".whole.csv")
    if listed is None or not listed.is_file():
        return frozenset()
    return frozenset(row.key for row in read_whole_rows(listed) if row.kind == NETWORK)


def is_in_table(device: Device, programs: Sequence[Program]) -> NDArray[np.bool_]:
    """Whether each network is among the whole networks in the device's own table, by the work that it is."""
    from hvnas.latency.columns import clean, column
    from hvnas.ops import evaluate_columns

    names = [name for name in COLUMNS if device.rows and name in device.rows[0].values]
    if len(names) < len(COLUMNS):
        return np.zeros(len(programs), bool)
    columns = [column(name) for name in names]
    seen = {tuple(round(row.values[name]) for name in names) for row in device.rows}
    works = (clean(evaluate_columns(columns, program)) for program in programs)
    return np.array([tuple(round(value) for value in work) in seen for work in works], bool)


def _scores_of(ms: Floats, true: Floats, chosen: NDArray[np.bool_]) -> dict[str, Any] | None:
    return scores(ms[chosen], true[chosen]) if chosen.any() else None


def _by(groups: NDArray[np.str_], ms: Floats, true: Floats) -> dict[str, Any]:
    names = dict.fromkeys(groups.tolist())
    return {name: scores(ms[groups == name], true[groups == name]) for name in names}


def _sizes(macs: Floats) -> NDArray[np.str_]:
    """The third that each of ascending `macs` lies in; fewer parts where a third would be next to nothing."""
    bins = max(1, min(SIZES, len(macs) // AT_LEAST_IN_BIN))
    labels: list[str] = []
    for part in np.array_split(macs / 1e9, bins):
        labels += [f"{part[0]:.2f} to {part[-1]:.2f} G MACs"] * len(part)
    return np.array(labels)
