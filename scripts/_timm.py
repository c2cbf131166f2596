"""timm, importable beside a CPU build of torch, and its models in the form that is deployed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_kept: list[Any] = []  # torch forgets operators once the library that declared them is collected


def import_timm() -> ModuleType:
    """timm. Raises ImportError naming the extra to install."""
    if importlib.util.find_spec("timm") is None:
        raise ImportError("timm is not installed; install the extra that has it: pip install -e '.[peers]'")
    _make_torchvision_importable()
    return importlib.import_module("timm")


def deployed(name: str, *, resolution: int | None = None, change: Callable[[Any], None] | None = None) -> Any:
    """timm's model `name` on the meta device, in eval mode, training-time branches merged where it has any.

    `resolution` sets the input size of models that are built for one size; `change` alters the model
    before its branches are merged.
    """
    timm = import_timm()
    import torch
    from timm.utils import reparameterize_model

    settings = {} if resolution is None else {"img_size": resolution}
    with torch.device("meta"):
        model = timm.create_model(name, pretrained=False, **settings)
        if change:
            change(model)
        return reparameterize_model(model.eval())


def _make_torchvision_importable() -> None:
    """Declare the two operators without which torchvision does not import.

    Its builds for Linux are CUDA builds, whose compiled operators do not load beside a CPU build of
    torch. timm needs torchvision's Python code only, but importing that refers to these two.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        for compiled in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(compiled)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)
