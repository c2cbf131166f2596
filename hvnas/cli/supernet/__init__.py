"""``hvnas supernet``: one weight-sharing network for a whole space."""

from __future__ import annotations

from hvnas.cli._group import new_group

COMMANDS = {"train": "train", "rank": "rank"}

app = new_group("The supernet: one weight-sharing network for a whole space.")
