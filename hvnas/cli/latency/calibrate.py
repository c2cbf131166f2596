"""``hvnas latency calibrate``: a device of one's own from a calibrated one and a few measurements."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvnas import _numbers as numbers
from hvnas.cli._failure import Failure
from hvnas.cli._screen import JsonOption, Screen, check_output, print_json, writing

if TYPE_CHECKING:
    from hvnas.latency import Device
    from hvnas.latency.calibration.recalibrate import Recalibrated
    from hvnas.latency.remote.measurements import ModelMeasurement

Unit = Literal["us", "ms", "s"] | None
# Networks that are named to be timed first.
_LISTED = 20

EXAMPLE = "hvnas latency calibrate --device iphone12 --measurements ms.csv --out my.yaml"


def run(
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="The calibrated device to start from: see hvnas devices."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Or the family of chips that yours belongs to, such as snapdragon. Without --measurements: "
            "what error to expect, and which networks to time first.",
        ),
    ] = None,
    measurements: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A CSV of measured times of whole networks: at least 5, in a family 3."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="NAME.yaml", help="The device file to write, with a CSV beside it.")
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A suite.csv to choose from what to time first in a family."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing device.")] = False,
    force_protocol: Annotated[
        bool,
        typer.Option("--force-protocol", help="Accept another compute unit, precision, batch or threads."),
    ] = False,
    unit: Annotated[
        Unit,
        typer.Option(help="Unit of the times. Default: ms; refused where that makes no plausible device."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a device to your own measurements.

    Refits the parameters of a calibrated device to networks that you measured on yours, keeping them near the
    old values, and shows the error before and after, each network left out of its own fit. If the error does
    not fall, the device is written with a warning. Use it with --device NAME.yaml. With --family, a chip has
    four numbers of its own, and networks that other chips have timed tell most of them.
    """
    _check_start(device, family, measurements, suite)
    if measurements is None:
        _refuse_unused(out=out is not None, force=force, force_protocol=force_protocol, unit=unit is not None)
    if family is not None and measurements is None:
        _plan(family, suite, as_json=as_json)
        return
    if measurements is None or out is None:
        missing = "--out NAME.yaml" if measurements else "--measurements FILE"
        raise Failure(f"give {missing} as well: what was measured, and the device file to write")
    _check_target(out, measurements, force=force)
    if family is not None:
        base, made = _made_in_family(family, measurements, out, unit, force_protocol=force_protocol)
    else:
        base, made = _made(str(device), measurements, out, unit, force_protocol=force_protocol)
    _write(base, made, out, as_json=as_json)


def _check_start(
    device: str | None, family: str | None, measurements: Path | None, suite: Path | None
) -> None:
    if suite is not None and (family is None or measurements is not None):
        raise Failure("--suite chooses what to time first: give --family with it, and no --measurements")
    if (device is None) == (family is None):
        raise Failure("give what to start from as either --device or --family")


def _refuse_unused(**given: bool) -> None:
    used = [f"--{name.replace('_', '-')}" for name, there in given.items() if there]
    if used:
        raise Failure(
            f"{used[0]} is for what was measured: give --measurements FILE as well, or leave it out"
        )


def _write(base: Device, made: Recalibrated, out: Path, *, as_json: bool) -> None:
    from hvnas.latency.files import write_device

    with writing(out):
        write_device(made.device, out)
    if as_json:
        print_json(_facts(base, made, out))
    else:
        _print(Screen(), base, made, out)
    if not made.improved:
        Screen(errors=True).line(
            f"hvnas: warning: the refit lowers no error of left-out networks; {base.name} does as well"
        )


def _made(
    device: str, measurements: Path, out: Path, unit: Unit, *, force_protocol: bool
) -> tuple[Device, Recalibrated]:
    from hvnas.latency import load_device
    from hvnas.latency.calibration.recalibrate import check_unit, in_milliseconds, recalibrate
    from hvnas.latency.remote.measurements import read_models

    base = load_device(device)
    models = read_models(measurements)
    if not force_protocol:
        _check_protocol(base, models[0].row, measurements)
    try:
        if unit is None:
            check_unit(base, models)
        return base, recalibrate(base, in_milliseconds(models, unit or "ms"), name=out.stem)
    except ValueError as error:
        raise Failure(f"{measurements}: {error}") from None


def _made_in_family(
    name: str, measurements: Path, out: Path, unit: Unit, *, force_protocol: bool
) -> tuple[Device, Recalibrated]:
    from hvnas.latency.calibration.family import load_family, read_timed, recalibrate_in_family
    from hvnas.latency.calibration.recalibrate import UNITS, refuse_unit

    family = load_family(name)
    timed = [t.in_milliseconds(UNITS[unit or "ms"]) for t in read_timed(measurements, family)]
    if not force_protocol:
        _check_protocol(family.device, timed[0].row, measurements)
    try:
        if unit is None:
            refuse_unit(family.device, [family.ratio(t) for t in timed])
        return family.device, recalibrate_in_family(family, timed, name=out.stem)
    except ValueError as error:
        raise Failure(f"{measurements}: {error}") from None


def _check_protocol(base: Device, row: ModelMeasurement, measurements: Path) -> None:
    from hvnas.latency.calibration.recalibrate import check_protocol

    try:
        check_protocol(base, row)
    except ValueError as error:
        raise Failure(f"{measurements}: {error}, or give --force-protocol") from None


def _plan(name: str, suite: Path | None, *, as_json: bool) -> None:
    """Say what error to expect of a new chip, and which networks to time first."""
    from hvnas.latency.calibration.family import candidates, load_family, most_informative

    family = load_family(name)
    first = most_informative(family, candidates(family, suite), most=_LISTED)
    facts = [
        {"network": c.name, "resolution": c.resolution, "known": c.known.model if c.known else None}
        for c in first
    ]
    if as_json:
        expected = [asdict(each) for each in family.expected]
        print_json({"family": name, "chips": list(family.chips), "expected": expected, "time_first": facts})
        return
    screen = Screen()
    screen.line(f"{name}: {len(family.chips)} chips", style="bold")
    screen.heading("Mean error to expect of a new chip: the median, and the range, of each chip left out")
    screen.table(
        (
            ">networks timed",
            ">of known networks",
            ">of unseen families",
            ">the same, from networks not known",
        ),
        [
            (
                e.timed,
                _error(e.known, e.known_range),
                _error(e.unseen, e.unseen_range),
                _error(e.own, e.own_range),
            )
            for e in family.expected
        ],
    )
    screen.line("  known: other chips have timed it; unseen: no chip has timed any of its family")
    screen.heading("Networks to time first, the most informative one first")
    screen.table(
        ("", "network", ">pixels", "known as"),
        [(i, f["network"], f["resolution"], f["known"]) for i, f in enumerate(facts, 1)],
    )


def _error(median: float, limits: tuple[float, float]) -> str:
    return f"{median:.1f} % ({limits[0]:.1f}–{limits[1]:.1f})"


def _check_target(out: Path, measurements: Path, *, force: bool) -> None:
    if out.suffix not in (".yaml", ".yml"):
        raise Failure(f"{out}: a device file must end in .yaml")
    check_output(out)
    if out.with_suffix(".csv").resolve() == measurements.resolve():
        raise Failure(f"{out}: its rows would replace {measurements}; choose another name")
    for path in (out, out.with_suffix(".csv")):
        if path.exists() and not force:
            raise Failure(f"{path}: already exists; choose another name, or replace it with --force")


def _parameters(device: Device) -> dict[str, float]:
    """The fixed milliseconds, and those per million units of each term."""
    model: Any = device.model
    return {"fixed_ms": model.fixed_ms, **{term.column: term.ms_per_mega for term in model.terms}}


def _facts(base: Device, made: Recalibrated, out: Path) -> dict[str, Any]:
    from hvnas.latency.calibration.recalibrate import AFTER, BEFORE

    error = made.device.inside_error
    return {
        "device": str(out),
        "rows": str(out.with_suffix(".csv")),
        "base": base.name,
        "networks": len(made.measured),
        "outside": list(made.outside),
        "improved": made.improved,
        "error_before": made.device.report[BEFORE]["in_gate"],
        "error_after": made.device.report[AFTER]["in_gate"],
        "parameters_before": _parameters(base),
        "parameters_after": _parameters(made.device),
        "interval": {"df": error.df, "loc": error.loc, "scale": error.scale},
        "models": [
            {"name": name, "measured": float(t), "before": float(b), "after": float(a)}
            for name, t, b, a in zip(made.names, made.measured, made.before, made.after, strict=True)
        ],
    }


def _print(screen: Screen, base: Device, made: Recalibrated, out: Path) -> None:
    from hvnas.latency.calibration.recalibrate import AFTER, BEFORE

    screen.line(f"{base.name} refitted to {len(made.measured)} measured networks", style="bold")
    screen.heading("Networks, each predicted by a fit to the others")
    screen.table(
        ("network", ">measured ms", f">{base.name}", ">refitted"),
        [
            (name, numbers.ms(t), numbers.ms(b), numbers.ms(a))
            for name, t, b, a in zip(made.names, made.measured, made.before, made.after, strict=True)
        ],
    )
    if made.outside:
        screen.line(f"  not fitted, outside the gate of {base.name}: {', '.join(made.outside)}")
    screen.heading("Error, each network left out of the fit")
    report = made.device.report
    screen.table(
        ("", ">mean", ">bias", ">p90", ">within 10 %", ">Kendall tau"),
        [_error_cells(base.name, report[BEFORE]), _error_cells("refitted", report[AFTER])],
    )
    screen.heading("Parameters")
    before, after = _parameters(base), _parameters(made.device)
    screen.table(
        ("", f">{base.name}", ">refitted", ">ratio"),
        [(_unit(k), f"{b:.4g}", f"{after[k]:.4g}", _ratio(b, after[k])) for k, b in before.items()],
    )
    low, high = (made.device.inside_error.factor(p) for p in (0.05, 0.95))
    screen.line()
    screen.line(f"Measured over predicted, 5–95 %: {low:.2f}–{high:.2f}, from {len(made.measured)} networks.")
    screen.line(f"{out} and {out.with_suffix('.csv').name} written: calibrated, not measured.")


def _unit(name: str) -> str:
    return "fixed, ms" if name == "fixed_ms" else f"{name}, ms per million"


def _ratio(before: float, after: float) -> str | None:
    return f"{after / before:.2f}" if before > 0 else None


def _error_cells(name: str, places: dict[str, Any]) -> tuple[object, ...]:
    found = places["in_gate"]
    percents = (f"{found[key]:.1f} %" for key in ("mape", "bias", "p90", "within_10"))
    tau = found["kendall_tau"]
    return name, *percents, None if tau is None else f"{tau:.2f}"
