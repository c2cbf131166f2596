"""Devices whose ops were measured: the tables, and the model that sums them."""
