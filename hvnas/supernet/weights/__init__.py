"""The shared weights of a supernet: slots, and how smaller tensors lie inside larger ones."""
