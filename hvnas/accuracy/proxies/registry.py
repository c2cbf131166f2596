"""What a proxy is, and how one is found by name.

A *counted* proxy is a formula of columns of the Program; a *probed* one runs the network with weights
drawn from a seed. The formulas stand here; what is probed stands in a file of its own name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hvnas._registry import Late, Registry
from hvnas.accuracy.surrogate.features import COLUMNS
from hvnas.arch import Arch
from hvnas.ops import Column, Program, evaluate_columns

if TYPE_CHECKING:
    from hvnas.accuracy.proxies.probed import ProbedNetwork

Array = NDArray[np.float64]

COUNTED = ("params", "macs", "acts", "free")
PROBED = ("naswot", "zico", "az_expressivity", "az_trainability", "synflow", "dss")


@dataclass(frozen=True)
class CountedProxy:
    """A formula of numbers of the Program: ``combine(values [n, columns]) -> [n]``."""

    name: str
    columns: tuple[Column, ...]
    combine: Callable[[Array], Array]

    def score(self, network: Arch | Program, *, seed: int = 0) -> float:
        """Return the score of one network; the seed makes no difference."""
        program = network if isinstance(network, Program) else network.lower()
        return float(self.combine(evaluate_columns(self.columns, program)[None])[0])


@dataclass(frozen=True)
class ProbedProxy:
    """A score that a network with random weights gives on random images."""

    name: str
    probe: Callable[[ProbedNetwork], float]

    def score(self, network: Arch | Program, *, seed: int = 0) -> float:
        """Return one network's score, nan where it cannot be computed; a seed gives the same score again.

        Raises ValueError for a bare Program.
        """
        from hvnas.accuracy.proxies.probed import ProbedNetwork

        if isinstance(network, Program):
            raise ValueError(
                f"{self.name}: needs a network to run, and a Program has no weights; pass its Arch"
            )
        return self.score_probed(ProbedNetwork.of(network, seed=seed))

    def score_probed(self, subject: ProbedNetwork) -> float:
        """As `score`, for any torch module that `ProbedNetwork.ready` made ready."""
        import torch

        try:
            return float(self.probe(subject))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # a spectrum of what is not finite
            return float("nan")


Proxy = CountedProxy | ProbedProxy
_PROXIES: Registry[Proxy] = Registry("proxy")


def register_count(
    name: str, *columns: Column
) -> Callable[[Callable[[Array], Array]], Callable[[Array], Array]]:
    """Decorator: a formula of `columns`, ``values [n, columns] -> scores [n]``, is the proxy `name`."""

    def register(combine: Callable[[Array], Array]) -> Callable[[Array], Array]:
        _PROXIES.add(name, CountedProxy(name, columns, combine))
        return combine

    return register


def register_probe(
    name: str,
) -> Callable[[Callable[[ProbedNetwork], float]], Callable[[ProbedNetwork], float]]:
    """Decorator: a function of a `ProbedNetwork` is the proxy `name`."""

    def register(probe: Callable[[ProbedNetwork], float]) -> Callable[[ProbedNetwork], float]:
        _PROXIES.add(name, ProbedProxy(name, probe))
        return probe

    return register


def list_proxies() -> tuple[str, ...]:
    """Return names that `load_proxy` takes: counts first, then those that run the network."""
    return tuple(_PROXIES)


def load_proxy(name: str) -> Proxy:
    """Return the proxy called `name`. Raises ValueError naming those that exist."""
    proxy = _PROXIES[name]
    if isinstance(proxy, ProbedProxy) and isinstance(proxy.probe, Late):
        return replace(proxy, probe=proxy.probe.load())
    return proxy


PARAMS, MACS, ACTS = (next(c for c in COLUMNS if c.name == name) for name in ("params", "macs", "acts"))


@register_count("params", PARAMS)
def params(values: Array) -> Array:
    """Trainable parameters, position biases and tokens included.

    Convolution, linear and attention layers alike count by their weights. Source: none needed; it is the
    baseline that 2301.11300 finds no earlier proxy to beat consistently. Known failure: blind to
    resolution, to the order of stages, and to token mixers without weights; maximised at given MACs it
    finds poor networks. Cost: a pass over the Program, about a millisecond, no weights allocated.
    """
    return values[:, 0]


@register_count("macs", MACS)
def macs(values: Array) -> Array:
    """MACs of one image: convolutions, linear layers and both products of attention.

    Source: none needed; "complexity" in AZ-NAS (2403.19232). Known failure: inside a band of equal MACs
    it says nothing. Cost: a pass over the Program, about a millisecond, no weights allocated.
    """
    return values[:, 0]


@register_count("acts", ACTS)
def acts(values: Array) -> Array:
    """Elements that convolutions, linear layers and attention products write for one image.

    Attention maps (queries by keys, every head) are included, as in timm's ``macts``; norms, activation
    functions and pooling write nothing that counts. Source: activations as a measure of a network's
    size, 2003.13678 (section 3.4, for convolutions). Known failure: grows with resolution and with
    attention on fine maps whether or not they help. Cost: a pass over the Program, about a
    millisecond, no weights allocated.
    """
    return values[:, 0]


@register_count("free", PARAMS, ACTS)
def free(values: Array) -> Array:
    """``log(params) + log(acts)``, attention maps included: what every other proxy has to beat.

    No fit and no data. Defined for all layers as `params` and `acts` are. Source: this project, chosen
    because it ranks published networks well, so its own figures on published networks carry a bonus
    of selection. Known failure: a search maximises activations if nothing bounds them; it cannot see
    what costs neither parameters nor activations (BoTNet-26 above ResNet-26 with fewer parameters).
    Cost: a pass over the Program, about a millisecond, no weights allocated.
    """
    scores: Array = np.log(np.maximum(values, 1.0)).sum(axis=1)
    return scores


register_probe("naswot")(Late("hvnas.accuracy.proxies.activations:naswot"))
register_probe("zico")(Late("hvnas.accuracy.proxies.gradients:zico"))
register_probe("az_expressivity")(Late("hvnas.accuracy.proxies.activations:az_expressivity"))
register_probe("az_trainability")(Late("hvnas.accuracy.proxies.activations:az_trainability"))
register_probe("synflow")(Late("hvnas.accuracy.proxies.gradients:synflow"))
register_probe("dss")(Late("hvnas.accuracy.proxies.gradients:dss"))
