"""The files that an estimator's name points to: a run goes on only while they are what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

_SUFFIX = ".json"
_AND = "+"


def estimator_reference(name: str) -> str:
    """`name` with whole paths for the files in it, so that it is found from any folder."""
    return _AND.join(str(Path(part).resolve()) if _is_file(part) else part for part in name.split(_AND))


def estimator_hash(name: str) -> str:
    """Twelve digits of the SHA-256 of the files that `name` points to; empty where it points to none."""
    files = [part for part in name.split(_AND) if _is_file(part)]
    if not files:
        return ""
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:12]


def _is_file(part: str) -> bool:
    return part.endswith(_SUFFIX) and not part.startswith("train:")
