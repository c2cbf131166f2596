"""Latency tables of this host: what to measure, measuring it, and the files that come of it."""
