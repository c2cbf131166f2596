"""Canonical encodings: one row per network, their number, and every one in order."""
