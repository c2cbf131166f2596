"""Batches of work on processes and on clusters: nothing about networks.

The shipped tables and the surrogate answer in microseconds on one core, so a search on them needs nothing
from here.
"""
