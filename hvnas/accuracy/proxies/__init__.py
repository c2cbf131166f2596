"""Zero-cost proxies: scores of untrained networks. Higher is better; there is no scale of points.

Importing this package does not import torch: the proxies that run a network are loaded on first use.
"""

from hvnas.accuracy.proxies.registry import (
    CountedProxy,
    ProbedProxy,
    Proxy,
    list_proxies,
    load_proxy,
    register_count,
    register_probe,
)

__all__ = [
    "CountedProxy",
    "ProbedProxy",
    "Proxy",
    "list_proxies",
    "load_proxy",
    "register_count",
    "register_probe",
]
