"""Estimators that train: short trainings, and members of a supernet."""
