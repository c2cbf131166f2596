"""The folder of a run: its configuration, its state, and what was found."""
