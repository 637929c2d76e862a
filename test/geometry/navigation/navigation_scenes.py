"""Analytic scenes seen by a pinhole camera: the truth that the navigation geometry is held to.

Level frame: x forward, y left, z up, origin on the floor under the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics

CAMERA = Intrinsics.from_hfov(70.0, 640, 480)


@dataclass(frozen=True)
class Scene:
    """Things on a floor; a ray that meets nothing is sky (+Inf).

    boxes: (x0, x1, y0, y1, z0, z1); poles: (x, y, radius, height);
    ramps: (x0, x1, y0, y1, rise per metre of x beyond x0).
    """

    boxes: list[tuple[float, ...]] = field(default_factory=list)
    poles: list[tuple[float, ...]] = field(default_factory=list)
    ramps: list[tuple[float, ...]] = field(default_factory=list)
    floor: bool = True


def camera_to_level(height: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> np.ndarray:
    """Optical frame to level frame; pitch looks down, roll turns about the optical axis."""
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    upright = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    down = np.array(
        [
            [math.cos(pitch), 0.0, math.sin(pitch)],
            [0.0, 1.0, 0.0],
            [-math.sin(pitch), 0.0, math.cos(pitch)],
        ]
    )
    turn = np.array(
        [
            [math.cos(roll), -math.sin(roll), 0.0],
            [math.sin(roll), math.cos(roll), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    transform = np.eye(4)
    transform[:3, :3] = down @ upright @ turn
    transform[2, 3] = height
    return transform


def render(scene: Scene, transform: np.ndarray, camera: Intrinsics = CAMERA) -> np.ndarray:
    """Z-depth [m], (H, W) float64; rays r = (x, y, 1), so the ray parameter is the depth."""
    column, row = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x, y = (column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ transform[:3, :3].T
    eye = transform[:3, 3]
    depth = np.full(x.shape, np.inf)
    with np.errstate(divide='ignore', invalid='ignore'):
        if scene.floor:
            depth = _nearest(depth, -eye[2] / rays[..., 2])
        for box in scene.boxes:
            depth = _nearest(depth, _box(rays, eye, box))
        for pole in scene.poles:
            depth = _nearest(depth, _pole(rays, eye, pole))
        for ramp in scene.ramps:
            depth = _nearest(depth, _ramp(rays, eye, ramp))
    return depth


def _nearest(depth, hit):
    return np.minimum(depth, np.where(hit > 0.0, hit, np.inf))


def _box(rays, eye, box):
    bounds = np.array(box).reshape(3, 2)
    first = (bounds[:, 0] - eye) / rays
    second = (bounds[:, 1] - eye) / rays
    enter = np.minimum(first, second).max(axis=-1)
    leave = np.maximum(first, second).min(axis=-1)
    return np.where(enter <= leave, enter, np.inf)


def _pole(rays, eye, pole):
    px, py, radius, height = pole
    ox, oy = eye[0] - px, eye[1] - py
    a = rays[..., 0] ** 2 + rays[..., 1] ** 2
    b = ox * rays[..., 0] + oy * rays[..., 1]
    root = np.sqrt(b * b - a * (ox * ox + oy * oy - radius * radius))  # NaN: the ray passes by
    hit = (-b - root) / a
    z = eye[2] + hit * rays[..., 2]
    return np.where((z >= 0.0) & (z <= height), hit, np.inf)


def _ramp(rays, eye, ramp):
    x0, x1, y0, y1, rise = ramp
    hit = (rise * (eye[0] - x0) - eye[2]) / (rays[..., 2] - rise * rays[..., 0])
    x, y = eye[0] + hit * rays[..., 0], eye[1] + hit * rays[..., 1]
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return np.where(inside, hit, np.inf)


def smeared(depth: np.ndarray, how: str) -> np.ndarray:
    """Depth whose disparity was passed through a network's kind of smoothing, float32.

    'sharp': none. 'half': reduced to half the size by area and enlarged linearly, as a decoder
    does. 'soft', 'softer': Gaussian of 1 and 1.5 px, whose ramps are about 4 and 6 px wide.
    """
    disparity = (1.0 / depth).astype(np.float32)
    height, width = depth.shape
    if how == 'half':
        small = cv2.resize(disparity, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        disparity = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    elif how in ('soft', 'softer'):
        sigma = {'soft': 1.0, 'softer': 1.5}[how]
        disparity = cv2.GaussianBlur(disparity, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    with np.errstate(divide='ignore'):
        return 1.0 / disparity


ROOM = Scene(
    boxes=[
        (6.0, 6.2, -3.0, 3.0, 0.0, 2.6),  # walls
        (-1.0, 6.0, 2.5, 2.7, 0.0, 2.6),
        (-1.0, 6.0, -2.7, -2.5, 0.0, 2.6),
        (-1.0, 6.2, -2.7, 2.7, 2.6, 2.7),  # ceiling
        (2.0, 2.6, -1.4, -0.8, 0.0, 0.7),
        (3.2, 3.9, 0.5, 1.3, 0.0, 1.1),
        (1.5, 1.8, 0.6, 0.9, 0.0, 0.3),
    ],
    poles=[(2.8, 0.1, 0.04, 1.8), (4.4, -1.5, 0.06, 2.6)],
)
YARD = Scene(
    boxes=[
        (4.0, 4.6, -2.5, -1.2, 0.0, 1.2),
        (2.2, 2.7, 0.9, 1.4, 0.0, 0.5),
        (9.0, 9.5, -8.0, 2.0, 0.0, 3.0),
    ],
    poles=[(3.0, -0.6, 0.05, 2.5), (1.6, 0.5, 0.03, 1.2), (4.5, 1.8, 0.08, 4.0)],
    ramps=[(3.0, 4.9, -0.4, 0.8, 0.35)],
)
CORRIDOR = Scene(
    boxes=[
        (-1.0, 12.0, 0.8, 1.0, 0.0, 2.5),
        (-1.0, 12.0, -1.0, -0.8, 0.0, 2.5),
        (-1.0, 12.0, -1.0, 1.0, 2.5, 2.6),
        (3.0, 3.4, 0.3, 0.8, 0.0, 1.0),
    ],
    poles=[(2.0, -0.4, 0.03, 1.5)],
)
SCENES = {'room': ROOM, 'yard': YARD, 'corridor': CORRIDOR}

POLE_SCENE = Scene(poles=[(x, y, 0.08, 1.5) for x in (0.9, 2.0) for y in (-1.0, -0.3, 0.4, 1.0)])
"""Poles from one edge of the image to the other."""


def random_scene(rng: np.random.Generator) -> Scene:
    """Boxes of 0.1 to 1 m and poles 3 to 20 cm thick in the first five metres, sometimes a wall."""
    boxes: list[tuple[float, ...]] = []
    if rng.random() < 0.6:
        boxes.append((rng.uniform(6.0, 11.0), 12.0, -20.0, 20.0, 0.0, 3.0))
    for _ in range(rng.integers(2, 7)):
        x, y = rng.uniform(1.0, 5.0), rng.uniform(-2.2, 2.2)
        depth, width, height = rng.uniform(0.1, 1.0, 3)
        boxes.append((x, x + depth, y, y + width, 0.0, 2.0 * height))
    poles = [
        (
            rng.uniform(0.8, 4.8),
            rng.uniform(-1.8, 1.8),
            rng.uniform(0.015, 0.1),
            rng.uniform(0.5, 2),
        )
        for _ in range(rng.integers(0, 5))
    ]
    return Scene(boxes=boxes, poles=poles)
