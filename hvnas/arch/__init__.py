"""What a network is: Arch, Stage, Run; YAML files in and out; names and hashes."""

from hvnas.arch.arch import INNER, Arch, Run, Stage, block_to_dict, to_dict
from hvnas.arch.files import block_from_dict, from_dict, list_models, load_arch, models_dir, save_arch

__all__ = [
    "INNER",
    "Arch",
    "Run",
    "Stage",
    "block_from_dict",
    "block_to_dict",
    "from_dict",
    "list_models",
    "load_arch",
    "models_dir",
    "save_arch",
    "to_dict",
]
