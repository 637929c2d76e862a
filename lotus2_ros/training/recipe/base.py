"""The FLUX base that is trained on: loaded once by the package's own loader, and frozen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.model.base import BaseTransformer, load_fitting_vae
from lotus2_ros.model.files import read_json
from lotus2_ros.model.flow import FlowSchedule
from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.model.loading import ModelFolders, load_conditioning, locate
from lotus2_ros.model.lora import LoraWeights
from lotus2_ros.model.network import Conditioning
from lotus2_ros.runtime.device import computing_on

_ENCODED_PIXELS = 1 << 20
"""Pixels that the VAE encodes at once: its full-size activations outweigh all others."""


@dataclass(slots=True)
class Base:
    """What every stage stands on.

    Attributes:
        transformer: diffusers' FluxTransformer2DModel, frozen; adapters are attached to it.
        vae: diffusers' AutoencoderKL, frozen.
        conditioning: the empty prompt's embeddings, in the transformer's precision.
        schedule: the base's Euler steps.
        targets: adapted layers with their (out, in) features.
        device: of all of it.
        dtype: of the arithmetic.
        identity: a text that differs whenever the base's files do.
        folders: where it was loaded from; None for random weights.
    """

    transformer: Any
    vae: Any
    conditioning: Conditioning
    schedule: FlowSchedule
    targets: dict[str, tuple[int, int]]
    device: torch.device
    dtype: torch.dtype
    identity: str
    folders: ModelFolders | None = None

    @property
    def latent_channels(self) -> int:
        """Channels of the unpacked latent."""
        return int(self.vae.config.latent_channels)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Posterior means of images (B, 3, H, W) in [-1, 1]: (B, 16, H/8, W/8) float32."""
        height, width = images.shape[2:]
        at_once = max(1, _ENCODED_PIXELS // (height * width))
        with computing_on(self.device):
            parts = [
                encode_images(self.vae, part.to(self.device, self.vae.dtype)).float()
                for part in images.split(at_once)
            ]
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, 16, h, w) to (B, 3, 8h, 8w), nominally in [-1, 1]."""
        with computing_on(self.device):
            parts = [decode_latents(self.vae, part.to(self.vae.dtype)) for part in latents.split(1)]
        return torch.cat(parts)


def open_base(name: str) -> tuple[ModelFolders, BaseTransformer]:
    """Find a base and open its transformer, without loading weights.

    Raises:
        ModelFileError: no such base, or a file is missing or damaged.
    """
    folders = locate(name, None, (), sharpener=False)
    return folders, BaseTransformer(folders.base / 'transformer')


def load_base(
    folders: ModelFolders,
    opened: BaseTransformer,
    device: torch.device,
    dtype: torch.dtype,
    *,
    full: bool = False,
) -> Base:
    """Load all that training needs of a base.

    Args:
        folders: where it lies.
        opened: its transformer; it may be closed afterwards.
        device: where to.
        dtype: of the frozen weights and of the arithmetic.
        full: keep the transformer in float32, because it is trained itself.

    Raises:
        ModelFileError: a file is missing or damaged, or VAE and transformer do not fit.
    """
    kept = torch.float32 if full else dtype
    vae = load_fitting_vae(folders.base, opened, device, dtype)
    scheduler = folders.base / 'scheduler' / 'scheduler_config.json'
    conditioning = load_conditioning(folders, opened.config, device).to(device, kept)
    return Base(
        # An adapter of no layers: the base as it stands.
        transformer=opened.merged(LoraWeights(0, {}), device, kept),
        vae=vae,
        conditioning=conditioning,
        schedule=FlowSchedule(read_json(scheduler), scheduler),
        targets=opened.targets,
        device=device,
        dtype=dtype,
        identity=base_identity(folders.base),
        folders=folders,
    )


def base_identity(folder: Path) -> str:
    """A checksum over paths, sizes and times of the files that decide what a core predicts.

    The weights themselves, 24 GB, are not read for it.
    """
    mark = hashlib.sha256()
    for path in sorted(p for part in ('transformer', 'vae') for p in (folder / part).glob('*')):
        about = path.resolve().stat()
        mark.update(f'{path}\0{about.st_size}\0{about.st_mtime_ns}\0'.encode())
    return mark.hexdigest()
