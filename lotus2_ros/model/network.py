"""The two-stage network: core predictor and local continuity module, then detail sharpener."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lotus2_ros.model.conditioning import GUIDANCE, Conditioning
from lotus2_ros.model.flow import MODEL_TIMESTEPS, FlowStep
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.latents import image_ids, pack, text_ids, unpack
from lotus2_ros.model.lcm import LocalContinuityModule

CORE_TIMESTEP = 1.0
"""The core predictor is called once, at timestep 1 of 1000."""

__all__ = ['CORE_TIMESTEP', 'GUIDANCE', 'Conditioning', 'TaskNetwork', 'call_transformer']


def call_transformer(
    transformer: Any, latent: Tensor, timestep: Tensor | float, conditioning: Conditioning
) -> Tensor:
    """Run a `FluxTransformer2DModel` on unpacked latents.

    Args:
        transformer: diffusers' FluxTransformer2DModel.
        latent: (B, 16, h, w), h and w even.
        timestep: one number or (B,), 0 to 1000; the transformer sees a thousandth of it.
        conditioning: prompt embeddings on the latent's device and in its precision.

    Returns:
        (B, 16, h, w): a latent or a velocity, as the weights were trained.
    """
    batch, _, height, width = latent.shape
    time = torch.as_tensor(timestep, device=latent.device).to(latent.dtype).expand(batch)
    guidance = None
    if transformer.config.guidance_embeds:
        # float32 here: the transformer rounds it to its own precision itself.
        guidance = torch.full((batch,), GUIDANCE, device=latent.device)
    tokens = transformer(
        hidden_states=pack(latent),
        encoder_hidden_states=conditioning.prompt.expand(batch, -1, -1),
        pooled_projections=conditioning.pooled.expand(batch, -1),
        timestep=time / MODEL_TIMESTEPS,
        guidance=guidance,
        img_ids=image_ids(height, width, device=latent.device),
        txt_ids=text_ids(conditioning.prompt.shape[1], device=latent.device),
        return_dict=False,
    )[0]
    return unpack(tokens, height, width)


def euler_step(latent: Tensor, velocity: Tensor, delta: Tensor | float) -> Tensor:
    """The latent moved by delta times the velocity; in float32: late steps are too small else."""
    return (latent.float() + delta * velocity.float()).to(latent.dtype)


@dataclass(slots=True)
class TaskNetwork:
    """All that one task needs between the encoded image and the decoded picture.

    Attributes:
        core_transformer: with the core predictor's adapter folded in; a FastTransformer, an
            InferenceTransformer, or diffusers' FluxTransformer2DModel while it is being trained;
            None when it is not loaded.
        lcm: local continuity module; goes with the core.
        conditioning: prompt embeddings.
        sharpener_transformer: likewise with the sharpener's; None when it is not loaded.
    """

    core_transformer: Any
    lcm: LocalContinuityModule | None
    conditioning: Conditioning
    sharpener_transformer: Any = None

    def core(self, latent: Tensor) -> Tensor:
        """Predict the annotation's latent (B, 16, h, w) from the image's, in one call.

        The transformer's output is the clean latent itself: no residual and no Euler step.

        Raises:
            RuntimeError: the core is not loaded.
        """
        if self.core_transformer is None or self.lcm is None:
            raise RuntimeError('the core predictor is not loaded')
        coarse = self._run(self.core_transformer, latent, CORE_TIMESTEP)
        refined: Tensor = self.lcm(coarse)
        return refined

    def sharpen(self, latent: Tensor, step: FlowStep) -> Tensor:
        """Move a latent (B, 16, h, w) along the sharpener's flow by one Euler step.

        Raises:
            RuntimeError: the sharpener is not loaded.
        """
        if self.sharpener_transformer is None:
            raise RuntimeError('the detail sharpener is not loaded')
        velocity = self._run(self.sharpener_transformer, latent, step.timestep)
        return euler_step(latent, velocity, step.delta)

    def _run(self, transformer: Any, latent: Tensor, timestep: float) -> Tensor:
        if isinstance(transformer, InferenceTransformer | FastTransformer):
            return cast('Tensor', transformer(latent, timestep))
        return call_transformer(transformer, latent, timestep, self.conditioning)
