"""What a search finds beside the fixed points, at four budgets, at margin 0 and at the default margin.

For each budget: the best network's latency and top-1 minus one sd, and the same of the fixed point that
EfficientFormer's authors built for it, both estimated under one recipe.
"""

from __future__ import annotations

import argparse

import hvnas

PAIRS = (
    (1.6, "efficientformer_l1"),
    (2.0, "efficientformer_l1"),
    (3.0, "efficientformer_l3"),
    (7.0, "efficientformer_l7"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--space", default="hybrid-mobile")
    parser.add_argument("--recipe", default="modern300")
    parser.add_argument("--evals", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    space, device = hvnas.load_space(options.space), hvnas.load_device(options.device)
    estimator = hvnas.load_estimator("surrogate")
    print(f"{device.name}, {options.recipe}, seed {options.seed}; top-1 is estimated, not trained")
    print(
        f"{'budget':>7} {'margin':>7} {'found ms':>9} {'mean - sd':>10} {'beside it':>20} {'mean - sd':>10}"
    )
    for budget, name in PAIRS:
        estimate = estimator.estimate([hvnas.load_arch(name)], recipe=options.recipe)
        published = float(estimate.mean[0] - estimate.sd[0])
        for margin in (0.0, None):
            result = hvnas.search(
                space,
                device,
                budget_ms=budget,
                margin=margin,
                recipe=options.recipe,
                evals=options.evals,
                seed=options.seed,
            )
            best = result.to_json()["best"]
            found = best["top1"] - best["top1_sd"]
            shown = "default" if margin is None else f"{margin:g}"
            ms = best["latency_ms"]
            print(
                f"{budget:7.1f} {shown:>7} {ms:9.3f} {found:10.2f} {name:>20} {published:10.2f}", flush=True
            )


if __name__ == "__main__":
    main()
