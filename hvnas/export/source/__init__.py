"""A built module written as Python source that needs torch alone."""

from hvnas.export.source.module import module_source
from hvnas.export.source.tree import is_word

__all__ = ["is_word", "module_source"]
