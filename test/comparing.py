"""How far a result is from what it should be."""

from __future__ import annotations

import torch


def relative_error(value, expected):
    """Norm of the difference over the norm of what is expected."""
    value, expected = value.double(), expected.double()
    return float((value - expected).norm() / expected.norm())


def normal(*shape, seed=0):
    """Normal random numbers, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
