"""hvnas: search for convolution/attention image networks that meet a latency budget on a named device."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hvnas._lazy import LazyPackage
from hvnas._version import __version__

# torch is paid for only by those who build, trace or train.
_HOMES = {
    "Arch": "hvnas.arch",
    "Program": "hvnas.ops",
    "build": "hvnas.nn",
    "deploy": "hvnas.nn.folding",
    "list_blocks": "hvnas.blocks",
    "list_devices": "hvnas.latency",
    "list_estimators": "hvnas.accuracy",
    "list_models": "hvnas.arch",
    "list_spaces": "hvnas.space",
    "load_arch": "hvnas.arch",
    "load_device": "hvnas.latency",
    "load_estimator": "hvnas.accuracy",
    "load_space": "hvnas.space",
    "save_arch": "hvnas.arch",
    "search": "hvnas.search",
    "trace": "hvnas.ops.trace",
}

__all__ = [
    "Arch",
    "Program",
    "__version__",
    "build",
    "deploy",
    "list_blocks",
    "list_devices",
    "list_estimators",
    "list_models",
    "list_spaces",
    "load_arch",
    "load_device",
    "load_estimator",
    "load_space",
    "save_arch",
    "search",
    "trace",
]

if TYPE_CHECKING:
    from hvnas.accuracy import list_estimators, load_estimator
    from hvnas.arch import Arch, list_models, load_arch, save_arch
    from hvnas.blocks import list_blocks
    from hvnas.latency import list_devices, load_device
    from hvnas.nn import build
    from hvnas.nn.folding import deploy
    from hvnas.ops import Program
    from hvnas.ops.trace import trace
    from hvnas.search import search
    from hvnas.space import list_spaces, load_space


sys.modules[__name__].__class__ = LazyPackage
