"""What an exception in the model's process means for the process."""

from __future__ import annotations

from typing import Literal

import torch

from lotus2_ros.errors import Lotus2Error

Fault = Literal['memory', 'sticky', 'frame']
"""memory: a retry after freeing caches may succeed. sticky: the CUDA context is lost, only a new
process helps. frame: this frame alone is affected."""

NON_FINITE_LIMIT = 5
"""So many results in a row that are not finite are no matter of the images any more: weights, or
what else lies in the device's memory, may be corrupted, and only loading it anew helps."""

_MEMORY_TEXTS = (
    'out of memory',
    'not enough memory',
    "can't allocate memory",
    'CUBLAS_STATUS_ALLOC_FAILED',
    'CUDNN_STATUS_ALLOC_FAILED',
)
_DEVICE_TEXTS = ('CUDA', 'CUBLAS', 'cuDNN', 'CUDNN', 'CUSOLVER', 'NVRTC', 'NCCL', 'Triton')


def classify(error: BaseException) -> Fault:
    """What to do about an error of the model; an unknown device error counts as sticky."""
    text = str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return 'memory'
    if isinstance(error, Lotus2Error):
        cause = error.__cause__
        return 'frame' if cause is None else classify(cause)
    if isinstance(error, RuntimeError):
        if any(part in text for part in _MEMORY_TEXTS):
            return 'memory'
        if isinstance(error, torch.AcceleratorError):
            return 'sticky'
        if any(part in text for part in _DEVICE_TEXTS):
            return 'sticky'
    return 'frame'
