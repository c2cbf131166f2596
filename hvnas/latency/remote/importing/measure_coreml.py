"""Times Core ML models on a phone tethered to this Mac, or on the Mac itself; one JSON file a model.

    python measure_coreml.py *.mlpackage --out results --device "Mac mini M2"
    python measure_coreml.py *.mlpackage --out results --device "iPhone 12" --iphone "My iPhone" --team ABCDE

Needs macOS, coremltools >= 9 (`pip install coremltools`) and, for a phone, Xcode, the phone's developer
mode and a development team to sign the app that coremltools installs there. Then, anywhere:

    hvnas latency import results/*.json --format coremltools --suite suite.csv --out measurements.csv

This file stands alone: it imports nothing but coremltools. A model that is measured already is passed
over, so that the script may be stopped and run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
from pathlib import Path
from typing import Any

SCHEMA = "hvnas.coremltools/1"
UNITS = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")


def input_shape(spec: Any) -> list[int]:
    """The shape of a model's only input, [batch, channels, height, width]; empty where there are several."""
    inputs = spec.description.input
    if len(inputs) != 1:
        return []
    image = inputs[0].type.imageType
    if inputs[0].type.WhichOneof("Type") == "imageType":
        return [1, 3, image.height, image.width]
    return [int(size) for size in inputs[0].type.multiArrayType.shape]


def record(
    measurement: Any, *, model: str, shape: list[int], device: str, os: str, compute_units: str, version: str
) -> dict[str, Any]:
    """What is saved of a `MLModelBenchmarker.Measurement`, whose times are milliseconds."""
    return {
        "schema": SCHEMA,
        "model": model,
        "input_shape": shape,
        "device": device,
        "os": os,
        "compute_units": compute_units,
        "coremltools": version,
        "unit": "ms",
        "median": measurement.statistics.median,
        "samples": list(measurement.samples),
    }


def save(data: dict[str, Any], path: Path) -> None:
    """Write `data`; the file is there whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1), encoding="utf-8")
    part.replace(path)


async def tethered(name: str, team: str) -> Any:
    """The connected iPhone called `name`, with the app on it that runs models."""
    from coremltools.models.ml_program.experimental.remote_device import (
        AppSigningCredentials,
        Device,
        DeviceType,
    )

    phones = {phone.name: phone for phone in Device.get_connected_devices(DeviceType.IPHONE)}
    if name not in phones:
        raise SystemExit(f"no connected iPhone is called {name!r}; there are: {', '.join(phones) or 'none'}")
    credentials = AppSigningCredentials(
        development_team=team, bundle_identifier=None, provisioning_profile_uuid=None
    )
    return await phones[name].prepare_for_model_debugging(credentials=credentials)


async def measure(options: argparse.Namespace) -> None:
    """Every model in turn."""
    import coremltools
    from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

    phone = await tethered(options.iphone, options.team) if options.iphone else None
    system = f"iOS {phone.os_version}" if phone else f"macOS {platform.mac_ver()[0]}"
    options.out.mkdir(parents=True, exist_ok=True)
    for path in options.models:
        result = options.out / f"{path.stem}.json"
        if result.exists():
            print(f"{result}: there already")
            continue
        units = coremltools.ComputeUnit[options.compute_units]
        model = coremltools.models.MLModel(str(path), compute_units=units)
        benchmarker = MLModelBenchmarker(model=model, device=phone)
        measured = await benchmarker.benchmark_predict(iterations=options.iterations, warmup=True)
        data = record(
            measured,
            model=path.stem,
            shape=input_shape(model.get_spec()),
            device=options.device,
            os=system,
            compute_units=options.compute_units,
            version=coremltools.__version__,
        )
        save(data, result)
        print(f"{result}: {data['median']:.3f} ms")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="Times Core ML models with coremltools' MLModelBenchmarker.")
    parser.add_argument("models", nargs="+", type=Path, help=".mlpackage folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--device", required=True, help="what is measured, as it is sold: 'iPhone 12'")
    parser.add_argument("--iphone", default="", help="name of the tethered iPhone; without: this Mac")
    parser.add_argument("--team", default="", help="development team that signs the app on the phone")
    parser.add_argument("--compute-units", default="ALL", choices=UNITS)
    parser.add_argument("--iterations", type=int, default=100)
    asyncio.run(measure(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
