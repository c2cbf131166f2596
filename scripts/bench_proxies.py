"""Time of every zero-cost proxy on one network: seconds of wall time and of processor time.

    python scripts/bench_proxies.py                        # EfficientFormer-L1, two threads
    python scripts/bench_proxies.py coatnet_0 --threads 1

The median of --repeats after one call that is not timed, building the network included.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import hvnas
from hvnas.accuracy.proxies import list_proxies, load_proxy


def timed(name: str, arch: hvnas.Arch, repeats: int) -> tuple[float, float]:
    """Median wall and processor seconds of one score."""
    proxy = load_proxy(name)
    proxy.score(arch)
    walls, cpus = [], []
    for seed in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        proxy.score(arch, seed=seed)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="efficientformer_l1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arch = hvnas.load_arch(options.model)
    program = arch.lower()
    print(
        f"{arch.name}: {program.params / 1e6:.1f} M params, {program.macs / 1e9:.2f} G MACs, "
        f"{arch.resolution} px; {options.threads} threads"
    )
    print(f"{'proxy':16}{'wall s':>8}{'processor s':>13}")
    for name in list_proxies():
        wall, cpu = timed(name, arch, options.repeats)
        print(f"{name:16}{wall:8.3f}{cpu:13.3f}", flush=True)


if __name__ == "__main__":
    main()
