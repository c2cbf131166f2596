"""How much longer a training step takes inside a supernet than in the same network by itself.

    python scripts/bench_supernet.py --space hybrid-tiny --subnets 8 --rounds 15

Draws members with at least a quarter of the largest member's MACs, and times forward and backward (a batch of
32 random images, cross-entropy) of each inside `Supernet` and of its extracted copy, in turn so that a busy
machine slows both. Prints for each member the medians and the median of the rounds' ratios, then the median
of all members, and apart from that the optimizer's step (AdamW) over the shared tensors and over the copy's.
Times are of the process's CPUs where they are the device: what other processes take is left out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hvnas.arch import Arch
from hvnas.space import load_space
from hvnas.supernet import Supernet

LEAST_SHARE = 0.25
CLASSES = 10


def main() -> int:
    args = _parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    space = load_space(args.space)
    net = Supernet(space, classes=CLASSES, resolution=args.resolution).to(args.device).train()
    largest = net.largest.lower().macs
    print(f"{space.name}: {net.need}; largest member {largest / 1e6:.1f} M MACs; batch {args.batch}")
    ratios = []
    for arch in _members(net, args.subnets, args.seed, LEAST_SHARE * largest):
        ratios.append(_compare(net, arch, args))
    median = statistics.median(ratios)
    print(f"median of {len(ratios)} members: {median:.3f}, largest {max(ratios):.3f} (bound {args.bound})")
    return 0 if median <= args.bound else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="hybrid-tiny")
    parser.add_argument("--subnets", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bound", type=float, default=1.15)
    return parser.parse_args()


def _members(net: Supernet, count: int, seed: int, least: float) -> Iterable[Arch]:
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        arch = net.sample(rng)
        if arch.lower().macs >= least:
            found += 1
            yield arch


def _compare(net: Supernet, arch: Arch, args: argparse.Namespace) -> float:
    """The ratio of the medians for one member."""
    net.set(arch)
    alone = net.extract().train()
    images = torch.randn(args.batch, 3, arch.resolution, arch.resolution, device=args.device)
    labels = torch.randint(0, CLASSES, (args.batch,), device=args.device)
    times: dict[str, list[float]] = {"in": [], "alone": [], "step in": [], "step alone": []}
    used = list(net.active_parameters().values())
    optimizers = torch.optim.AdamW(used, lr=1e-6), torch.optim.AdamW(alone.parameters(), lr=1e-6)
    turns = [("in", net, optimizers[0]), ("alone", alone, optimizers[1])]
    for _ in range(args.rounds):
        turns.reverse()
        for name, model, optimizer in turns:
            times[name].append(_timed(lambda m=model: _pass(m, images, labels), args.device))  # type: ignore[misc]
            times[f"step {name}"].append(_timed(optimizer.step, args.device))
    ms = {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["in"][1:], times["alone"][1:], strict=True))
    print(
        f"{arch.lower().macs / 1e6:6.1f} M MACs: {ms['in']:.1f} ms in the supernet, {ms['alone']:.1f} ms "
        f"alone, ratio {ratio:.3f}; AdamW's step {ms['step in']:.1f} against {ms['step alone']:.1f} ms",
        flush=True,
    )
    return ratio


def _pass(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(images), labels).backward()


def _timed(run: Callable[[], object], device: str) -> float:
    if not device.startswith("cuda"):
        start = time.process_time()
        run()
        return time.process_time() - start
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
