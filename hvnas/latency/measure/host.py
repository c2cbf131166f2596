"""What this machine calls itself, for the provenance of what is measured on it."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def host_cpu() -> str:
    """The processor's name, as its own tables have it; the architecture where there is none."""
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def host_os() -> str:
    """Operating system, release and architecture."""
    return f"{platform.system()} {platform.release()} ({platform.machine()})"
