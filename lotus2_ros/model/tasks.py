"""The task table: how each task's files are named and how its decoded picture is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lotus2_ros.types import DEPTH, NORMALS

CORE_FILE = 'lotus-2_core_predictor_{stem}.safetensors'
SHARPENER_FILE = 'lotus-2_detail_sharpener_{stem}.safetensors'
LCM_FILE = 'lotus-2_lcm_{stem}.safetensors'


@dataclass(frozen=True, slots=True)
class Task:
    """One thing the model predicts.

    Attributes:
        name: as users write it.
        stem: as the published weight files write it.
        channels: C of its values.
        reduce: picture (B, 3, h, w) in [0, 1] to what is resized, (B, C, h, w); linear, so that it
            commutes with the bilinear resize.
        decode: resized (B, C, H, W) to the task's values, (B, C, H, W).
    """

    name: str
    stem: str
    channels: int
    reduce: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]

    @property
    def core_file(self) -> str:
        """Name of the core predictor's LoRA file."""
        return CORE_FILE.format(stem=self.stem)

    @property
    def sharpener_file(self) -> str:
        """Name of the detail sharpener's LoRA file."""
        return SHARPENER_FILE.format(stem=self.stem)

    @property
    def lcm_file(self) -> str:
        """Name of the local continuity module's file."""
        return LCM_FILE.format(stem=self.stem)


def picture(decoded: Tensor) -> Tensor:
    """Map the VAE decoder's output, any shape, from [-1, 1] to a picture in [0, 1], float32."""
    return (decoded.float() * 0.5 + 0.5).clamp_(0.0, 1.0)


def _channel_mean(image: Tensor) -> Tensor:
    red, green, blue = image.unbind(1)
    return ((red + green + blue) / 3.0)[:, None]  # (B, 1, h, w)


def _as_is(image: Tensor) -> Tensor:
    return image


def camera_facing_normals(image: Tensor) -> Tensor:
    """Turn normal pictures (B, 3, H, W) in [0, 1] into unit vectors in the optical frame.

    The training data (DSINE's convention) holds outward normals: a wall facing the camera is
    (0, 0, +1). The normal that faces the camera in a ROS optical frame is the negative.
    A vector of no length has no direction; it becomes (0, 0, -1), straight at the camera.
    """
    vectors = image * -2.0 + 1.0
    x, y, z = vectors.unbind(1)  # written out: a reduction over three values is slow on a CPU
    length = torch.sqrt(x * x + y * y + z * z)[:, None]
    towards_camera = vectors.new_zeros(1, 3, 1, 1)
    towards_camera[:, 2] = -1.0  # filled on the device: a copy from the host cannot be recorded
    return torch.where(length > 1e-6, vectors / length.clamp_min(1e-6), towards_camera)


TASKS: dict[str, Task] = {
    DEPTH: Task(DEPTH, 'depth', 1, _channel_mean, _as_is),
    NORMALS: Task(NORMALS, 'normal', 3, _as_is, camera_facing_normals),
}
"""Task name to task, in the order in which tasks are computed."""
