"""Measurements made on other machines: models to time there, and what their tools report."""
