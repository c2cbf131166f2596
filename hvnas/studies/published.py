"""What a fixed point's file says was published, read with care: a user's own file may say anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hvnas._names import shown
from hvnas._numbers import LARGEST
from hvnas.arch import Arch
from hvnas.blocks.limits import check_number

# A paper's MACs hold softmax, norms or activations too, with up to 3.6 % (CoAtNet, 2106.04803, at 512).
MACS_WITHIN = 0.04
PARAMS_WITHIN = 0.005


@dataclass(frozen=True, kw_only=True)
class Published:
    """Counts as published, None where they are not.

    `params` is an int where the reference is exact and a float where it is rounded; `params_printed`
    is what the paper prints where an exact count is known beside it. `misprint` says in words what is
    wrong in print, `misprint_in` where: params, macs, or structure.
    """

    family: str | None
    source: str | None
    params: float | None
    params_printed: float | None
    macs: float | None
    macs_rule: str | None
    macs_resolution: int
    stem_params: float | None
    stem_macs: float | None
    misprint: str | None
    misprint_in: str | None


def read_published(arch: Arch) -> Published:
    """The `published` block of `arch`. Raises ValueError naming the field that cannot be compared."""
    facts = _Facts(arch.published or {}, arch.name)
    macs = facts.number("macs")
    rule = facts.text("macs_rule")
    if macs is not None and rule is None:
        raise ValueError(
            f"published.macs_rule: missing beside macs; name the rule it was counted by ({arch.name})"
        )
    resolution = (arch.published or {}).get("macs_resolution", arch.resolution)
    check_number("resolution", resolution, "published.macs_resolution", arch.name)
    return Published(
        family=facts.text("family"),
        source=facts.text("source"),
        params=facts.number("params"),
        params_printed=facts.number("params_printed"),
        macs=macs,
        macs_rule=rule,
        macs_resolution=resolution,
        stem_params=facts.number("stem_params"),
        stem_macs=facts.number("stem_macs"),
        misprint=facts.text("misprint"),
        misprint_in=facts.text("misprint_in"),
    )


@dataclass(frozen=True)
class _Facts:
    data: Mapping[str, Any]
    name: str

    def number(self, key: str) -> float | None:
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LARGEST:
            what = f"a number > 0 and at most {LARGEST:g}"
            raise ValueError(f"published.{key}: must be {what}, got {shown(value)} ({self.name})")
        return value

    def text(self, key: str) -> str | None:
        value = self.data.get(key)
        return None if value is None else str(value)


def params_agree(ours: int, published: float) -> bool:
    """Exactly where `published` is an int; else within 0.5 % or half a unit of its last printed digit."""
    if isinstance(published, int):
        return ours == published
    return abs(ours - published) <= max(PARAMS_WITHIN * published, last_digit(published) / 2)


def macs_agree(ours: int, published: float) -> bool:
    """Within 4 %."""
    return abs(ours - published) <= MACS_WITHIN * published


def last_digit(value: float) -> float:
    """The unit of the last digit that is not zero: 1e5 for 11.9e6."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    assert isinstance(exponent, int), value
    return float(10.0**exponent)
