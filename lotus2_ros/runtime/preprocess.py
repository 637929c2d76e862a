"""Images to the network's input, and its decoded pictures to values at the output size."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.errors import ImageError
from lotus2_ros.model.latents import IMAGE_MULTIPLE
from lotus2_ros.model.tasks import Task, picture
from lotus2_ros.types import UInt8Array

Size = tuple[int, int]
"""Height and width in pixels."""


def check_image(rgb: UInt8Array) -> Size:
    """Size of an image, once it is known to be one.

    Raises:
        ImageError: not an (H, W, 3) uint8 array, or empty.
    """
    if not isinstance(rgb, np.ndarray):
        raise ImageError(f'an image must be a NumPy array, not {type(rgb).__name__}')
    if rgb.dtype != np.uint8:
        raise ImageError(f'an image must be uint8 in [0, 255], not {rgb.dtype}')
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError(f'an image must be (height, width, 3) RGB, not {rgb.shape}')
    if not rgb.size:
        raise ImageError(f'the image is empty: {rgb.shape}')
    return rgb.shape[0], rgb.shape[1]


def working_sizes(size: Size, max_side: int) -> list[Size]:
    """Sizes that an image goes through on its way into the network; the last is what it sees.

    First the longest side is brought down to `max_side`, then the shorter side to a multiple of
    16, keeping the aspect ratio, then both are cut to multiples of 16. Nothing is enlarged.
    The rounding is that of the released code, which trained weights have seen: products are taken
    in floating point and cut, so that a longest side may end one multiple lower.

    Raises:
        ImageError: a side would end below 16 pixels.
    """
    sizes = []
    height, width = size
    longest = max(height, width)
    if longest > max_side:
        scale = max_side / longest
        height, width = int(height * scale), int(width * scale)
        sizes.append((height, width))
    shortest = min(height, width)
    if shortest < IMAGE_MULTIPLE:
        reduced = '' if sizes == [] else f', {height}x{width} once reduced to max_side {max_side},'
        msg = (
            f'an image of {size[0]}x{size[1]} (height x width){reduced} is too small: each side'
            f' needs {IMAGE_MULTIPLE} pixels; enlarge or crop it before'
        )
        raise ImageError(msg)
    scale = (shortest // IMAGE_MULTIPLE) * IMAGE_MULTIPLE / shortest
    sizes.append((_floor(int(height * scale)), _floor(int(width * scale))))
    return sizes


def _floor(side: int) -> int:
    return side // IMAGE_MULTIPLE * IMAGE_MULTIPLE


def prepare_image(
    rgb: UInt8Array, sizes: list[Size], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Turn an image into the network's input.

    Args:
        rgb: (H, W, 3) uint8.
        sizes: see `working_sizes`.
        device: where to; the image is uploaded as bytes.
        dtype: precision of the result; resizing is done in float32.

    Returns:
        (1, 3, h, w) in [-1, 1].
    """
    # A copy of a read-only view: torch knows no read-only tensors and warns of them.
    array = np.ascontiguousarray(rgb) if rgb.flags.writeable else rgb.copy()
    return prepare_bytes(torch.from_numpy(array).to(device), sizes, dtype)


def prepare_bytes(rgb: Tensor, sizes: list[Size], dtype: torch.dtype) -> Tensor:
    """`prepare_image` of bytes (H, W, 3) that are on the device."""
    image = rgb.permute(2, 0, 1)[None]  # (1, 3, H, W)
    image = image.to(torch.float32) / 127.5 - 1.0  # still channels last: resizes faster, same bits
    return fitted(image, sizes).to(dtype).contiguous()


def fitted(image: Tensor, sizes: list[Size]) -> Tensor:
    """Resize (B, C, H, W) float32 through the sizes of `working_sizes`."""
    for size in sizes:
        if tuple(image.shape[2:]) != size:
            image = F.interpolate(image, size=size, mode='bilinear', align_corners=False)
    return image


def read_picture(decoded: Tensor, task: Task, size: Size) -> Tensor:
    """Turn the VAE decoder's output into a task's values.

    Args:
        decoded: (B, 3, h, w), nominally in [-1, 1].
        task: what the picture stands for.
        size: of the result.

    Returns:
        (B, C, H, W) float32.
    """
    reduced = task.reduce(picture(decoded))
    if tuple(reduced.shape[2:]) != size:
        reduced = _resize_exactly(reduced, size)
    return task.decode(reduced)


def _resize_exactly(image: Tensor, size: Size) -> Tensor:
    """Resize (B, C, h, w) float32 bilinearly without antialiasing.

    torch computes where to sample in the image's own precision: in float32 that is off by up to
    2e-5 of the result at a thousand pixels. OpenCV, which the released code uses here, is exact,
    and on a CPU tens of times faster; on a GPU double precision costs next to nothing.
    """
    if image.device.type != 'cpu':
        double = F.interpolate(image.double(), size=size, mode='bilinear', align_corners=False)
        return double.float()
    batch, channels = image.shape[:2]
    resized = np.empty((batch, channels, *size), np.float32)
    planes = image.flatten(0, 1).numpy()
    for plane, goal in zip(planes, resized.reshape(-1, *size), strict=True):
        cv2.resize(plane, (size[1], size[0]), dst=goal, interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized)
