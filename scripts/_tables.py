"""Files that scripts make again: written, or with --check only compared."""

from __future__ import annotations

from pathlib import Path

from hvnas._files import write_atomic


def put(path: Path, text: str, *, check: bool) -> bool:
    """Whether `path` differs from `text`; written unless `check`."""
    same = path.is_file() and path.read_text(encoding="utf-8") == text
    if not same:
        print(f"{path.parent.name}/{path.name}: {'would change' if check else 'written'}")
        if not check:
            write_atomic(path, text)
    return not same
