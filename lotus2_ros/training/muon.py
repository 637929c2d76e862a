"""Muon: steps along the orthogonalised momentum of weight matrices.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the scale of the
step is that of Liu et al., "Muon is scalable for LLM training" (arXiv 2502.16982), which gives it
the size of an AdamW step, so that one learning rate serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: steep at zero, singular values end between 0.7 and 1.2."""

_ITERATIONS = 5
_ADAM_SIZE = 0.2
"""Root mean square of an entry of a usual AdamW step."""


def orthogonalised(matrices: Tensor) -> Tensor:
    """Nearly replace all singular values of (N, R, C) matrices by 1, by Newton-Schulz iteration."""
    first, third, fifth = _COEFFICIENTS
    # bfloat16 suffices: the iteration forgives errors, and products are what it costs.
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = first * x + (third * gram + fifth * gram @ gram) @ x
    result: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return result


class Muon:
    """Muon over matrices; those of one shape are handled together."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        """Make an optimiser.

        Args:
            parameters: matrices, each with a gradient that stays where it is.
            momentum: share of the old momentum kept in a step.
            decay: decoupled weight decay.
        """
        self._momentum = momentum
        self._decay = decay
        groups: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            groups[parameter.shape].append(parameter)
        self._groups = list(groups.values())
        self._buffers = [
            torch.zeros(len(group), *group[0].shape, device=group[0].device)
            for group in self._groups
        ]

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        """Make one step.

        Args:
            rate: learning rate, a tensor so that a recorded step follows the schedule.
        """
        for group, buffer in zip(self._groups, self._buffers, strict=True):
            gradients = torch.stack([_gradient(parameter) for parameter in group])
            buffer.lerp_(gradients, 1 - self._momentum)
            ahead = gradients.lerp(buffer, self._momentum)
            scale = _ADAM_SIZE * max(ahead.shape[-2:]) ** 0.5
            steps = orthogonalised(ahead) * (scale * rate)
            weights: list[Tensor] = list(group)
            torch._foreach_mul_(weights, 1 - self._decay * rate)
            torch._foreach_sub_(weights, list(steps.unbind()))

    def state_dict(self) -> dict[str, Any]:
        """The momentum."""
        return {'buffers': [buffer.clone() for buffer in self._buffers]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a momentum."""
        for buffer, value in zip(self._buffers, state['buffers'], strict=True):
            buffer.copy_(value)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
