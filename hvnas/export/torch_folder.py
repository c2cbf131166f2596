"""PyTorch without hvnas: folders of weights and configuration, with readable source or as Hugging Face's."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from hvnas._files import read_text
from hvnas._names import brief
from hvnas._numbers import clean
from hvnas.arch import Arch, list_models, load_arch, save_arch, to_dict
from hvnas.export.graph import (
    Graph,
    Images,
    Shape,
    arch_of,
    largest_error,
    make_graph,
    refuse_error,
    relative_error,
    shapes,
    tensors_of,
)
from hvnas.export.source import is_word, module_source
from hvnas.export.target import check_folder, size_of, writing
from hvnas.nn import Network, build
from hvnas.nn.foreign.families import converter, sources
from hvnas.nn.weights import HUGGING_FACE as HUB_CONFIG
from hvnas.nn.weights import KEY, OWN, WEIGHTS, save_weights

CONFIG, SOURCE = OWN, "model.py"
FILES = frozenset({CONFIG, WEIGHTS, SOURCE, "__pycache__"})
CARD, CARD_FOLDER = "README.md", "card"  # of a training
CARD_BEGINS = "## On the test images"
LEFT_BEHIND = ("| file |", "| settings |", "Weights of the best epoch")
TOLERANCE = 1e-6
TIMM_TOLERANCE = 1e-4

TITLE = """\
An image network in plain PyTorch; its weights are in {weights} beside this file.

    from model import load

    network = load()          # in eval mode
    y = network({arguments})  # {shapes}
{preprocessing}
Shapes in the names of tensors: B batch, C channels, H W height and width, N tokens, D their dimension.
Written by hvnas {version}; needs torch and nothing else.
"""

PREPROCESSING = """
preprocess(path) reads an image for it as in training, and takes Pillow besides; CLASS_NAMES are the classes.
"""

ENTRY = '''\
def load(path: str | Path | None = None) -> Network:
    """The network in eval mode, weights read from a safetensors file: by default that beside this one."""
    network = Network()
    beside = Path(__file__).with_name("{weights}")
    network.load_state_dict(read_weights(beside if path is None else Path(path)))
    return network.eval()
'''

PREPROCESS = '''

def preprocess(image: object) -> Tensor:
    """An image file, by its path, or a Pillow image, as the network takes it: [1, 3, RESOLUTION, RESOLUTION].

    As in training: the shorter side scaled to RESOLUTION (bicubic), the centre cut out, RGB, normalised.
    Images have 8 bits a channel; what is transparent is laid on white. Needs Pillow.
    """
    from PIL import Image, ImageOps

    if isinstance(image, (str, Path)):
        image = Image.open(image)
        image.draft("RGB", (RESOLUTION, RESOLUTION))
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = ImageOps.fit(image.convert("RGB"), (RESOLUTION, RESOLUTION), method=Image.Resampling.BICUBIC)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    x_CHW = pixels.view(RESOLUTION, RESOLUTION, 3).permute(2, 0, 1).float() / 255.0
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((x_CHW - mean) / std)[None]
'''


@dataclass(frozen=True, kw_only=True)
class TorchReport:
    """What was written. `lines` are those of the source; `error` is relative, of the source's outputs."""

    path: Path
    bytes: int
    lines: int
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    error: float


def export_torch(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    resolution: int | None = None,
    inputs: Mapping[str, Shape] | None = None,
    images: Images | None = None,
) -> TorchReport:
    """Write a network, or any module, as a folder: config.yaml, model.safetensors and model.py.

    ``model.py`` imports torch only; its ``load()`` gives the network with its weights, ready to run or to
    train further: nothing is folded, and the weights are hvnas's own, key for key. Where `images` are known
    its ``preprocess()`` reads an image file as in training. A module without an architecture has no
    config.yaml. Options are those of `hvnas.export.graph.make_graph`. The source is
    run and must give `source`'s outputs up to `TOLERANCE` of the largest. The folder appears whole or not
    at all. Raises ValueError, one line: a bad path, options that do not fit, a module whose classes cannot
    be written as source.
    """
    path = check_folder(path, FILES)
    graph = make_graph(
        source, weights=weights, deploy=False, resolution=resolution, inputs=inputs, images=images
    )
    text = _source(graph)
    with writing(path) as part:
        part.mkdir()
        if (arch := arch_of(graph.module)) is not None:
            save_arch(arch, part / CONFIG)
        save_weights(graph.module.state_dict(), part / WEIGHTS, metadata=graph.facts)
        (part / SOURCE).write_text(text, encoding="utf-8")
        error = _error(part / SOURCE, graph)
        refuse_error(error, tolerance=TOLERANCE, path=path, of="the source's", against="the network's")
        size = size_of(part)
    return TorchReport(
        path=path,
        bytes=size,
        lines=text.count("\n"),
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        error=error,
    )


def _source(graph: Graph) -> str:
    from hvnas._version import __version__

    tensors = {**graph.inputs, **graph.outputs}
    reads_images = graph.images is not None and arch_of(graph.module) is not None
    title = TITLE.format(
        weights=WEIGHTS,
        arguments=", ".join(filter(is_word, graph.inputs)),
        shapes=", ".join(f"{name} {list(t.shape)}" for name, t in tensors.items() if is_word(name)),
        version=__version__,
        preprocessing=PREPROCESSING if reads_images else "",
    )
    entry = ENTRY.format(weights=WEIGHTS)
    return module_source(
        graph.module,
        title=title,
        constants=_constants(graph),
        entry=entry + PREPROCESS if reads_images else entry,
        helpers=(read_weights,),
    )


def _constants(graph: Graph) -> dict[str, Any]:
    arch, images = arch_of(graph.module), graph.images
    constants: dict[str, Any] = {}
    if arch is not None:
        constants |= {"NAME": clean(arch.name), "RESOLUTION": arch.resolution, "CLASSES": arch.head.out}
    if images is not None:
        names = tuple(map(clean, images.class_names))
        constants |= {"CLASS_NAMES": names, "MEAN": images.mean, "STD": images.std}
    return constants


def _error(path: Path, graph: Graph) -> float:
    """Largest relative error of the written source over the outputs."""
    with _imported(path) as written, torch.no_grad():
        results = tensors_of(written.load()(*graph.arguments))
    return largest_error(graph, results)


@contextmanager
def _imported(path: Path) -> Iterator[ModuleType]:
    """The module of a file, under a name that is taken by nothing, and without a trace of it."""
    name = f"_written_{path.parent.parent.name.strip('.').replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.dont_write_bytecode = before


HUB_FILES = frozenset({HUB_CONFIG, WEIGHTS, SOURCE, CARD, CARD_FOLDER, "__pycache__"})
HUB_USE = """\
## Use

```python
import hvnas

network = hvnas.build("{name}").eval()  # this folder
```

{timm}
"""


@dataclass(frozen=True, kw_only=True)
class HuggingFaceReport:
    """What was written. `timm` says how timm loads the folder, or why it does not.

    `error` is relative, of the network as it is read back from the folder.
    """

    path: Path
    bytes: int
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    timm: str
    error: float


def export_huggingface(
    source: Arch | nn.Module,
    path: str | Path,
    *,
    weights: str | Path | None = None,
    resolution: int | None = None,
    images: Images | None = None,
    card: str | Path | None = None,
) -> HuggingFaceReport:
    """Write a network as a folder of Hugging Face's form: config.json, model.safetensors and a card.

    ``hvnas.build(path)`` loads it. Where timm is installed and has the same network, the tensors get timm's
    names, so that ``timm.create_model("local-dir:" + path)`` loads it too; otherwise ``model.py`` lies
    beside, as in `export_torch`. `card` is the folder of a training, whose card comes along. Nothing is
    uploaded. The folder is read back and must give the network's outputs up to `TOLERANCE` of the largest;
    it appears whole or not at all. Raises ValueError, one line, as `export_torch`, or where `source` has no
    architecture.
    """
    path = check_folder(path, HUB_FILES)
    graph = make_graph(source, weights=weights, deploy=False, resolution=resolution, images=images)
    arch = arch_of(graph.module)
    if arch is None or not isinstance(graph.module, Network):
        raise ValueError(f"{path}: only a whole network can be written so; export it as torch")
    renamed = timm_names(graph.module, graph.arguments)
    state = graph.module.state_dict()
    with writing(path) as part:
        part.mkdir()
        if isinstance(renamed, str):
            timm, names = renamed, None
            (part / SOURCE).write_text(_source(graph), encoding="utf-8")
        else:
            names, state = renamed
            timm = f'timm loads it: timm.create_model("local-dir:{path.name}", pretrained=True)'
        config = _hub_config(arch, images, names)
        (part / HUB_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_weights(state, part / WEIGHTS, metadata=graph.facts)
        _write_hub_card(part, arch, None if card is None else Path(card), name=path.name, timm=timm)
        with torch.no_grad():
            results = tensors_of(build(part).eval()(*graph.arguments))
        error = largest_error(graph, results)
        refuse_error(error, tolerance=TOLERANCE, path=path, of="the folder's", against="the network's")
        size = size_of(part)
    return HuggingFaceReport(
        path=path,
        bytes=size,
        inputs=shapes(graph.inputs),
        outputs=shapes(graph.outputs),
        timm=timm,
        error=error,
    )


def _hub_config(arch: Arch, images: Images | None, names: Mapping[str, str] | None) -> dict[str, Any]:
    """What config.json holds: for timm what it reads, for us the architecture."""
    from hvnas._version import __version__

    side = arch.resolution
    pretrained: dict[str, Any] = {
        "input_size": [3, side, side],
        "num_classes": arch.head.out,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    config: dict[str, Any] = {
        "architecture": arch.name if names is not None else f"hvnas/{arch.name}",
        "num_classes": arch.head.out,
    }
    if images is not None:
        pretrained |= {"mean": list(images.mean), "std": list(images.std)}
        config["label_names"] = list(images.class_names)
    ours = {"version": __version__, "arch": to_dict(arch)}
    return config | {"pretrained_cfg": pretrained, KEY: ours if names is None else ours | {"names": names}}


def _write_hub_card(part: Path, arch: Arch, training: Path | None, *, name: str, timm: str) -> None:
    use = HUB_USE.format(name=name, timm=clean(timm))
    trained = None if training is None else training / CARD
    if training is None or trained is None or not trained.is_file():
        head = "---\nlibrary_name: hvnas\npipeline_tag: image-classification\n---\n"
        text = f"{head}\n# {clean(arch.name)}\n\nAn image classifier at {arch.resolution} px.\n\n{use}"
    else:
        # files of the training that stay behind
        kept = [line for line in read_text(trained).splitlines() if not line.startswith(LEFT_BEHIND)]
        before, heading, after = "\n".join(kept).partition(CARD_BEGINS)
        text = f"{before}{use}\n{heading}{after}\n"
        if (training / CARD_FOLDER).is_dir():
            shutil.copytree(training / CARD_FOLDER, part / CARD_FOLDER)
    (part / CARD).write_text(text, encoding="utf-8")


def timm_names(
    network: Network, arguments: tuple[Tensor, ...]
) -> tuple[dict[str, str], dict[str, Tensor]] | str:
    """timm's names of a network's tensors, by ours, and its state under them; or why there are none.

    timm's model of that name is made, its tensors are followed through the converter that imports them, and
    both networks must give the same outputs for `arguments`.
    """
    arch = network.arch
    family = (load_arch(arch.name).published or {}).get("family") if arch.name in list_models() else None
    same = family is not None and _like(arch) == _like(load_arch(arch.name))
    if family is None or not same or "timm" not in sources(family):
        return "timm does not load it: the network is none of timm's"
    try:
        import timm
    # a build of torchvision that does not fit ends in an error of torch's
    except Exception as error:
        reason = type(error).__name__ if isinstance(error, ImportError) else brief(str(error), most=80)
        return f"timm does not load it: timm cannot be asked for its names here ({reason})"
    if not timm.is_model(arch.name):
        return f"timm does not load it: timm's registry has no {arch.name}"
    theirs = timm.create_model(arch.name, num_classes=arch.head.out).eval()
    state, ours = theirs.state_dict(), network.state_dict()
    order = list(state)
    markers = {key: torch.full(state[key].shape, float(i)) for i, key in enumerate(order)}
    followed = converter("timm", family)(markers, arch)
    names = {
        key: order[int(followed[key].flatten()[0])]
        for key, tensor in ours.items()
        if key in followed and followed[key].numel() == tensor.numel() and len(followed[key].unique()) == 1
    }
    filled = state | {
        names[key]: tensor.reshape(state[names[key]].shape)
        for key, tensor in ours.items()
        if key in names and state[names[key]].numel() == tensor.numel()
    }
    if names.keys() != ours.keys() or len({*names.values()}) != len(names):
        return f"timm does not load it: timm's {arch.name} has other tensors at {arch.resolution} px"
    theirs.load_state_dict(filled)
    with torch.no_grad():
        difference = relative_error(network(*arguments), theirs(*arguments))
    if not difference <= TIMM_TOLERANCE:
        return f"timm does not load it: timm's {arch.name} computes something else"
    return names, filled


def _like(arch: Arch) -> str:
    """What two networks agree in that differ in classes and resolution at most."""
    return arch.with_(classes=1000, resolution=224).hash


# reading safetensors with torch alone: part of every exported model.py
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ValueError where it is cut short or no such file."""
    try:
        data = bytearray(path.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            shape, begin = entry["shape"], start + entry["data_offsets"][0]
            flat = torch.frombuffer(data, dtype=DTYPES[entry["dtype"]], count=math.prod(shape), offset=begin)
            tensors[name] = flat.view(shape)
        return tensors
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a complete safetensors file ({type(error).__name__}); export it again"
        ) from None
