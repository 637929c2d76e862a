"""The local continuity module, which smooths the patch grid out of the core predictor's latent."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class LocalContinuityModule(nn.Module):
    """`x + conv3x3(GELU(conv3x3(x)))` on the unpacked latent.

    Source: Lotus-2 (arXiv 2512.01030), local continuity module; state keys `lcm.0.*`, `lcm.2.*`.
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.lcm = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, kernel_size=3, padding=1),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Refine a latent (B, C, h, w); same shape back."""
        return cast('Tensor', latent + self.lcm(latent))
