"""Data, recipes of the papers, and the training loop."""
