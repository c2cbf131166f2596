"""Work out beforehand what every search on what ships would work out again: search_spaces/compiled/.

Run it after a change of hvnas/ops, hvnas/blocks, hvnas/space, the columns of devices and surrogate, the
default space, the models of papers, or a device; tests say where that was forgotten. The files are the same
wherever they are made, but for the last digits of the surrogate's regression.

    python scripts/compile_tables.py            # two minutes
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

import numpy as np

from hvnas._cache import OFF, VARIABLE, ship, ship_facts, text_array

# Nothing that ships or is cached already goes into what will ship.
os.environ[VARIABLE] = OFF

from hvnas.accuracy.surrogate.features import COLUMNS
from hvnas.accuracy.surrogate.surrogate import SHIPPED, load_surrogate
from hvnas.arch.files import FACTS, count_models, facts_key
from hvnas.latency import list_devices, load_device, registry
from hvnas.ops import MACS, PARAMS, Column
from hvnas.search import make_problem
from hvnas.search.problem import SIZE
from hvnas.search.reach import REACH, UNBOUNDED_MS, find_reach, known_rows, packed_reach, reach_code
from hvnas.search.rows import distinct
from hvnas.search.runs.checkpoint import Checkpoint
from hvnas.search.runs.session import Silent
from hvnas.search.strategies.evolution import Evolution
from hvnas.space import FastPath, list_spaces, load_space
from hvnas.space.fastpath.compiled import ship_templates
from hvnas.space.fastpath.fastpath import CHUNK
from hvnas.space.fastpath.templates import Template
from hvnas.space.sampling import Sampler
from hvnas.space.space import FIXED, encode_models, fixed_key, pack_fixed

SPACE = "hybrid-mobile"
DEVICE, BUDGETS, EVALS = "iphone12", (1.0, 2.0, 5.0), 10_000
ROWS = 10_000
# Of the pairs of channels of a block that is no polynomial, those that networks had most often.
PAIRS = 4


def shipped_columns() -> list[Column]:
    """All that a search over shipped devices reads, but for what is alive at once."""
    devices = [column for name in list_devices() for column in load_device(name).columns]
    return list(dict.fromkeys([*devices, *COLUMNS, PARAMS, MACS, SIZE]))


class _Met:
    """Columns of networks that note which networks they were asked for."""

    def __init__(self, path: FastPath) -> None:
        self.path, self.rows = path, list[np.ndarray]()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        self.rows.append(rows)
        return self.path(rows)


def networks_of_searches() -> np.ndarray:
    """The networks that searches of the default space look at, and random ones. Shape [n, genes]."""
    space = load_space(SPACE)
    found = [Sampler(space).propose(ROWS, rng=np.random.default_rng(0))]
    for seed, budget in enumerate(BUDGETS):
        problem = make_problem(space, DEVICE, "surrogate", budget_ms=budget)
        met = _Met(FastPath(space, problem.columns))
        problem = replace(problem, features=met)
        reach = find_reach(problem)
        problem = problem.with_seeds(np.concatenate([reach.min_row[None], known_rows(space)]))
        Evolution().run(problem, evals=EVALS, seed=seed, progress=Silent(), checkpoint=Checkpoint())
        found += met.rows
        print(f"{sum(map(len, found)):,} networks looked at", flush=True)
    return distinct(np.concatenate(found))


def compile_templates(rows: np.ndarray) -> None:
    """The templates of `rows` [n, genes] for all columns that shipped devices and the surrogate read."""
    path = FastPath(load_space(SPACE), shipped_columns())
    for start in range(0, len(rows), CHUNK):
        path.meet(rows[start : start + CHUNK])
    wanted: dict[Template, list[tuple[int, int]]] = {}
    for template, pair, _ in path.pending:
        wanted.setdefault(template, []).append(pair)
    for number, (template, pairs) in enumerate(wanted.items()):
        if not template.fitted:
            template.learn()
        if not template.exact:
            template.known = {}
            template.know(pairs[:PAIRS] if template.fitted else pairs)
        if number % 1000 == 0:
            print(f"{number:,} of {len(wanted):,} templates worked out", flush=True)
    exact = sum(template.exact for template in path.keyed.values())
    parts = path.part_tables()
    file = ship_templates(path.space.spec.hash, path.columns, path.keyed, path.widths, parts)
    print(
        f"{exact:,} of {len(path.keyed):,} templates of {len(parts.place):,} parts are polynomials; "
        f"{file.stat().st_size:,} bytes"
    )


def compile_fixed_points() -> None:
    """The rows of the papers' models in every space that ships."""
    spaces = [load_space(name) for name in list_spaces()]
    found = {space.hash: encode_models(space) for space in spaces}
    sizes = {f"{space.hash}.size": text_array(str(space.size)) for space in spaces}
    ship(FIXED, fixed_key(), pack_fixed(found) | sizes)
    print(f"{sum(len(names) for names, _ in found.values())} fixed points in {len(found)} spaces")


def compile_models() -> None:
    """What is listed of the papers' models."""
    file = ship_facts(FACTS, facts_key(), count_models())
    print(f"facts of models: {file.stat().st_size:,} bytes")


def compile_devices() -> None:
    """What is read of the devices that ship."""
    file = ship_facts(registry.FACTS, registry.facts_key(), registry.device_facts())
    print(f"facts of devices: {file.stat().st_size:,} bytes")


def compile_reach() -> None:
    """The reach of the default space on every device that ships, whatever the budget."""
    arrays: dict[str, np.ndarray] = {}
    space = load_space(SPACE)
    for name in list_devices():
        problem = make_problem(space, name, "surrogate", budget_ms=UNBOUNDED_MS)
        arrays |= packed_reach(problem)
        print(f"reach of {SPACE} on {name}", flush=True)
    ship(REACH, reach_code(), arrays)


def compile_surrogate() -> None:
    """The regression on the evidence that ships."""
    surrogate = load_surrogate()
    file = ship(SHIPPED, surrogate.shipped_key, surrogate.refit(surrogate.evidence).arrays())
    print(f"the surrogate's regression: {file.stat().st_size:,} bytes")


PARTS = {
    "surrogate": compile_surrogate,
    "templates": lambda: compile_templates(networks_of_searches()),
    "fixed-points": compile_fixed_points,
    "models": compile_models,
    "devices": compile_devices,
    "reach": compile_reach,
}


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may be repeated")
    arguments = parser.parse_args()
    started = time.perf_counter()
    for name in arguments.only or PARTS:
        PARTS[name]()
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
