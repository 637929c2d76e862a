"""Coarse latents of the sharpener stage: computed once by the trained core, then kept on disk."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.network import TaskNetwork
from lotus2_ros.training.recipe.base import Base
from lotus2_ros.training.recipe.config import CORE, SHARPENER
from lotus2_ros.training.recipe.latent_store import LatentStore
from lotus2_ros.training.recipe.lora import acting


def picture_key(image: Tensor) -> str:
    """What a latent is kept under: a checksum of the very pixels, (3, H, W), and their size.

    A mirrored picture or another crop is another picture; a renamed file is not.
    """
    mark = hashlib.blake2b(f'{tuple(image.shape)} {image.dtype}\0'.encode(), digest_size=20)
    mark.update(image.contiguous().numpy().data)
    return mark.hexdigest()


class CoarseLatents:
    """z_c of pictures, from the store or else from the core.

    The core sees one picture at a time: a latent is then a function of its picture alone and not of
    its neighbours in a batch, and whoever computes it, in whichever run, gets the same.
    """

    def __init__(self, base: Base, lcm: LocalContinuityModule, store: LatentStore) -> None:
        """Make a source of latents.

        Args:
            base: with the adapters `core` and `sharpener` attached.
            lcm: the trained core's; it is rounded to the base's precision, as in prediction.
            store: where latents are kept.
        """
        self.base = base
        self.lcm = lcm.to(base.device, base.dtype).requires_grad_(requires_grad=False)
        self._store = store

    @torch.no_grad()
    def of(self, images: Tensor) -> Tensor:
        """Latents (B, 16, h, w) of pictures (B, 3, H, W) on the CPU, in the base's precision."""
        latents = []
        for image in images:
            key = picture_key(image)
            latent = self._store.get(key)
            if latent is None:
                latent = self.compute(image[None])[0]
                self._store.put(key, latent.cpu())
            latents.append(latent.to(self.base.device, self.base.dtype))
        return torch.stack(latents)

    @torch.no_grad()
    def compute(self, image: Tensor) -> Tensor:
        """Run the core on one picture (1, 3, H, W): (1, 16, h, w)."""
        network = TaskNetwork(self.base.transformer, self.lcm, self.base.conditioning)
        with acting(self.base.transformer, CORE, then=SHARPENER):
            return network.core(self.base.encode(image).to(self.base.dtype))

    def flush(self) -> None:
        """Write what is still in memory."""
        self._store.flush()
