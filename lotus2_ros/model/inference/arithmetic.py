"""The arithmetic between the matrix products: norms, rotation, attention, activation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.inference.modulation import Affine

LAYER_NORM_EPS = 1e-6
_GELU_SLOPE = 2.0 * math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715 * _GELU_SLOPE


def modulate(tokens: Tensor, affine: Affine) -> Tensor:
    """Layer norm of tokens (B, T, D), scaled and shifted, in one pass."""
    return F.layer_norm(tokens, affine.shift.shape, affine.scale, affine.shift, LAYER_NORM_EPS)


def normalize_heads(heads: Tensor, weight: Tensor, eps: float) -> None:
    """Divide queries and keys by their root mean square, in place.

    Args:
        heads: (B, T, 2, H, hd), queries and keys.
        weight: (2, 1, hd).
        eps: added to the mean square.
    """
    wide = _widen(heads)
    inverse = torch.linalg.vecdot(wide, wide)[..., None]
    inverse.mul_(1.0 / heads.shape[-1]).add_(eps).rsqrt_()
    wide.mul_(inverse).mul_(weight)
    if wide is not heads:
        heads.copy_(wide)


def rotate(heads: Tensor, turns: Tensor) -> None:
    """Turn neighbouring pairs of features by their position's angles, in place.

    Args:
        heads: (B, T, 2, H, hd), queries and keys.
        turns: (T, 1, 1, hd/2) complex of length one.
    """
    wide = _widen(heads)
    torch.view_as_complex(wide.unflatten(-1, (-1, 2))).mul_(turns)
    if wide is not heads:
        heads.copy_(wide)


def _widen(heads: Tensor) -> Tensor:
    """The heads themselves, or in float32 where they are narrower."""
    return heads.float() if heads.element_size() < 4 else heads


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of (B, T, H, hd) over (B, S, H, hd): (B, T, H * hd)."""
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh approximation.

    torch's is slow where a CPU computes tanh: (1 + tanh(y)) / 2 = sigmoid(2 y) takes half the time.
    """
    if x.device.type != 'cpu' or x.dtype != torch.float32:
        return F.gelu(x, approximate='tanh')
    slope = x.new_tensor(_GELU_SLOPE)
    return torch.addcmul(slope, x, x, value=_GELU_CUBIC).mul_(x).sigmoid_().mul_(x)
