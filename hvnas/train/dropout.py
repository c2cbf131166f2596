"""Dropout before the classifiers of any network's head, for training alone."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from hvnas.nn import Network


def drop_features(network: Network, rate: float) -> None:
    """Let the classifiers of `network` read what a dropout (1207.0580) of `rate` leaves, while it trains.

    Names of weights, and what the network computes in eval mode, stay. Raises ValueError where the head has
    no linear classifier.
    """
    if rate == 0.0:
        return
    classes = network.arch.head.out
    found = [
        module
        for name, module in network.head.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and "hidden" not in name
    ]
    if not found:
        raise ValueError(
            f"training.head_dropout: the head {network.arch.head.type} has no linear classifier; set it to 0"
        )

    def dropped(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (F.dropout(inputs[0], rate, training=module.training), *inputs[1:])

    for classifier in found:
        classifier.register_forward_pre_hook(dropped)
