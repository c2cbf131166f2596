"""Does searching pay: what was found, held against chance and against a paper's network of equal latency."""
