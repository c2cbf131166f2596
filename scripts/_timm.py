"""timm, importable beside a CPU build of torch, and its models in the form that is deployed."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

_OPERATORS = ("nms", "qnms")
_libraries: list[Any] = []  # torch forgets the operators once the library is collected


def import_timm() -> ModuleType:
    """timm.

    timm imports torchvision, whose Linux wheels carry CUDA operators that do not load beside a CPU
    build of torch; importing torchvision then fails on the two operators that it refers to by name.
    Declaring them is enough: nothing here calls them. Raises ImportError naming the extra to install.
    """
    if importlib.util.find_spec("timm") is None:
        raise ImportError("timm is not installed; install the extra 'peers': pip install -e '.[peers]'")
    _declare_operators()
    return importlib.import_module("timm")


def deployed(name: str, **settings: Any) -> Any:
    """timm's model `name`, random weights, its training-time branches merged where it has such."""
    timm = import_timm()
    from timm.utils import reparameterize_model

    model = timm.create_model(name, pretrained=False, **settings).eval()
    return reparameterize_model(model)


def _declare_operators() -> None:
    import torch

    if hasattr(torch.ops.torchvision, "nms") or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
        return
    except (ImportError, RuntimeError, AttributeError, OSError):
        for module in [name for name in _imported() if name.split(".")[0] == "torchvision"]:
            _forget(module)
    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


def _imported() -> list[str]:
    import sys

    return list(sys.modules)


def _forget(module: str) -> None:
    import sys

    sys.modules.pop(module, None)
