"""FLUX's transformer with random weights in all its blocks, in which roundings do not run away."""

from __future__ import annotations

import torch
from torch import nn

from lotus2_ros.model.inference.quantization import dequantize_rows, quantize_rows
from lotus2_ros.model.network import GUIDANCE

GUIDANCE_SEEN = 3.504
"""In bfloat16 a thousand times the guidance is 3504, not 3500: another embedding altogether."""


@torch.no_grad()
def calm_modulation(flux, given, deviation=0.02):
    """Scale shift, scale and gate of every block to about 0.1.

    As they are drawn, they are of order one, and 57 blocks multiply every rounding.

    Args:
        flux: in bfloat16.
        given: conditioning.
        deviation: of the weights.
    """
    one = torch.ones(1, device=given.pooled.device, dtype=torch.bfloat16)
    guidance = torch.full_like(one, 1000 * GUIDANCE)
    embedded = flux.time_text_embed(one, guidance, given.pooled)
    spread = deviation * nn.functional.silu(embedded.float()).norm()
    for name, layer in flux.named_modules():
        if name.endswith(('norm1.linear', 'norm1_context.linear', 'norm.linear')):
            layer.weight.mul_(0.1 / spread)


def layers_in_blocks(flux):
    """The layers whose weights prepared folders keep in 8 bits."""
    return [
        layer
        for name, layer in flux.named_modules()
        if isinstance(layer, nn.Linear) and 'transformer_blocks' in name and '.norm' not in name
    ]


@torch.no_grad()
def round_weights(flux, kind):
    """Bring weights of `layers_in_blocks`, in float32, to what 8 bits hold of them; in place."""
    for layer in layers_in_blocks(flux):
        layer.weight.copy_(dequantize_rows(*quantize_rows(layer.weight, kind), torch.float32))
