"""One full-size model of every family in every format: errors, sizes, times. Takes minutes.

usage: python scripts/export_families.py [FAMILY ...] [--formats torch onnx ...] [--keep DIR]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hvnas import export
from hvnas.arch import load_arch, save_arch
from hvnas.export.target import size_of
from hvnas.testing.blocks import lively

MODELS = {
    "efficientformer": "efficientformer_l1",
    "efficientformerv2": "efficientformerv2_s0",
    "coatnet": "coatnet_0",
    "mobilevit": "mobilevit_s",
    "efficientvit": "efficientvit_b1",
    "poolformer": "poolformer_s12",
    "mobileformer": "mobileformer_294m",
    "vit": "vit_c_1gf",
}
FORMATS: dict[str, tuple[str, Callable[..., Any] | None]] = {
    "yaml": (".yaml", None),
    "torch": ("", export.export_torch),
    "onnx": (".onnx", export.export_onnx),
    "coreml": (".mlpackage", export.export_coreml),
    "executorch": (".pte", export.export_executorch),
    "tflite": (".tflite", export.export_tflite),
}


def export_one(name: str, kind: str, folder: Path) -> str:
    """One line on one model in one format."""
    suffix, exporter = FORMATS[kind]
    arch, path = load_arch(name), folder / f"{name}{suffix}"
    network = lively(arch)
    start = time.process_time()
    error = None
    if exporter is None:
        save_arch(arch, path)
        assert load_arch(path) == arch
    else:
        error = getattr(exporter(network, path), "error", None)
    seconds = time.process_time() - start
    shown = "not run" if error is None else f"{error:.1e}"
    return f"{name:22} {kind:11} error {shown:8} {size_of(path) / 1e6:8.1f} MB {seconds:7.1f} s"


def main() -> int:
    """Print a line for each; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=list(MODELS), help=f"of {', '.join(MODELS)}")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--keep", type=Path, help="a folder to write to; by default nothing is kept")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for family in options.families:
            for kind in options.formats:
                try:
                    print(export_one(MODELS[family], kind, folder), flush=True)
                except ValueError as error:
                    failed += "not installed" not in str(error)
                    print(f"{MODELS[family]:22} {kind:11} {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
