"""Columns of whole populations without building their Programs."""
