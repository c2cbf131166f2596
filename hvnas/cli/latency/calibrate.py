"""``hvnas latency calibrate``: a device of one's own from a calibrated one and a few measurements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hvnas import _numbers as numbers
from hvnas.cli._failure import Failure
from hvnas.cli._screen import JsonOption, Screen, check_output, print_json, writing

if TYPE_CHECKING:
    from hvnas.latency import Device
    from hvnas.latency.calibration.recalibrate import Recalibrated

EXAMPLE = "hvnas latency calibrate --device iphone12 --measurements ms.csv --out my.yaml"


def run(
    device: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The calibrated device to start from: see hvnas devices.")
    ],
    measurements: Annotated[
        Path,
        typer.Option(metavar="FILE", help="A CSV of measured times, at least 5 of whole networks."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="NAME.yaml", help="The device file to write, with a CSV beside it.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing device.")] = False,
    force_protocol: Annotated[
        bool,
        typer.Option("--force-protocol", help="Accept another compute unit, precision, batch or threads."),
    ] = False,
    unit: Annotated[
        Literal["us", "ms", "s"] | None,
        typer.Option(help="Unit of the times. Default: ms; refused where that makes no plausible device."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a device to your own measurements.

    Refits the parameters of a calibrated device to networks that you measured on yours, keeping them near the
    old values, and shows the error before and after, each network left out of its own fit. If the error does
    not fall, the device is written with a warning. Use it with --device NAME.yaml.
    """
    from hvnas.latency import load_device
    from hvnas.latency.calibration.recalibrate import check_protocol, check_unit, in_milliseconds, recalibrate
    from hvnas.latency.files import write_device
    from hvnas.latency.remote.measurements import read_models

    _check_target(out, measurements, force=force)
    base = load_device(device)
    models = read_models(measurements)
    if not force_protocol:
        try:
            check_protocol(base, models[0].row)
        except ValueError as error:
            raise Failure(f"{measurements}: {error}, or give --force-protocol") from None
    try:
        if unit is None:
            check_unit(base, models)
        made = recalibrate(base, in_milliseconds(models, unit or "ms"), name=out.stem)
    except ValueError as error:
        raise Failure(f"{measurements}: {error}") from None
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
            {"name": m.name, "measured": float(t), "before": float(b), "after": float(a)}
            for m, t, b, a in zip(made.models, made.measured, made.before, made.after, strict=True)
        ],
    }


def _print(screen: Screen, base: Device, made: Recalibrated, out: Path) -> None:
    from hvnas.latency.calibration.recalibrate import AFTER, BEFORE

    screen.line(f"{base.name} refitted to {len(made.measured)} measured networks", style="bold")
    screen.heading("Networks, each predicted by a fit to the others")
    screen.table(
        ("network", ">measured ms", f">{base.name}", ">refitted"),
        [
            (m.name, numbers.ms(t), numbers.ms(b), numbers.ms(a))
            for m, t, b, a in zip(made.models, made.measured, made.before, made.after, strict=True)
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
