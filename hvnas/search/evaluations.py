"""The numbers of evaluated architectures, a batch at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hvnas.search.seams import Bools, Floats


@dataclass(frozen=True)
class Evaluations:
    """n evaluated architectures, one array [n] per number.

    `ms` with `low` and `high` (its 5-95 % interval) in milliseconds on the first device; `inside` the gates
    of all devices; `top1` and `sd` in points, or a score and 0, or nan where it was not worth estimating;
    `params` and `macs` as counts; `violation`, 0 where the architecture is feasible, else the relative
    excesses over budget and constraints plus the number of rules broken (gates and size limits); `excess`,
    where it is feasible the largest of those excesses, negative for the room left, else the violation.
    `costs` [n, k] holds the objectives, all to be minimised; `more` [n, m] what `Problem.more` names.
    """

    ms: Floats
    low: Floats
    high: Floats
    inside: Bools
    top1: Floats
    sd: Floats
    params: Floats
    macs: Floats
    violation: Floats
    excess: Floats
    costs: Floats
    more: Floats

    def __repr__(self) -> str:
        return f"Evaluations({len(self)} architectures, {int(self.feasible.sum())} feasible)"

    def __len__(self) -> int:
        return len(self.ms)

    @cached_property
    def objective(self) -> Floats:
        """Mean minus one standard deviation of top-1, in points: what a search maximises."""
        return self.top1 - self.sd

    @cached_property
    def feasible(self) -> Bools:
        """Within the budget, margin included, and the constraints, and no rule broken that counts."""
        return self.violation == 0

    def arrays(self) -> dict[str, np.ndarray]:
        """The stored arrays by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def take(self, index: np.ndarray | slice) -> Evaluations:
        """The architectures at `index` (indices, a mask or a slice)."""
        return Evaluations(**{name: array[index] for name, array in self.arrays().items()})

    @staticmethod
    def join(parts: Sequence[Evaluations]) -> Evaluations:
        """Several batches as one."""
        filled = [part for part in parts if len(part)] or list(parts[:1])
        names = [field.name for field in dataclasses.fields(Evaluations)]
        return Evaluations(
            **{name: np.concatenate([getattr(part, name) for part in filled]) for name in names}
        )

    @staticmethod
    def stored(arrays: Mapping[str, np.ndarray], *, prefix: str = "") -> Evaluations:
        """The batch whose `arrays`, each name with `prefix` before it, are among these.

        Raises KeyError where one is missing, ValueError where one is of another form.
        """
        found = Evaluations(**{f.name: arrays[prefix + f.name] for f in dataclasses.fields(Evaluations)})
        for name, array in found.arrays().items():
            shape = (len(found), *array.shape[1:2]) if name in ("costs", "more") else (len(found),)
            if array.shape != shape or array.dtype.kind != ("b" if name == "inside" else "f"):
                raise ValueError(f"{prefix}{name}: is of another form than {len(found)} numbers")
        return found

    @staticmethod
    def none() -> Evaluations:
        """An empty batch."""
        fields: dict[str, Any] = {f.name: np.empty(0) for f in dataclasses.fields(Evaluations)}
        fields["inside"] = np.empty(0, dtype=np.bool_)
        fields["costs"] = fields["more"] = np.empty((0, 0))
        return Evaluations(**fields)
