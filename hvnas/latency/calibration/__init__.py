"""Devices whose model is fitted to measured networks, and how far off it is."""
