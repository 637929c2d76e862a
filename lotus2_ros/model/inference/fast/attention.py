"""Attention by a kernel that is chosen, not met by luck."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

_HOPPER = (9, 0)


def best_backend(device: torch.device, dtype: torch.dtype) -> SDPBackend | None:
    """The fastest exact kernel torch has on a device; None leaves it to torch, off a GPU.

    cuDNN's is the fastest from Hopper on; before, flash attention. Neither takes float32.
    """
    if device.type != 'cuda':
        return None
    if dtype == torch.float32:
        return SDPBackend.EFFICIENT_ATTENTION
    hopper = torch.cuda.get_device_capability(device) >= _HOPPER
    return SDPBackend.CUDNN_ATTENTION if hopper else SDPBackend.FLASH_ATTENTION


def attend(queries: Tensor, keys: Tensor, values: Tensor, backend: SDPBackend | None) -> Tensor:
    """Attention of (B, T, H, hd) over (B, S, H, hd): (B * T, H * hd).

    Raises:
        RuntimeError: the chosen kernel cannot take these shapes.
    """
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    if backend is None:
        result = F.scaled_dot_product_attention(q, k, v)
    else:
        with sdpa_kernel(backend):
            result = F.scaled_dot_product_attention(q, k, v)
    return result.transpose(1, 2).flatten(2).flatten(0, 1)
