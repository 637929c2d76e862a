"""FLUX's transformer and VAE as prediction runs them: the same numbers, with less work."""
