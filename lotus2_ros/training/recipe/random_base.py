"""FLUX-sized bases with random weights, built in place on the device: for measuring, not training.

Shapes are those of the published configurations (black-forest-labs/FLUX.1-dev and FLUX.1-schnell).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from lotus2_ros.model.flow import FlowSchedule
from lotus2_ros.model.lora import target_modules
from lotus2_ros.model.network import Conditioning
from lotus2_ros.model.prompt import TEXT_TOKENS
from lotus2_ros.training.recipe.base import Base
from lotus2_ros.training.scheduler import SCHEDULER_CONFIG

FLUX_TRANSFORMER: dict[str, Any] = {
    'in_channels': 64,
    'num_layers': 19,
    'num_single_layers': 38,
    'attention_head_dim': 128,
    'num_attention_heads': 24,
    'joint_attention_dim': 4096,
    'pooled_projection_dim': 768,
    'axes_dims_rope': (16, 56, 56),
}
FLUX_VAE: dict[str, Any] = {
    'in_channels': 3,
    'out_channels': 3,
    'down_block_types': ['DownEncoderBlock2D'] * 4,
    'up_block_types': ['UpDecoderBlock2D'] * 4,
    'block_out_channels': [128, 256, 512, 512],
    'layers_per_block': 2,
    'latent_channels': 16,
    'norm_num_groups': 32,
    'sample_size': 1024,
    'scaling_factor': 0.3611,
    'shift_factor': 0.1159,
    'use_quant_conv': False,
    'use_post_quant_conv': False,
}
GUIDED = {'black-forest-labs/FLUX.1-dev': True, 'black-forest-labs/FLUX.1-schnell': False}
"""Bases of FLUX's size, and whether they embed guidance."""

_DEVIATION = 0.02


def random_base(
    device: torch.device,
    dtype: torch.dtype,
    *,
    guidance_embeds: bool,
    transformer: dict[str, Any] | None = None,
    vae: dict[str, Any] | None = None,
    text_tokens: int = TEXT_TOKENS,
) -> Base:
    """Build a base without files and without a copy of it in host memory.

    Args:
        device: where its weights are drawn.
        dtype: of weights and arithmetic.
        guidance_embeds: FLUX.1-dev's kind, else schnell's.
        transformer: other arguments of FluxTransformer2DModel than FLUX's.
        vae: other arguments of AutoencoderKL than FLUX's.
        text_tokens: length of the prompt.
    """
    draw = torch.Generator(device).manual_seed(0)
    config = {**(transformer or FLUX_TRANSFORMER), 'guidance_embeds': guidance_embeds}
    network = random_module(FluxTransformer2DModel, config, device, dtype, draw)
    scheduler = {'_class_name': 'FlowMatchEulerDiscreteScheduler', **SCHEDULER_CONFIG}
    joint, pooled = config['joint_attention_dim'], config['pooled_projection_dim']
    conditioning = Conditioning(
        torch.randn(1, text_tokens, joint, generator=draw, device=device),
        torch.randn(1, pooled, generator=draw, device=device),
    )
    return Base(
        transformer=network,
        vae=random_module(AutoencoderKL, vae or FLUX_VAE, device, dtype, draw),
        conditioning=conditioning.to(device, dtype),
        schedule=FlowSchedule(scheduler, Path('FLUX.1')),
        targets=target_modules(network),
        device=device,
        dtype=dtype,
        identity='random',
    )


def flux_parameters() -> int:
    """Parameters of FLUX's transformer, counted without making it."""
    with torch.device('meta'):
        transformer: Any = FluxTransformer2DModel(**FLUX_TRANSFORMER, guidance_embeds=True)
    return sum(value.numel() for value in transformer.parameters())


def random_module(
    kind: Any,
    config: dict[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    draw: torch.Generator,
) -> Any:
    """A module of random weights, made in place.

    Args:
        kind: its class.
        config: arguments of the class.
        device: where its weights are drawn; `draw` belongs to it.
        dtype: of weights and arithmetic.
        draw: of the weights, in the order of the module's parameters.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # made in its precision at once: float32 would not fit
    try:
        with torch.device('meta'):
            module = kind(**config)
    finally:
        torch.set_default_dtype(before)
    module = module.to_empty(device=device).eval().requires_grad_(requires_grad=False)
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.ndim == 1 and name.endswith('weight'):
                value.fill_(1.0)  # norms
            else:
                value.normal_(0, _DEVIATION, generator=draw)
    return module
