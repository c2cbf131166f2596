"""Text out of files, fit to be shown: one line, without what a terminal or a page would act on."""

from __future__ import annotations

import re
import unicodedata

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
