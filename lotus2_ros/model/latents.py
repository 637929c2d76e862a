"""Latents: images to and from the VAE's latent space, latents to and from FLUX's tokens."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

PATCH = 2
"""Latent pixels along each side of one token."""

IMAGE_MULTIPLE = 16
"""Image sides are multiples of this: 8 for the VAE times 2 for a token."""


def pack(latent: Tensor) -> Tensor:
    """Cut a latent (B, C, h, w) into tokens (B, h/2 * w/2, 4C), FLUX's order: C, row, column.

    Raises:
        ValueError: h or w is odd.
    """
    batch, channels, height, width = latent.shape
    if height % PATCH or width % PATCH:
        msg = f'a latent of {height}x{width} cannot be cut into {PATCH}x{PATCH} patches'
        raise ValueError(msg)
    rows, columns = height // PATCH, width // PATCH
    patches = latent.reshape(batch, channels, rows, PATCH, columns, PATCH)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * PATCH**2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Put tokens (B, h/2 * w/2, 4C) back into a latent (B, C, h, w); the inverse of `pack`.

    Args:
        tokens: packed latent.
        height: h, in latent pixels.
        width: w, in latent pixels.

    Raises:
        ValueError: the number of tokens does not fit the size.
    """
    batch, count, depth = tokens.shape
    rows, columns = height // PATCH, width // PATCH
    if count != rows * columns or height % PATCH or width % PATCH:
        msg = f'{count} tokens do not make a latent of {height}x{width}'
        raise ValueError(msg)
    patches = tokens.reshape(batch, rows, columns, depth // PATCH**2, PATCH, PATCH)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, depth // PATCH**2, height, width)


def image_ids(
    height: int, width: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Position of each image token of a latent h x w: (h/2 * w/2, 3) of 0, row, column."""
    rows, columns = height // PATCH, width // PATCH
    row = torch.arange(rows, device=device).repeat_interleave(columns)
    column = torch.arange(columns, device=device).repeat(rows)
    return torch.stack((torch.zeros_like(row), row, column), dim=1).to(dtype or torch.float32)


def text_ids(
    length: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Position of each text token: (L, 3) of zeros."""
    return torch.zeros(length, 3, device=device, dtype=dtype or torch.float32)


def encode_images(vae: Any, images: Tensor) -> Tensor:
    """Encode images (B, 3, H, W) in [-1, 1] to latents (B, 16, H/8, W/8).

    `vae` is a diffusers `AutoencoderKL`. The mean of its posterior is taken, not a sample: the same
    image gives the same latent.
    """
    mean = vae.encode(images, return_dict=False)[0].mode()
    return cast('Tensor', (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor)


def decode_latents(vae: Any, latents: Tensor) -> Tensor:
    """Decode latents (B, 16, h, w) to images (B, 3, 8h, 8w), nominally in [-1, 1], not clamped."""
    unscaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    return cast('Tensor', vae.decode(unscaled, return_dict=False)[0])
