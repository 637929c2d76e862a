"""From linear colour to what a camera delivers: blur, exposure, noise, sharpening, compression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.training.compression import compressed, quantisation_steps
from lotus2_ros.training.random_draws import Draws

_TAPS = 7


@dataclass(frozen=True)
class Development:
    """How B pictures are taken.

    Attributes:
        exposure: (B,) mean linear brightness aimed at.
        cast: (B, 3) white-balance error.
        contrast: (B,) exponent applied after gamma.
        curve: (B,) share of an S-shaped tone curve.
        blur: (B, 3) inverse covariance (xx, xy, yy) of lens and motion blur, pixels^-2.
        vignette: (B,) share of light lost in the corners.
        noise: (B, 3, H, W) standard normal noise.
        read_noise: (B,) standard deviation after gamma that no light adds to.
        photon_noise: (B,) standard deviation in full light, before gamma.
        sharpening: (B,) weight of the unsharp mask.
        grey: (B,) 1 for monochrome cameras, otherwise the share of colour lost.
        steps: (B, 2, 8, 8) of the quantised block transform; zeros keep the picture.
    """

    exposure: Tensor
    cast: Tensor
    contrast: Tensor
    curve: Tensor
    blur: Tensor
    vignette: Tensor
    noise: Tensor
    read_noise: Tensor
    photon_noise: Tensor
    sharpening: Tensor
    grey: Tensor
    steps: Tensor


def sample_development(draws: Draws, batch: int, height: int, width: int) -> Development:
    """Draw exposure, blur, colour cast, noise and compression for B pictures of a size."""
    temperature = torch.tensor([0.14, 0.0, -0.14], device=draws.device)
    cast = 1 + 0.07 * draws.normal(batch, 3) + temperature * draws.normal(batch, 1)
    usual, odd = draws.logarithmic(0.12, 0.4, batch), draws.logarithmic(0.04, 0.75, batch)
    coarseness = draws.logarithmic(0.1, 1.2, batch) * draws.chance(0.45, batch)
    return Development(
        exposure=torch.where(draws.chance(0.15, batch), odd, usual),
        cast=cast.clamp(0.6, 1.4),
        contrast=draws.uniform(0.8, 1.25, batch),
        curve=draws.uniform(0, 0.7, batch) * draws.chance(0.6, batch),
        blur=_sample_blur(draws, batch),
        vignette=draws.uniform(0, 0.4, batch),
        noise=_sample_noise(draws, batch, height, width),
        read_noise=draws.uniform(0, 1, batch) ** 3 * 0.03,
        photon_noise=draws.uniform(0, 1, batch) ** 3 * 0.045,
        sharpening=draws.uniform(0, 1.0, batch) * draws.chance(0.5, batch),
        grey=torch.where(draws.chance(0.05, batch), 1.0, draws.uniform(-0.2, 0.4, batch)),
        steps=quantisation_steps(coarseness),
    )


def _sample_blur(draws: Draws, batch: int) -> Tensor:
    """(B, 3) inverse covariances: round for the lens, longer one way for pictures that moved."""
    lens = draws.uniform(0.35, 0.85, batch) + draws.uniform(0, 1.0, batch) * draws.chance(
        0.15, batch
    )
    motion = draws.uniform(0.5, 2.2, batch) * draws.chance(0.15, batch)
    angle = draws.uniform(0, math.pi, batch)
    along, across = 1 / (lens**2 + motion**2), 1 / lens**2
    x, y = angle.cos(), angle.sin()
    return torch.stack(
        [along * x * x + across * y * y, (along - across) * x * y, along * y * y + across * x * x],
        -1,
    )


def _sample_noise(draws: Draws, batch: int, height: int, width: int) -> Tensor:
    """(B, 3, H, W) standard normal; demosaicking smears it over neighbours in half the pictures."""
    noise = draws.normal(batch, 3, height, width)
    smeared = 0.5 * (noise + noise.roll(1, -1) + noise.roll(1, -2) + noise.roll((1, 1), (-2, -1)))
    return torch.where(draws.chance(0.5, batch, 1, 1, 1), smeared, noise)


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
    image = image * (_each(development.exposure) / mean)
    image = image * development.cast[:, :, None, None]
    grey = image.mean(1, keepdim=True)
    image = (image + (grey - image) * _each(development.grey)).clamp_min(0)
    y = torch.linspace(-1, 1, height, device=linear.device)
    x = torch.linspace(-1, 1, width, device=linear.device)
    radius = (y[:, None] ** 2 + x[None] ** 2) / 2
    image = image * (1 - _each(development.vignette) * radius)
    # The noise of monochrome cameras has no colour either.
    mono = _each(development.grey) == 1
    noise = torch.where(mono, development.noise[:, :1], development.noise)
    image = image + _each(development.photon_noise) * (image + 1e-4).sqrt() * noise
    image = image.clamp(1e-4, 1) ** (_each(development.contrast) / 2.2)
    image = image + _each(development.curve) * (image * image * (3 - 2 * image) - image)
    image = image + _each(development.read_noise) * noise
    image = _sharpened(image, development.sharpening).clamp(0, 1)
    return compressed(image, development.steps).clamp(0, 1) * 2 - 1


def _each(value: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return value[:, None, None, None]


def _blurred(image: Tensor, inverse: Tensor) -> Tensor:
    """Gaussian blur with one inverse covariance (B, 3) per image."""
    height, width = image.shape[-2:]
    offset = torch.arange(_TAPS, device=image.device) - _TAPS // 2
    dy, dx = offset[:, None], offset[None]
    xx, xy, yy = (inverse[:, i, None, None] for i in range(3))
    kernel = torch.exp(-0.5 * (xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy))
    kernel = kernel / kernel.sum((1, 2), keepdim=True)  # (B, taps, taps)
    padded = F.pad(image, [_TAPS // 2] * 4, mode='replicate')
    # Sums of shifted pictures fuse under torch.compile; grouped convolutions do not.
    blurred = torch.zeros_like(image)
    for i in range(_TAPS):
        for j in range(_TAPS):
            part = padded[:, :, i : i + height, j : j + width]
            blurred = blurred + _each(kernel[:, i, j]) * part
    return blurred


def _sharpened(image: Tensor, amount: Tensor) -> Tensor:
    """Unsharp mask over the four neighbours, which leaves halos as cameras do."""
    height, width = image.shape[-2:]
    padded = F.pad(image, [1] * 4, mode='replicate')
    around = (
        padded[:, :, :height, 1 : 1 + width]
        + padded[:, :, 2:, 1 : 1 + width]
        + padded[:, :, 1 : 1 + height, :width]
        + padded[:, :, 1 : 1 + height, 2:]
    ) / 4
    return image + _each(amount) * (image - around)
