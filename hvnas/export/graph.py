"""What every exporter is given, a module in deployed form with its inputs, and what it checks of its file."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from hvnas._json import parse_json
from hvnas.arch import Arch
from hvnas.export.running import MOST_NUMBERS, Array, open_file
from hvnas.nn import Network, build
from hvnas.nn.features import FeatureNetwork
from hvnas.nn.folding import deploy as deployed

Shape = tuple[int, ...]
IMAGE, LOGITS = "image", "logits"
NAME, HASH, RESOLUTION = "hvnas.arch", "hvnas.arch_hash", "hvnas.resolution"  # in a file's text
Precision = Literal["float32", "float16", "int8"]
# How far a file's outputs may be from torch's: of the largest output, in int8 root mean square over theirs.
TOLERANCES: Mapping[Precision, float] = {"float32": 1e-4, "float16": 1e-2, "int8": 0.5}
COMPARED = 32  # images of the calibration that a file in int8 is run on


@dataclass(frozen=True, kw_only=True)
class Images:
    """What a network was trained on: classes in order, mean and deviation per channel of pixels in 0..1."""

    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A module in eval mode, one set of inputs and the outputs it gives for them.

    `facts` is text that travels in the file: of a network its name, hash, resolution and classes, and the
    `images` that it was trained on, where they are known.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    facts: Mapping[str, str]
    images: Images | None = None

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """The inputs in the order of the module's parameters."""
        return tuple(self.inputs.values())


def make_graph(
    source: Arch | nn.Module,
    *,
    weights: str | Path | None = None,
    deploy: bool = True,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
    batch: int = 1,
) -> Graph:
    """`source` ready for export; a module that is given stays as it is.

    A network needs nothing else; of another module `inputs` names the inputs with their shapes, batch
    included, or `resolution` the size of its one image, `batch` how many come at once. `deploy` folds what
    can be folded (`hvnas.nn.folding.deploy`). Raises ValueError where options and `source` do not go
    together.
    """
    if weights is not None and not isinstance(source, Arch):
        raise ValueError("weights go with an architecture; load them into the module before exporting it")
    if isinstance(source, Arch):
        source = build(source, resolution=resolution, weights=weights)
    shapes = dict(inputs) if inputs is not None else {IMAGE: (batch, *_image_shape(source, resolution))}
    for name, shape in shapes.items():
        if prod(shape) > MOST_NUMBERS:
            raise ValueError(
                f"batch: {name} of {'×'.join(map(str, shape))} is more than fits in memory; choose fewer "
                "images at once"
            )
    module = deployed(source) if deploy else copy.deepcopy(source).eval().requires_grad_(False)
    tensors = _random(shapes)
    with torch.no_grad():
        results = tensors_of(module(*tensors.values()))
    return Graph(
        module=module,
        inputs=tensors,
        outputs=_named(results, module),
        facts=_facts(source, shapes) | _image_facts(images),
        images=images,
    )


def _image_shape(module: nn.Module, resolution: int | None) -> Shape:
    own = module.arch.resolution if isinstance(module, Network) else None
    if own is None and resolution is None:
        raise ValueError("a module without an architecture needs resolution or inputs; give one of them")
    if own is not None and resolution not in (None, own):
        raise ValueError(
            f"the module is built for {own} pixels, not {resolution}; export the architecture, or build the "
            f"network with arch.with_(resolution={resolution})"
        )
    size = own or resolution
    assert size is not None
    return (3, size, size)


def _random(shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def tensors_of(result: Any) -> list[Tensor]:
    """The tensors of what a module returns, in order."""
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in tensors_of(part)]


def _named(results: list[Tensor], module: nn.Module) -> dict[str, Tensor]:
    if len(results) == 1:
        return {LOGITS if isinstance(module, Network) else "output": results[0]}
    return {f"output_{i}": tensor for i, tensor in enumerate(results)}


def arch_of(module: nn.Module) -> Arch | None:
    """Return the architecture of a network or of its part without the head; None for another module."""
    return module.arch if isinstance(module, (Network, FeatureNetwork)) else None


def _facts(module: nn.Module, shapes: Mapping[str, Shape]) -> dict[str, str]:
    from hvnas._version import __version__

    facts = {"hvnas.version": __version__}
    arch = arch_of(module)
    if arch is None:
        shown = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
        return facts | {"hvnas.module": type(module).__name__, "hvnas.inputs": shown}
    return facts | {
        NAME: arch.name,
        HASH: arch.hash,
        RESOLUTION: str(arch.resolution),
        "hvnas.classes": str(arch.head.out),
    }


def _image_facts(images: Images | None) -> dict[str, str]:
    return {} if images is None else {f"hvnas.{key}": json.dumps(v) for key, v in asdict(images).items()}


def images_of(facts: Mapping[str, str], *, where: str | Path) -> Images | None:
    """What the text of an exported file says of a network's images; None where it says nothing.

    Raises ValueError, one line that begins with `where`, where it is damaged.
    """
    texts = {field.name: facts.get(f"hvnas.{field.name}") for field in fields(Images)}
    if all(text is None for text in texts.values()):
        return None
    for name, text in texts.items():
        if text is None:
            raise ValueError(f"{where}: hvnas.{name}: is missing in its metadata; export it again")
    values = {name: _listed(str(text), f"{where}: hvnas.{name}") for name, text in texts.items()}
    if not all(isinstance(name, str) for name in values["class_names"]):
        raise ValueError(f"{where}: hvnas.class_names: must be a list of names; export it again")
    for name in ("mean", "std"):
        numbers = values[name]
        if len(numbers) != 3 or not all(_is_positive(n, strictly=name == "std") for n in numbers):
            raise ValueError(
                f"{where}: hvnas.{name}: must be three numbers, one per channel; export it again"
            )
        values[name] = tuple(map(float, numbers))
    return Images(**values)


def _listed(text: str, where: str) -> tuple[Any, ...]:
    try:
        value = parse_json(text)
    except ValueError:
        value = None
    if not isinstance(value, list):
        raise ValueError(f"{where}: must be a list in JSON; export it again")
    return tuple(value)


def _is_positive(value: object, *, strictly: bool) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return value > 0 if strictly else value >= 0


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference over the largest value of `ours`; nan where either is not finite."""
    largest = float(ours.abs().max())
    return float((ours - theirs).abs().max()) / (largest or 1.0)


def largest_error(graph: Graph, results: Iterable[Tensor]) -> float:
    """Largest relative error of `results` over the outputs, in their order; nan where one is."""
    pairs = zip(graph.outputs.values(), results, strict=True)
    return float(torch.tensor([relative_error(ours, theirs) for ours, theirs in pairs]).max())


def refuse_error(
    error: float | None, *, tolerance: float, path: Path, of: str, against: str = "torch's"
) -> None:
    """Raise ValueError where the error of outputs is above `tolerance` or nan; None was not checked."""
    if error is not None and not error <= tolerance:
        raise ValueError(
            f"{path}: {of} outputs differ from {against} by {error:.1e} of the largest, more than "
            f"{tolerance:.0e}; nothing was written, check the weights"
        )


def check_calibration(images: Array | None, graph: Graph, precision: Precision) -> Array | None:
    """`images` [N, C, H, W] as float32 where `precision` is int8, else None.

    Raises ValueError where they are missing, are not what the one input takes or hold no finite numbers.
    """
    if precision != "int8":
        if images is not None:
            raise ValueError(f"images to calibrate on are for int8, not {precision}; leave them out")
        return None
    if images is None or len(images) == 0:
        raise ValueError("int8 needs images to calibrate on; give --data, or from Python calibration=images")
    wanted = [tuple(tensor.shape[1:]) for tensor in graph.inputs.values()]
    if [images.shape[1:]] != wanted:
        raise ValueError(
            f"images to calibrate on must be [N, *shape] with shapes {wanted}, not {list(images.shape)}"
        )
    if not np.isfinite(images).all():
        raise ValueError("images to calibrate on hold numbers that are not finite; normalise them")
    return images.astype(np.float32, copy=False)


def check_file(
    part: Path, graph: Graph, precision: Precision, calibration: Array | None, *, path: Path, of: str
) -> float:
    """The error of a file that was written as `part`, for the images of a calibration where there is one.

    Raises ValueError, naming `path`, where it is above that of `TOLERANCES`.
    """
    opened = open_file(part, threads=torch.get_num_threads())
    tolerance = TOLERANCES[precision]
    if calibration is None:
        results = opened.call({name: tensor.numpy() for name, tensor in graph.inputs.items()})
        error = largest_error(graph, map(torch.from_numpy, results))
        refuse_error(error, tolerance=tolerance, path=path, of=of)
        return error
    images = calibration[:COMPARED]
    with torch.no_grad():
        ours = np.concatenate(
            [tensors_of(graph.module(batch))[0].numpy() for batch in batches(images, graph)]
        )
    theirs = opened.run(images[: len(ours)])
    error = float(np.sqrt(np.square(theirs - ours).mean() / (np.square(ours).mean() or 1.0)))
    if not error <= tolerance:
        raise ValueError(
            f"{path}: {of} outputs in {precision} differ from torch's by {error:.0%} (root mean square), "
            f"more than {tolerance:.0%}; nothing was written, train the network or choose another precision"
        )
    return error


def batches(images: Array, graph: Graph) -> list[Tensor]:
    """`images` in batches of the graph's input; what does not fill one is left out, if one is full."""
    (example,) = graph.inputs.values()
    size = len(example)
    if len(images) < size:
        images = np.resize(images, (size, *images.shape[1:]))
    whole = len(images) // size * size
    return list(torch.from_numpy(images[:whole]).split(size))


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without bars, and without warnings about versions, missing libraries and the converter itself."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
