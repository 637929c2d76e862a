"""Draws from one seeded generator, so that no scene depends on global random state."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Draws:
    """Batches of random numbers of one generator on one device."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self.device = generator.device
        # Choices that Python code branches on are drawn on the host, so that no device waits.
        self.host = torch.Generator().manual_seed(generator.initial_seed())

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Float32 in [low, high)."""
        draws = torch.rand(shape, generator=self._generator, device=self.device)
        return draws * (high - low) + low

    def logarithmic(self, low: float, high: float, *shape: int) -> Tensor:
        """Float32 in [low, high), uniform in the logarithm."""
        return (self.uniform(0, 1, *shape) * math.log(high / low)).exp() * low

    def normal(self, *shape: int) -> Tensor:
        """Float32, mean 0, standard deviation 1."""
        return torch.randn(shape, generator=self._generator, device=self.device)

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Bool, true with the given probability."""
        return self.uniform(0, 1, *shape) < probability

    def index(self, count: int, *shape: int) -> Tensor:
        """Int64 in [0, count)."""
        return torch.randint(count, shape, generator=self._generator, device=self.device)

    def among(self, choices: list[int], *shape: int) -> Tensor:
        """Int64 drawn from a list of choices."""
        return torch.tensor(choices, device=self.device)[self.index(len(choices), *shape)]
