"""``hvnas accuracy``: how well estimators of accuracy do, and estimators of your own."""

from __future__ import annotations

from hvnas.cli._group import new_group

COMMANDS = {"evaluate": "evaluate", "fit": "fit", "rank": "rank", "proxies": "proxies"}

app = new_group("Accuracy estimators: errors, proxies, one of your own.")
