"""From linear colour to what a camera delivers: exposure, blur, vignette, colour cast, noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.random_draws import Draws

_TAPS = 7


@dataclass(frozen=True)
class Development:
    """How B pictures are taken.

    Attributes:
        exposure: (B,) mean linear brightness aimed at.
        cast: (B, 3) white-balance error.
        contrast: (B,) exponent applied after gamma.
        blur: (B,) standard deviation of the lens blur in pixels.
        vignette: (B,) share of light lost in the corners.
        noise: (B, 3, H, W) additive noise after gamma.
    """

    exposure: Tensor
    cast: Tensor
    contrast: Tensor
    blur: Tensor
    vignette: Tensor
    noise: Tensor


def sample_development(draws: Draws, batch: int, height: int, width: int) -> Development:
    """Draw exposure, blur, colour cast and noise for B pictures of a size."""
    noise = draws.normal(batch, 3, height, width) * draws.uniform(0, 1, batch, 1, 1, 1) ** 2 * 0.05
    return Development(
        exposure=draws.logarithmic(0.12, 0.45, batch),
        cast=1 + 0.1 * draws.normal(batch, 3).clamp(-2, 2),
        contrast=draws.uniform(0.8, 1.25, batch),
        blur=draws.uniform(0.35, 1.0, batch),
        vignette=draws.uniform(0, 0.4, batch),
        noise=noise,
    )


def develop(linear: Tensor, development: Development) -> Tensor:
    """Turn linear colour into an image.

    Args:
        linear: (B, 3, H, W), >= 0.
        development: how it is taken.

    Returns:
        (B, 3, H, W) in [-1, 1], gamma-encoded.
    """
    height, width = linear.shape[-2:]
    image = _blurred(linear.clamp(0, 20), development.blur)
    mean = image.clamp_max(3).mean((1, 2, 3), keepdim=True).clamp_min(1e-3)
    image = image * (development.exposure[:, None, None, None] / mean)
    image = image * development.cast[:, :, None, None]
    y = torch.linspace(-1, 1, height, device=linear.device)
    x = torch.linspace(-1, 1, width, device=linear.device)
    radius = (y[:, None] ** 2 + x[None] ** 2) / 2
    image = image * (1 - development.vignette[:, None, None, None] * radius)
    image = image.clamp(1e-4, 1) ** (development.contrast[:, None, None, None] / 2.2)
    return (image + development.noise).clamp(0, 1) * 2 - 1


def _blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with one standard deviation (B,) per image."""
    height, width = image.shape[-2:]
    offset = torch.arange(_TAPS, device=image.device) - _TAPS // 2
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(-1, keepdim=True)  # (B, taps)
    padded = F.pad(image, [_TAPS // 2] * 4, mode='replicate')
    # Sums of shifted pictures fuse under torch.compile; grouped convolutions do not.
    rows = sum(kernel[:, i, None, None, None] * padded[:, :, i : i + height] for i in range(_TAPS))
    assert isinstance(rows, Tensor)
    blurred = sum(kernel[:, i, None, None, None] * rows[..., i : i + width] for i in range(_TAPS))
    assert isinstance(blurred, Tensor)
    return blurred
