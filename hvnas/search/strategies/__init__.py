"""The strategies, a file each, and the registry of them."""
