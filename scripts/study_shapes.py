"""Does the synthetic set `shapes` need both a local texture and a global arrangement?

Trains four tiny networks on it by the recipe `tiny` and prints their top-1: one that pools local features
(9 px), one that sees the whole image at a quarter of its resolution only, one of convolution and attention,
one of convolution and a dense layer over positions. A bag of features is bounded by 25 % (it can tell which
texture occurs twice); chance is 6.25 %.

    python scripts/study_shapes.py [--epochs 12] [--train-size 8192]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from hvnas.train.data import load_data
from hvnas.train.recipes import load_recipe, training_of
from hvnas.train.settings import Augment
from hvnas.train.trainer import Trainer

DIM = 64


def conv(channels: int, out: int, kernel: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


def pyramid() -> nn.Module:
    """Strides to 8: 4 x 4 positions at 32 px, each about a patch."""
    return nn.Sequential(conv(3, 32, 5, 2), conv(32, DIM, 3, 2), conv(DIM, DIM, 3, 2))


class Attention(nn.Module):
    """Two transformer layers over what `tokens` makes, and their mean."""

    def __init__(self, tokens: nn.Module, count: int, classes: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.position = nn.Parameter(0.5 * torch.randn(1, count, DIM))
        layers = [
            nn.TransformerEncoderLayer(
                DIM, 4, 2 * DIM, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(2)
        ]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(DIM, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x = self.tokens(x_BCHW).flatten(2).transpose(1, 2)
        return self.head(self.layers(x + self.position).mean(1))


def local(classes: int) -> nn.Module:
    return nn.Sequential(
        conv(3, 48, 5, 2),
        conv(48, 48, 3, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 96),
        nn.ReLU(),
        nn.Linear(96, classes),
    )


def coarse(classes: int) -> nn.Module:
    return Attention(nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, DIM, 1)), 64, classes)


def hybrid(classes: int) -> nn.Module:
    return Attention(pyramid(), 16, classes)


def dense(classes: int) -> nn.Module:
    return nn.Sequential(
        pyramid(), nn.Flatten(), nn.Linear(16 * DIM, 256), nn.ReLU(), nn.Linear(256, classes)
    )


NETWORKS = {
    "local features, mean": local,
    "coarse image, attention": coarse,
    "convolution and attention": hybrid,
    "convolution and dense layer": dense,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train-size", type=int, default=8192)
    options = parser.parse_args()
    data = load_data("shapes", train_size=options.train_size)
    recipe = load_recipe("tiny")
    recipe = replace(recipe, training=replace(training_of(recipe), augment=Augment()))
    print(data)
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        started = time.perf_counter()
        trainer = Trainer(make(data.classes), data, recipe=recipe, epochs=options.epochs)
        trainer.run()
        seconds = time.perf_counter() - started
        print(f"{name:28} {trainer.test():6.2f} % after {options.epochs} epochs, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
