"""How fast our modules are in eval mode beside timm's, and deployed beside plain.

    python scripts/bench_forward.py [FAMILY ...] [--batch 1 8] [--rounds 12] [--builds 4]

Both networks hold the same weights. A round runs one after the other, which goes first alternating; so does,
from build to build, which is constructed first, since memory layout follows from that. One thread; the clock
is the processor time of this process, to which other processes matter less than to the wall clock.
Printed are medians over all rounds: milliseconds per batch, and the ratio of the two runs of a round.
Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from _timm import import_timm
from torch import Tensor, nn

import hvnas
from hvnas.arch import Arch
from hvnas.nn.foreign import converter

TARGET = 1.02
SHORTEST_S = 0.03  # of one timing: shorter forward passes are repeated


@dataclass(frozen=True)
class Pair:
    """A network of timm's and ours that computes the same."""

    theirs: str
    arch: str
    mlp_ratio: float | None = None

    def load(self) -> Arch:
        """Our architecture; `mlp_ratio` is timm's where the fixed point has another."""
        arch = hvnas.load_arch(self.arch)
        if self.mlp_ratio is None:
            return arch
        (stage,) = arch.stages
        assert stage.global_ is not None
        block = stage.global_.block.with_(expand=self.mlp_ratio)
        return replace(arch, stages=(replace(stage, global_=replace(stage.global_, block=block, depth=12)),))


FAMILIES = {
    "efficientformer": Pair("efficientformer_l1", "efficientformer_l1"),
    "efficientformerv2": Pair("efficientformerv2_s1", "efficientformerv2_s1"),
    "poolformer": Pair("poolformer_s12", "poolformer_s12"),
    "coatnet": Pair("coatnet_0_224", "coatnet_0_dws"),
    "mobilevit": Pair("mobilevit_s", "mobilevit_s"),
    "efficientvit": Pair("efficientvit_b1", "efficientvit_b1"),
    "vit": Pair("vit_small_patch16_224", "vit_p_4gf", mlp_ratio=4),
}
Builder = Callable[[], nn.Module]


def builders(pair: Pair) -> tuple[Builder, Builder]:
    """What constructs timm's network, and ours with the weights of one of timm's."""
    create = import_timm().create_model
    arch = pair.load()
    torch.manual_seed(0)
    weights = create(pair.theirs).state_dict()
    assert arch.published is not None
    ours_weights = converter("timm", arch.published["family"])(weights, arch)

    def theirs() -> nn.Module:
        model: nn.Module = create(pair.theirs)
        model.load_state_dict(weights)
        return model.eval()

    def ours() -> nn.Module:
        model = hvnas.build(arch)
        model.load_state_dict(ours_weights)
        return model.eval()

    return theirs, ours


def seconds(model: nn.Module, images: Tensor, repeats: int) -> float:
    """Processor time of one forward pass, the mean of `repeats` in a row."""
    start = time.process_time()
    for _ in range(repeats):
        model(images)
    return (time.process_time() - start) / repeats


def one_build(first: Builder, second: Builder, images: Tensor, rounds: int) -> list[tuple[float, float]]:
    """Times of both in `rounds` rounds, the first construction timed first in every other round."""
    models = (first(), second())
    for model in models:
        model(images)
    repeats = max(1, round(SHORTEST_S / seconds(models[0], images, 1)))
    times = []
    for i in range(rounds):
        order = (0, 1) if i % 2 == 0 else (1, 0)
        taken = {which: seconds(models[which], images, repeats) for which in order}
        times.append((taken[0], taken[1]))
    return times


def compare(
    a: Builder, b: Builder, images: Tensor, *, rounds: int, builds: int
) -> tuple[float, float, float]:
    """Median seconds of `a` and of `b`, and the median over rounds of b / a."""
    times = []
    for i in range(builds):
        if i % 2 == 0:
            times += one_build(a, b, images, rounds)
        else:
            times += [(t_a, t_b) for t_b, t_a in one_build(b, a, images, rounds)]
    return median(t for t, _ in times), median(t for _, t in times), median(t_b / t_a for t_a, t_b in times)


def report(family: str, batch: int, *, rounds: int, builds: int) -> float:
    """Print one row; returns the ratio of ours to timm's."""
    pair = FAMILIES[family]
    theirs, ours = builders(pair)
    size = pair.load().resolution
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    a, b, ratio = compare(theirs, ours, images, rounds=rounds, builds=builds)
    plain, deployed, gain = compare(ours, lambda: hvnas.deploy(ours()), images, rounds=rounds, builds=builds)
    print(
        f"{family:<18}{pair.arch:<22}{batch:>5}{1e3 * a:>10.2f}{1e3 * b:>10.2f}{ratio:>8.3f}"
        f"{1e3 * plain:>10.2f}{1e3 * deployed:>10.2f}{gain:>8.3f}",
        flush=True,
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description="Forward speed beside timm, and deployed beside plain.")
    parser.add_argument(
        "families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; default: all"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=12, help="rounds per build")
    parser.add_argument("--builds", type=int, default=4)
    options = parser.parse_args()
    if unknown := set(options.families) - set(FAMILIES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(FAMILIES)}")
    torch.set_num_threads(1)
    print(
        f"{'family':<18}{'network':<22}{'batch':>5}{'timm ms':>10}{'ours ms':>10}{'ratio':>8}"
        f"{'plain ms':>10}{'deployed':>10}{'ratio':>8}"
    )
    ratios: dict[str, list[float]] = {}
    with torch.inference_mode():
        for family in options.families or FAMILIES:
            for batch in options.batch:
                ratio = report(family, batch, rounds=options.rounds, builds=options.builds)
                ratios.setdefault(family, []).append(ratio)
    slower = [f"{family} ({max(values):.3f})" for family, values in ratios.items() if max(values) > TARGET]
    print(f"ours against timm's above {TARGET}: {', '.join(slower) or 'none'}")


if __name__ == "__main__":
    main()
