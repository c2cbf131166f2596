"""Does slimming find a better network than chance does within the same latency?

Slims a trained supernet under a budget, then trains what it found and random members of the space within the
same budget by themselves on the supernet's data, all by one recipe, and holds the one against the median of
the others. The interval is a bootstrap over the random members, and over seeds where there are several.

    hvnas supernet train --space hybrid-tiny --data shapes --importance --out NET
    python scripts/study_slimming.py --supernet NET --device HOST.yaml --out STUDY

Every training is written to ``standalone.csv`` in `--out` when it ends: the same command goes on after a
kill.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
from gain.statistics import over_median

from hvnas.arch import Arch, load_arch
from hvnas.search import InfeasibleBudget, search
from hvnas.search.making import make_problem
from hvnas.search.problem import Problem
from hvnas.search.runs.folder import BEST
from hvnas.space import Space
from hvnas.studies.alone import Alone, Standalone, draws
from hvnas.supernet.checkpoint import SupernetFolder
from hvnas.supernet.slimming import Moves

DRAWN = 1000  # random members that tell latencies


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--supernet", type=Path, required=True, help="folder of hvnas supernet train")
    parser.add_argument("--device", required=True, help="a device by name or YAML file")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--budget", type=float, help="in ms; default: the median of random members")
    parser.add_argument("--strategy", default="slimming", help="slimming or slimming-joint")
    parser.add_argument("--options", default="", help="of the estimator, as images=512,bn_calib=128")
    parser.add_argument("--evals", type=int, default=200)
    parser.add_argument("--members", type=int, default=20, help="random members")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each network")
    parser.add_argument("--recipe", default="brief")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--train-size", type=int)
    parser.add_argument("--test-size", type=int)
    parser.add_argument("--seed", type=int, default=0, help="of the random members")
    return parser.parse_args()


def slimmed(args: argparse.Namespace, estimator: str, budget_ms: float) -> Arch:
    """What slimming finds, from the run's folder where it ran before."""
    run = args.out / args.strategy
    if not (run / BEST).is_file():
        search(
            SupernetFolder(args.supernet).config.space,
            args.device,
            budget_ms=budget_ms,
            strategy=args.strategy,
            estimator=estimator,
            evals=args.evals,
            margin=0.0,
            outside="allow",
            out=run,
        )
    return load_arch(run / BEST)


def random_members(space: Space, problem: Problem, count: int, *, seed: int) -> list[Arch]:
    """Uniform members within the budget."""
    rng = np.random.default_rng(seed)
    found = draws(space, rng=rng, fit=lambda arch: arch)
    within = (arch for arch in found if problem.allowed(space.encode(arch)[None])[0])
    return list(islice(within, count))


def main() -> None:
    args = arguments()
    folder = SupernetFolder(args.supernet)
    run = folder.config
    estimator = ",".join(filter(None, (f"supernet:{args.supernet}", args.options)))
    space = folder.space().at(run.resolution, run.classes)
    free = make_problem(space, args.device, estimator, budget_ms=1e6, margin=0.0, outside="allow")
    drawn = free.screen(space.sample(DRAWN, rng=np.random.default_rng(args.seed))).latency.ms
    budget_ms = args.budget or round(float(np.median(drawn)), 4)
    problem = make_problem(space, args.device, estimator, budget_ms=budget_ms, margin=0.0, outside="allow")
    share = float((drawn <= budget_ms).mean())
    print(
        f"{space.name} on {problem.device.name}: budget {budget_ms:g} ms, "
        f"which {share:.0%} of random members meet",
        flush=True,
    )
    try:
        best = slimmed(args, estimator, budget_ms)
    except InfeasibleBudget as error:
        raise SystemExit(str(error)) from None
    alone = Standalone(
        args.out,
        Alone(
            data=run.data,
            resolution=run.resolution,
            train_size=args.train_size or run.train_size,
            test_size=args.test_size or run.test_size,
            recipe=args.recipe,
            epochs=args.epochs,
        ),
    )
    members = random_members(space, problem, args.members, seed=args.seed)
    assert best in space and Moves(space, {}).in_order(space.encode(best)), "a member, local before global"

    def trained(arch: Arch, name: str) -> np.ndarray:
        scores = [alone.top1(arch, seed=seed) for seed in range(args.seeds)]
        ms = float(problem.screen(space.encode(arch)[None]).latency.ms[0])
        shown = " ".join(f"{score:.2f}" for score in scores)
        print(f"{name:10} {ms:7.3f} ms {arch.lower().macs / 1e6:7.1f} M MACs  top-1 {shown}", flush=True)
        return np.array(scores, dtype=np.float64)

    own = trained(best, "slimmed")
    trials = np.array([trained(arch, f"random {i + 1}") for i, arch in enumerate(members)])
    others, gain = trials.mean(axis=1), over_median(own, trials)
    better = float((others < own.mean()).mean())
    print(
        f"slimmed {own.mean():.2f}, median of {len(others)} random members {np.median(others):.2f}: "
        f"{gain.value:+.2f} points (90 % interval {gain.low:+.2f} to {gain.high:+.2f}), "
        f"above {better:.0%} of them"
    )
    print("verdict:", "holds" if gain.value >= 0 else "does not hold", "(slimmed >= median)")


if __name__ == "__main__":
    main()
