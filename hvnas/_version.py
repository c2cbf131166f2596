"""The version of hvnas."""

__version__ = "0.1.0"
