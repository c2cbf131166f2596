"""``hvnas supernet``: one weight-sharing network for a whole space."""

from __future__ import annotations

from hvnas.cli._group import make_group

COMMANDS = {"train": "train", "rank": "rank"}

app = make_group(__name__, COMMANDS, help="The supernet: one weight-sharing network for a whole space.")
