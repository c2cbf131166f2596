"""Space: a finite set of Archs with a fixed-length integer encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hvnas._cache import Arrays, code_hash, keep, read_cached, read_shipped, text_array, text_of
from hvnas._files import refusing
from hvnas.arch import Arch, Stage, list_models, load_arch
from hvnas.arch.files import models_hash
from hvnas.blocks.limits import check_number
from hvnas.space.canonical.canonical import Canonicaliser, Rows
from hvnas.space.canonical.counting import count_encodings
from hvnas.space.encode import encode_arch
from hvnas.space.fastpath.fastpath import FastPath
from hvnas.space.feasible import unused
from hvnas.space.layout import Gene, Layout
from hvnas.space.reading import load_spec
from hvnas.space.sampling import Sampler
from hvnas.space.spec import SpaceSpec


class Space:
    """A finite set of architectures.

    An encoding ("row") is an int16 vector, one index per gene; `genes[i].values` is the ordered list
    that entry i points into. Rows are canonical: genes without a say are 0, so that two rows are
    equal exactly when their architectures are encoded the same. `hash` identifies the space that a
    row belongs to; store it beside rows.
    """

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self.layout = Layout(spec)
        self._canonicaliser = Canonicaliser(self.layout)
        self._sampler = Sampler(self)

    def __reduce__(self) -> tuple[type[Space], tuple[SpaceSpec]]:
        """Another process makes its own tables."""
        return Space, (self.spec,)

    @property
    def name(self) -> str:
        """The name in the space's file."""
        return self.spec.name

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits of everything that gives rows their meaning."""
        return self.spec.hash

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The genes in the order of a row."""
        return tuple(self.layout.genes)

    @property
    def cardinalities(self) -> NDArray[np.int64]:
        """Number of values of each gene. Shape [genes]."""
        return self._canonicaliser.cardinalities

    @cached_property
    def size(self) -> int:
        """The exact number of canonical encodings, before `limits`."""
        stored = read_shipped(FIXED, fixed_key()) or {}
        name = f"{self.hash}.size"
        return int(text_of(stored[name])) if name in stored else count_encodings(self._canonicaliser)

    @property
    def limits(self) -> dict[str, float]:
        """Upper bounds on params and MACs that members keep."""
        return dict(self.spec.limits)

    def __repr__(self) -> str:
        return f"Space({self.name!r}, {len(self.genes)} genes, hash {self.hash})"

    # rows and architectures

    def decode(self, row: NDArray[Any]) -> Arch:
        """Return the architecture of a row; the row is made canonical first."""
        return self.decode_canonical(self.canonicalise(np.asarray(row)[None])[0])

    def decode_canonical(self, row: NDArray[Any]) -> Arch:
        """As `decode`, of a row that is canonical."""
        layout = self.layout
        stages = tuple(
            Stage(
                downsample=layout.downsample(row, i),
                local=layout.run(row, i, "local"),
                global_=layout.run(row, i, "global"),
            )
            for i in range(layout.value(row, layout.count))
        )
        return Arch(
            resolution=layout.value(row, layout.resolution),
            stem=layout.stem_block(row),
            stages=stages,
            head=layout.head_block(row),
            tokens=layout.value(row, layout.tokens),
        )

    def encode(self, arch: Arch) -> Rows:
        """Return the canonical row of an architecture. Shape [genes].

        The number of classes is outside the encoding, and the resolution too where `at` has fixed it: then
        the row is that of the same layers at this size. Raises ValueError naming the part that the space
        does not hold.
        """
        if self.spec.image_size is not None:
            resolution, classes = self.spec.image_size
            arch = arch.with_(resolution=resolution, classes=classes)
        row = encode_arch(self.layout, arch)
        canonical = self.canonicalise(row[None])[0]
        if self.decode_canonical(canonical).with_(classes=arch.head.out) != arch:
            changed = [g.name for g, a, b in zip(self.genes, row, canonical, strict=True) if a != b]
            raise ValueError(
                f"not in space {self.name}: its rules move {', '.join(changed) or 'the encoding'} elsewhere"
            )
        for name, limit in self.limits.items():
            if (value := getattr(arch.lower(), name)) > limit:
                raise ValueError(
                    f"not in space {self.name}: {value:,} {name} exceed its limit of {limit:,.0f}"
                )
        return canonical

    def __contains__(self, arch: object) -> bool:
        if not isinstance(arch, Arch):
            return False
        try:
            self.encode(arch)
        except ValueError:
            return False
        return True

    def choices(self, row: NDArray[Any]) -> dict[str, Any]:
        """Gene names and values of a row, inactive genes left at their first value."""
        return {gene.name: gene.values[int(i)] for gene, i in zip(self.genes, row, strict=True)}

    @cached_property
    def _fixed_points(self) -> tuple[tuple[str, ...], Rows]:
        return fixed_rows(self)

    def fixed_points(self) -> tuple[str, ...]:
        """Return names of the papers' models that lie inside."""
        return self._fixed_points[0]

    def fixed_rows(self) -> Rows:
        """Return their rows, in the same order. Shape [k, genes]."""
        return self._fixed_points[1].copy()

    def unused(self) -> dict[str, tuple[str, ...]]:
        """List the values that no member has, by field: what they would be part of cannot be built."""
        canonicaliser = self._canonicaliser
        return unused(self.layout, canonicaliser.feasibility, canonicaliser.start_alive)

    def at(self, resolution: int | None = None, classes: int | None = None) -> Space:
        """Return the same networks, all at one resolution and with heads for `classes`.

        What is None stays as the space has it. Networks that cannot be built at that resolution are no
        members of it; its limits and the models of papers inside are judged at that size. Raises ValueError
        where no network is left, or for a number out of limits.
        """
        for field, value in (("resolution", resolution), ("classes", classes)):
            if value is not None:
                check_number(field, value, field, f"space {self.name}")
        try:
            return Space(self.spec.at(resolution, classes))
        except ValueError as error:
            raise ValueError(f"space {self.name} at {resolution} px: {error}") from None

    def around(self, arch: Arch, *, also: Sequence[str] = ()) -> Space:
        """Return the restriction to `arch` and somewhat smaller networks of the same kind.

        `also` names blocks that runs may consist of besides its own. See `hvnas.space.narrowing`. Raises
        ValueError where `arch` is not in this space.
        """
        from hvnas.space.narrowing import around_spec

        return Space(around_spec(self, arch, also=also))

    # populations

    def canonicalise(self, rows: NDArray[Any]) -> Rows:
        """Canonical rows; what cannot be built is moved to the nearest row that can. Shape [n, genes]."""
        return self._canonicaliser(rows)

    def read_sizes_from(self, path: FastPath) -> None:
        """Let `sample` learn MACs and params from a fast path that is there anyway, if it has them."""
        self._sampler.read_sizes_from(path)

    def sample(self, n: int, *, rng: np.random.Generator, macs: tuple[float, float] | None = None) -> Rows:
        """`n` canonical rows within the limits. Shape [n, genes].

        With `macs` they are spread log-uniformly in MACs between the two bounds. Raises ValueError
        where the space holds none there.
        """
        return self._sampler.sample(n, rng=rng, macs=macs)

    def mutate(self, rows: NDArray[Any], *, rng: np.random.Generator, rate: float) -> Rows:
        """Return each gene redrawn, or moved to a neighbouring value, with probability `rate`. Shape kept."""
        return self._sampler.mutate(rows, rng=rng, rate=rate)

    def crossover(
        self, a: NDArray[Any], b: NDArray[Any], *, rng: np.random.Generator, canonical: bool = True
    ) -> Rows:
        """Children that take whole stages, or single genes, from either parent. Shape of `a`.

        Without `canonical` they come as they are: for `mutate`, which makes rows canonical anyway.
        """
        return self._sampler.crossover(a, b, rng=rng, canonical=canonical)


FIXED = "fixed_points"
# What decides which models lie inside, and their rows, beside the space and the models' files.
_CODE = ("ops", "blocks", "arch", "space", "space/canonical")


def fixed_key() -> str:
    """The key of files of fixed points: of the models' files and the code that encodes them."""
    return f"{models_hash()} {code_hash(*_CODE)}"


def fixed_rows(space: Space) -> tuple[tuple[str, ...], Rows]:
    """Names and rows [k, genes] of the papers' models in a space, from a file where there is one."""
    key, name = fixed_key(), f"{FIXED}-{space.hash}"
    stored = read_shipped(FIXED, key)
    if stored is not None and f"{space.hash}.names" in stored:
        return unpack_fixed(stored, space.hash)
    stored = read_cached(name, key)
    if stored is not None:
        return unpack_fixed(stored, space.hash)
    found = encode_models(space)
    keep(name, key, pack_fixed({space.hash: found}))
    return found


def encode_models(space: Space) -> tuple[tuple[str, ...], Rows]:
    """Names and rows [k, genes] of the papers' models in a space, worked out from their files."""
    found: dict[str, Rows] = {}
    for name in list_models():
        with suppress(ValueError):
            found[name] = space.encode(load_arch(name))
    rows = np.array(list(found.values()), dtype=np.int16)
    return tuple(found), rows.reshape(-1, len(space.genes))


def pack_fixed(spaces: Mapping[str, tuple[tuple[str, ...], Rows]]) -> Arrays:
    """Arrays of the fixed points of spaces by their hashes."""
    arrays: Arrays = {}
    for space, (names, rows) in spaces.items():
        arrays[f"{space}.names"] = text_array("\n".join(names))
        arrays[f"{space}.rows"] = rows
    return arrays


def unpack_fixed(arrays: Arrays, space: str) -> tuple[tuple[str, ...], Rows]:
    """The reverse of `pack_fixed`, for one of the spaces."""
    names = text_of(arrays[f"{space}.names"])
    return tuple(names.split("\n")) if names else (), arrays[f"{space}.rows"].astype(np.int16)


def load_space(name: str | Path) -> Space:
    """Load a shipped space by name, or one by YAML path.

    Raises ValueError, one line, naming file and field, or the spaces there are.
    """
    spec = load_spec(name)
    with refusing(name):
        try:
            return Space(spec)
        except ValueError as error:
            raise ValueError(f"{error} ({name})") from None
