"""The files that an estimator's name leads to: a run goes on only while they are what they were."""

from __future__ import annotations

import hashlib

from hvnas.accuracy.estimator import locate_estimator

CHUNK = 2**20


def estimator_reference(name: str) -> str:
    """`name` with whole paths for the files in it, so that it is found from any folder."""
    return locate_estimator(name).name


def estimator_hash(name: str) -> str:
    """Twelve digits of the SHA-256 of the files that `name` leads to; empty where there are none.

    Raises ValueError naming a file that cannot be read.
    """
    files = locate_estimator(name).files
    if not files:
        return ""
    whole = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    whole.update(chunk)
        except OSError as error:
            raise ValueError(
                f"estimator: {path}: cannot be read ({error.strerror}); bring it back, or name another one"
            ) from None
    return whole.hexdigest()[:12]
