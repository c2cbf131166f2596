"""Exported files, run by the runtime that reads them: what checks, scores and predictions have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._json import parse_json
from hvnas._numbers import shortened
from hvnas.export.target import require

Array = NDArray[Any]
FileShape = tuple[int | None, ...]  # None where an axis is free

ONNX, TFLITE = ".onnx", ".tflite"
RUNNABLE = (ONNX, TFLITE)
# Numbers that go in at once: half a gigabyte in float32, 891 images of 224 px.
MOST_NUMBERS = 2**27


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """An exported file that is ready to run.

    `inputs` and `outputs` are shapes by name, in the file's order, `facts` the text in its metadata (of
    networks that hvnas exported: see `hvnas.export.graph.Graph`). `call` takes an array for each input by its
    name and gives the outputs in order, as float32 whatever the file computes in. `runtime` is what runs it,
    with its version.
    """

    path: Path
    runtime: str
    inputs: Mapping[str, FileShape]
    outputs: Mapping[str, FileShape]
    facts: Mapping[str, str]
    call: Callable[[Mapping[str, Array]], list[Array]] = field(repr=False)

    def run(self, images: Array) -> Array:
        """The first output [N, ...] for `images` [N, 3, H, W], normalised as in training.

        As many go in at once as the file is made for; all of them where that is free. Raises ValueError,
        one line: a file of several inputs, images of another size, none at all, too many at once, a runtime
        that fails, an output that does not hold numbers for each image.
        """
        name, batch = self._image_input(images)
        step = batch or len(images)
        outputs = []
        for at in range(0, len(images), step):
            part = images[at : at + step].astype(np.float32, copy=False)
            missing = step - len(part)
            if missing:  # the last part of a fixed batch is filled up, and cut again
                part = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
            first = self.call({name: part})[0]
            self._check_output(first, images=step)
            outputs.append(first[: step - missing])
        return np.concatenate(outputs)

    def _check_output(self, output: Array, *, images: int) -> None:
        shape, kind = np.shape(output), getattr(output, "dtype", np.dtype(object))
        if shape[:1] != (images,) or not np.issubdtype(kind, np.number):
            raise ValueError(
                f"{self.path}: its first output is {kind} of shape {list(shape)} for {images} images, not "
                "numbers for each of them; export it again"
            )

    def _image_input(self, images: Array) -> tuple[str, int | None]:
        if len(self.inputs) != 1:
            raise ValueError(f"{self.path}: takes {len(self.inputs)} inputs, not images alone")
        ((name, (batch, *size)),) = self.inputs.items()
        sides = images.shape[1:]
        fits = len(images) > 0 and len(sides) == len(size)
        if not fits or any(want not in (None, side) for want, side in zip(size, sides, strict=True)):
            wanted = "×".join("any" if side is None else str(side) for side in size)
            raise ValueError(
                f"{self.path}: takes images of {wanted}, not {len(images)} of {'×'.join(map(str, sides))}; "
                "resize them, or export the network at their resolution"
            )
        if (batch or 1) * images[0].size > MOST_NUMBERS:
            raise ValueError(
                f"{self.path}: takes {batch or 1} images of {'×'.join(map(str, sides))} at once, more than "
                "fit in memory; export it with a smaller batch"
            )
        return name, batch


def open_file(path: str | Path, *, threads: int = 1) -> OpenedFile:
    """Open an exported ``.onnx`` or ``.tflite`` file on so many threads of the CPU.

    Raises ValueError, one line: another ending, a missing package, a file that its runtime does not take.
    Raises OSError where there is no file.
    """
    path = Path(path)
    if path.suffix not in RUNNABLE:
        raise ValueError(f"{path}: only {' and '.join(RUNNABLE)} files can be run; export one of them")
    path.open("rb").close()  # the runtimes' own errors name neither the file nor the cause
    return (_open_onnx if path.suffix == ONNX else _open_tflite)(path, threads)


def run(path: str | Path, images: Array, *, threads: int = 1) -> Array:
    """What an exported file makes of images: `OpenedFile.run` of `open_file`, and their errors."""
    return open_file(path, threads=threads).run(images)


def _open_onnx(path: Path, threads: int) -> OpenedFile:
    require("onnxruntime", extra="onnx", what=f"running {path.name}")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    with _refusing(path, "ONNX Runtime"):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def call(feeds: Mapping[str, Array]) -> list[Array]:
        with _refusing(path, "ONNX Runtime"):
            results: list[Array] = session.run(names, dict(feeds))
        return results

    return OpenedFile(
        path=path,
        runtime=f"onnxruntime {onnxruntime.__version__}",
        inputs={tensor.name: _axes(tensor.shape) for tensor in session.get_inputs()},
        outputs={tensor.name: _axes(tensor.shape) for tensor in session.get_outputs()},
        facts=dict(session.get_modelmeta().custom_metadata_map),
        call=call,
    )


def _axes(shape: list[Any]) -> FileShape:
    return tuple(axis if isinstance(axis, int) else None for axis in shape)


def _open_tflite(path: Path, threads: int) -> OpenedFile:
    require("ai_edge_litert", extra="litert", what=f"running {path.name}")
    from ai_edge_litert.interpreter import Interpreter

    with _refusing(path, "LiteRT"), silenced():
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
        inputs, outputs = _signature(interpreter)
        facts = _tflite_facts(path)

    def call(feeds: Mapping[str, Array]) -> list[Array]:
        with _refusing(path, "LiteRT"):
            for name, tensor in inputs.items():
                interpreter.set_tensor(tensor["index"], _quantised(feeds[name], tensor))
            interpreter.invoke()
            return [_in_float(interpreter.get_tensor(t["index"]), t) for t in outputs.values()]

    return OpenedFile(
        path=path,
        runtime=f"litert {version('ai_edge_litert')}",
        inputs={name: tuple(map(int, tensor["shape"])) for name, tensor in inputs.items()},
        outputs={name: tuple(map(int, tensor["shape"])) for name, tensor in outputs.items()},
        facts=facts,
        call=call,
    )


def _signature(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs by the names of the file's signature; by those of its tensors where it has none."""
    signatures = interpreter.get_signature_list()
    if not signatures:
        found = (interpreter.get_input_details(), interpreter.get_output_details())
        inputs, outputs = ({tensor["name"]: tensor for tensor in tensors} for tensors in found)
        return inputs, outputs
    key = next(iter(signatures))
    runner = interpreter.get_signature_runner(key)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    return (
        {name: inputs[name] for name in signatures[key]["inputs"]},
        {name: outputs[name] for name in signatures[key]["outputs"]},
    )


def _quantised(values: Array, tensor: Mapping[str, Any]) -> Array:
    kind = np.dtype(tensor["dtype"])
    if not np.issubdtype(kind, np.integer):
        return values.astype(kind, copy=False)
    scale, zero = tensor["quantization"]
    limits = np.iinfo(kind)
    return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(kind)


def _in_float(values: Array, tensor: Mapping[str, Any]) -> Array:
    if not np.issubdtype(values.dtype, np.integer):
        return values.astype(np.float32, copy=False)
    scale, zero = tensor["quantization"]
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)


FACTS = "hvnas"  # the entry of a TFLite file's metadata that holds a network's facts, as JSON


def _tflite_facts(path: Path) -> dict[str, str]:
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(path.read_bytes(), 0)
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        if entry.Name() == FACTS.encode():
            facts = parse_json(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode())
            if not isinstance(facts, dict):
                raise ValueError(f"its metadata {FACTS}: must be a mapping in JSON")
            return {key: text for key, text in facts.items() if isinstance(text, str)}
    return {}


@contextmanager
def _refusing(path: Path, runtime: str) -> Iterator[None]:
    """Make whatever a runtime raises one line that names the file: their errors have no class in common."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path}: {runtime} does not run this file: {shortened(error, 200)}; export it again"
        ) from None


@contextmanager
def silenced() -> Iterator[None]:
    """Without what native code writes to standard error, such as the name of every delegate it makes."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
