"""A built module written as Python source that needs torch alone."""

from hvnas.export.source.expressions import is_word
from hvnas.export.source.module import module_source

__all__ = ["is_word", "module_source"]
