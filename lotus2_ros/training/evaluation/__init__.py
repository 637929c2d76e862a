"""Accuracy against ground truth, as the paper and its field measure it.

Marigold's protocol for affine-invariant depth, DSINE's for normals, Depth Pro's for boundaries;
the benchmarks they are used on, and some that need no download.
"""
