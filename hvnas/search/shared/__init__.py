"""Optuna studies that several searches share: storages, journals, and trials, those of a run too."""
