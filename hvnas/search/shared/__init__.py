"""Optuna studies that several searches share: storages, journals, trials."""
