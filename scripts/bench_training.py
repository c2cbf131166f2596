"""How fast our networks train beside timm's, in the same loop.

    python scripts/bench_training.py [FAMILY ...] [--batch 8] [--rounds 8] [--layout channels_last]

A step is forward, loss, backward and AdamW. Both networks hold the same weights, see the same images and have
the same memory layout: the one that hvnas train uses unless --layout says otherwise. A round is a step of
each, which goes first alternating, and from build to build so does which is constructed first. One thread;
the clock is the processor time of this process. Printed are medians over all rounds: milliseconds and
images/s, and the ratio of our throughput to timm's in a round. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from _timm import import_timm
from bench_forward import FAMILIES
from torch import Tensor, nn
from torch.nn import functional as F

import hvnas
from hvnas.nn.foreign import converter

TARGET = 1.0
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
Step = Callable[[], float]


def networks(family: str) -> tuple[Callable[[], nn.Module], Callable[[], nn.Module], int]:
    """What constructs timm's network and ours, both to be trained, with equal weights; their resolution."""
    pair = FAMILIES[family]
    create = import_timm().create_model
    arch = pair.load()
    torch.manual_seed(0)
    weights = create(pair.theirs).state_dict()
    assert arch.published is not None
    ours_weights = converter("timm", arch.published["family"])(weights, arch)

    def theirs() -> nn.Module:
        model: nn.Module = create(pair.theirs)
        model.load_state_dict(weights)
        return model.train()

    def ours() -> nn.Module:
        model = hvnas.build(arch)
        model.load_state_dict(ours_weights)
        return model.train()

    return theirs, ours, arch.resolution


def make_step(model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """A function that trains one step and returns the processor time it took."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> float:
        started = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        return time.process_time() - started

    return step


def times(family: str, options: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds of a step of timm's and of ours, round by round."""
    theirs, ours, side = networks(family)
    layout = LAYOUTS[options.layout]
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, side, side, generator=generator).contiguous(memory_format=layout)
    labels = torch.randint(1000, (options.batch,), generator=generator)
    found = []
    for build in range(options.builds):
        makers = (theirs, ours) if build % 2 == 0 else (ours, theirs)
        steps = [make_step(make().to(memory_format=layout), images, labels) for make in makers]
        if build % 2:
            steps.reverse()
        for step in steps:
            step()
        for i in range(options.rounds):
            order = (0, 1) if i % 2 == 0 else (1, 0)
            taken = {which: steps[which]() for which in order}
            found.append((taken[0], taken[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Training speed beside timm.")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="default: efficientformer")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8, help="rounds per build")
    parser.add_argument("--builds", type=int, default=2)
    parser.add_argument("--layout", choices=LAYOUTS, default="channels_last")
    options = parser.parse_args()
    if unknown := set(options.families) - set(FAMILIES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(FAMILIES)}")
    torch.set_num_threads(1)
    print(
        f"{'network':<22}{'batch':>6}{'timm ms':>10}{'ours ms':>10}{'timm img/s':>12}{'ours img/s':>12}"
        f"{'ratio':>8}"
    )
    slower = []
    for family in options.families or ["efficientformer"]:
        found = times(family, options)
        a, b = median(t for t, _ in found), median(t for _, t in found)
        ratio = median(t / o for t, o in found)
        print(
            f"{FAMILIES[family].arch:<22}{options.batch:>6}{1e3 * a:>10.1f}{1e3 * b:>10.1f}"
            f"{options.batch / a:>12.2f}{options.batch / b:>12.2f}{ratio:>8.3f}",
            flush=True,
        )
        if ratio < TARGET:
            slower.append(f"{family} ({ratio:.3f})")
    print(f"ours against timm's below {TARGET}: {', '.join(slower) or 'none'}")


if __name__ == "__main__":
    main()
