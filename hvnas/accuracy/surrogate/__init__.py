"""The surrogate: Gaussian processes on published results, and on results of your own."""
