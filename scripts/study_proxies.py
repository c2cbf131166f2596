"""How well zero-cost proxies rank trained networks, beside counts and the free baseline, as Markdown.

    python scripts/study_proxies.py                 # some minutes on one core
    python scripts/study_proxies.py --nets 100      # every network of ViT-Bench-101

Four populations: PiT and AutoFormer networks trained on three small tasks (ViT-Bench-101), this project's
fixed points with the top-1 of their papers, and timm's published networks of the evidence's hybrid,
transformer, pooling and mobile families. Counts are those of the full resolution. Proxies that run the
network do so at half the resolution, rounded up to a multiple of 32,
which takes a third of the time; each is one seed. Each cell is Kendall's
tau; a second table gives Spearman's rho. A score that is not finite ranks last and is counted.
"""

from __future__ import annotations

import argparse
import csv
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from _timm import import_timm
from _vitbench import TASKS, trained_networks
from scipy.stats import kendalltau, spearmanr
from torch import nn

import hvnas
from hvnas.accuracy.evaluate import FAMILIES
from hvnas.accuracy.proxies import CountedProxy, load_proxy
from hvnas.accuracy.proxies.probed import ProbedNetwork, seeded
from hvnas.accuracy.proxies.registry import COUNTED, PROBED
from hvnas.accuracy.ranks import mean_rank, settled
from hvnas.ops import Column, Program

EVIDENCE = Path(hvnas.__file__).parent / "accuracy" / "data" / "evidence.csv"
VITBENCH_PIXELS = 224
MIXTURES = (("free", "az_trainability"), ("free", "zico"), ("free", "naswot", "zico", "az_trainability"))
# Classes of timm that are one block of a network.
_BLOCK = re.compile(r"Block|Bottleneck|InvertedResidual|AttentionDownsample|RepVitDownsample")
# Built for one size by timm, whatever one asks for.
_ONE_SIZE = ("efficientformer_", "efficientformerv2_")


@dataclass(frozen=True)
class Network:
    """A network, its counts by proxy, and how to make it ready to be probed."""

    name: str
    counts: dict[str, float]
    subject: Callable[[], ProbedNetwork]


@dataclass
class Population:
    """Networks with the accuracies that they were trained to, one array per task in points."""

    title: str
    networks: list[Network]
    truth: dict[str, np.ndarray]


def halved(resolution: int) -> int:
    """Half of `resolution`, rounded up to a multiple of 32."""
    return -(-resolution // 64) * 32


def counts(program: Program) -> dict[str, float]:
    """The counted proxies of a Program."""
    return {name: load_proxy(name).score(program) for name in COUNTED}


def vitbench(space: str, title: str, nets: int, seed: int) -> Population:
    """Networks of ViT-Bench-101, every so many, so that `nets` are left."""
    trained = trained_networks(space)
    trained = trained[:: max(1, len(trained) // nets)][:nets]

    def subject(i: int) -> ProbedNetwork:
        with seeded(seed):
            model = trained[i].build(halved(VITBENCH_PIXELS))
        return ProbedNetwork.ready(model, blocks=model.blocks, resolution=halved(VITBENCH_PIXELS), seed=seed)

    networks = []
    for i, network in enumerate(trained):
        program = hvnas.trace(network.build(VITBENCH_PIXELS), resolution=VITBENCH_PIXELS)
        networks.append(Network(f"{space}_{i}", counts(program), lambda i=i: subject(i)))
    truth = {f"{title}, {task}": np.array([n.accuracy[task] for n in trained]) for task in TASKS}
    return Population(title, networks, truth)


def fixed_points(most_macs: float, seed: int) -> Population:
    """The models of the papers that were trained on ImageNet-1k and need at most `most_macs`."""
    archs = [hvnas.load_arch(name) for name in hvnas.list_models()]
    archs = [a for a in archs if (a.published or {}).get("top1") and a.lower().macs <= most_macs]
    networks = [
        Network(
            arch.name,
            counts(arch.lower()),
            lambda arch=arch: ProbedNetwork.of(arch.with_(resolution=halved(arch.resolution)), seed=seed),
        )
        for arch in archs
    ]
    truth = np.array([float((arch.published or {})["top1"]) for arch in archs])
    return Population("fixed points", networks, {"fixed points": truth})


def evidence(most_macs: float, seed: int) -> Population:
    """timm's networks of the evidence's families, each with its best published top-1, up to `most_macs`."""
    best: dict[str, dict[str, str]] = {}
    with EVIDENCE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["model"].split(".")[0]
            if row["family"] not in FAMILIES or row["origin"] != "timm" or float(row["x.macs"]) > most_macs:
                continue
            if name not in best or float(row["top1"]) > float(best[name]["top1"]):
                best[name] = row
    networks = [
        Network(name, _stored_counts(row), lambda name=name, row=row: _timm_subject(name, row, seed))
        for name, row in best.items()
    ]
    truth = np.array([float(row["top1"]) for row in best.values()])
    return Population("timm families", networks, {"timm families": truth})


def _stored_counts(row: dict[str, str]) -> dict[str, float]:
    def value(column: Column) -> float:
        return float(row[f"x.{column.name}"])

    found = {}
    for name in COUNTED:
        proxy = load_proxy(name)
        assert isinstance(proxy, CountedProxy)
        found[name] = float(proxy.combine(np.array([[value(column) for column in proxy.columns]]))[0])
    return found


def _timm_subject(name: str, row: dict[str, str], seed: int) -> ProbedNetwork:
    timm, resolution = import_timm(), int(row["resolution"])
    if not name.startswith(_ONE_SIZE):
        resolution = halved(resolution)
    with seeded(seed):
        try:
            model = timm.create_model(name, pretrained=False, img_size=resolution)
        except TypeError:  # takes images of any size
            model = timm.create_model(name, pretrained=False)
    return ProbedNetwork.ready(model, blocks=timm_blocks(model), resolution=resolution, seed=seed)


def timm_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules whose class is named as a block."""
    for child in model.children():
        if _BLOCK.search(type(child).__name__):
            yield child
        else:
            yield from timm_blocks(child)


def score(population: Population) -> dict[str, np.ndarray]:
    """Every proxy's scores of a population, nan where one cannot be computed. Shape [networks] each."""
    n = len(population.networks)
    scores = {name: np.full(n, np.nan) for name in (*COUNTED, *PROBED)}
    for i, network in enumerate(population.networks):
        for name in COUNTED:
            scores[name][i] = network.counts[name]
        for name in PROBED:
            scores[name][i] = _probe(name, network)
    for names in MIXTURES:
        scores[" + ".join(names)] = mean_rank([scores[name] for name in names])
    return scores


def _probe(name: str, network: Network) -> float:
    proxy = load_proxy(name)
    assert not isinstance(proxy, CountedProxy)
    try:
        return proxy.score_probed(network.subject())
    except (RuntimeError, ValueError, AssertionError) as error:
        print(f"<!-- {network.name}: {name}: {str(error).splitlines()[0][:100]} -->", flush=True)
        return float("nan")


def table(columns: list[tuple[str, np.ndarray, dict[str, np.ndarray]]], statistic: Callable) -> str:
    """A Markdown table: a row per proxy, a column per task, the number of failures at the end."""
    names = list(columns[0][2])
    head = ["proxy", *(f"{title} ({len(truth)})" for title, truth, _ in columns), "not finite"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for name in names:
        cells = [f"{statistic(settled(scores[name]), truth)[0]:.2f}" for _, truth, scores in columns]
        # tasks of one population share their scores
        apart = {id(scores): scores for _, _, scores in columns}.values()
        failed = sum(int((~np.isfinite(scores[name])).sum()) for scores in apart)
        lines.append("| " + " | ".join([f"`{name}`", *cells, str(failed)]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nets", type=int, default=40, help="networks of each space of ViT-Bench-101")
    parser.add_argument("--fixed-macs", type=float, default=3e9, help="largest fixed point, in MACs")
    parser.add_argument("--timm-macs", type=float, default=1.5e9, help="largest network of timm, in MACs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    makers = (
        lambda: vitbench("pit", "PiT", options.nets, options.seed),
        lambda: vitbench("autoformer_2", "AutoFormer", options.nets, options.seed),
        lambda: fixed_points(options.fixed_macs, options.seed),
        lambda: evidence(options.timm_macs, options.seed),
    )
    columns = []
    for make in makers:
        started, cpu = time.perf_counter(), time.process_time()
        population = make()
        scores = score(population)
        columns += [(title, truth, scores) for title, truth in population.truth.items()]
        spent, cpu = time.perf_counter() - started, time.process_time() - cpu
        print(
            f"<!-- {population.title}: {len(population.networks)} networks, {spent:.0f} s, "
            f"{cpu:.0f} s of processor -->",
            flush=True,
        )
    print(f"\nKendall's tau, seed {options.seed}:\n\n{table(columns, kendalltau)}")
    print(f"\nSpearman's rho:\n\n{table(columns, spearmanr)}")


if __name__ == "__main__":
    main()
