"""Numbers out of text, and how numbers and text are shown: units, digits, nothing that a terminal acts on."""

from __future__ import annotations

import math
import re
import unicodedata

from hvnas._names import shown

# Beyond it nothing was measured or counted.
LARGEST = 1e15

_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")


def ms(value: float) -> str:
    """Milliseconds to a microsecond."""
    return f"{value:.3f}"


def interval(low: float, high: float) -> str:
    """A 5-95 % interval in milliseconds."""
    return f"{low:.3f}–{high:.3f}"


def millions(count: float) -> str:
    """A count of parameters, in millions."""
    return f"{count / 1e6:.2f}"


def billions(count: float) -> str:
    """A count of MACs, in units of 1e9."""
    return f"{count / 1e9:.3f}"


def points(mean: float, sd: float | None = None) -> str:
    """Top-1 in points, with its standard deviation."""
    return f"{mean:.1f}" if sd is None else f"{mean:.1f} ± {sd:.1f}"


def points_if_known(mean: float, sd: float) -> str | None:
    """As `points`; None where the mean is nan."""
    return points(mean, sd) if math.isfinite(mean) else None


def accuracy(mean: float, sd: float, *, unit: str) -> str:
    """As an estimator tells it: top-1 in points, or where `unit` is ``score`` a number with no deviation."""
    return f"{mean:.4g}" if unit == "score" else points(mean, sd)


def seconds(value: float) -> str:
    """A duration in seconds, to a tenth."""
    return f"{value:.1f}"


def took(value: float, *, parts: int = 1) -> str:
    """How long a job took, in seconds; one that was cut and resumed took the sum of its `parts`."""
    return f"{seconds(value)} s" + (f", the sum of {parts} parts" if parts > 1 else "")


def plain(value: float) -> str:
    """A value of any metric in its own unit: ``12,000,000,000``, ``1.757``."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.1f} %"


def chance(p: float) -> str:
    """A probability, never rounded to certainty."""
    return f"{min(max(p, 0.001), 0.999):.3f}".rstrip("0") if 0 < p < 1 else f"{p:.0f}"


def optional(value: object, *, scale: float = 1.0, digits: int = 1) -> str | None:
    """A number out of a file, in units of `scale`; None where the file has no number there."""
    return f"{value / scale:.{digits}f}" if isinstance(value, (int, float)) else None


# ECMA-48: a control sequence (CSI), a string sequence up to its terminator, or a two-character escape.
_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[PX\]^_].*?(?:\x07|\x1b\\|$)|\x1b.", re.DOTALL)
# Controls, formats (those that reverse the reading direction among them), halves of pairs, line breaks.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def shortened(text: object, most: int = 120) -> str:
    """`text` as one line of at most `most` characters, cut in the middle."""
    bare = clean(text)
    half = (most - 3) // 2
    return bare if len(bare) <= most else f"{bare[:half]}...{bare[-half:]}"


def clean(text: object) -> str:
    """`text` as one line without terminal escapes; other characters that do not print become spaces."""
    bare = _ESCAPE.sub("", str(text))
    return "".join(" " if unicodedata.category(char) in _UNPRINTABLE else char for char in bare)


def number(
    text: str,
    *,
    least: float = -LARGEST,
    above: float | None = None,
    most: float = LARGEST,
    unit: str = "",
) -> float:
    """A finite number out of a cell, from `least` to `most`, and > `above` where that is given.

    Raises ValueError, which names no cell and speaks of `unit`.
    """
    of = f" of {unit}" if unit else ""
    try:
        value = float(text)
    except ValueError:
        hint = " without a unit" if unit and any(char.isdigit() for char in text) else ""
        if (pointed := with_point(text)) != text:
            hint = f" with a decimal point, as {pointed}"
        raise ValueError(f"must be a number{of}{hint}, got {shown(text)}") from None
    if least <= value <= most and (above is None or value > above):
        return value
    got = shortened(text, 40)
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number{of}, got {got}")
    if above is not None and value <= above:
        raise ValueError(f"must be > {above:g}, got {got}")
    if value < least:
        raise ValueError(f"must be >= {least:g}, got {got}")
    raise ValueError(f"must be at most {most:g}, got {got}")


def with_point(text: str) -> str:
    """A number's decimal comma as a point; any other text as it is."""
    return text.replace(",", ".") if len(text) < 40 and _DECIMAL_COMMA.fullmatch(text) else text
