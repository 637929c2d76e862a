"""What the transformer is conditioned on besides the latent: an empty prompt and a guidance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GUIDANCE = 3.5


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What stands in for a prompt: the empty prompt's embeddings.

    Attributes:
        prompt: (1, L, D) T5 embeddings.
        pooled: (1, P) CLIP embedding.
    """

    prompt: Tensor
    pooled: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Conditioning:
        """Copy to a device and precision."""
        return Conditioning(self.prompt.to(device, dtype), self.pooled.to(device, dtype))
