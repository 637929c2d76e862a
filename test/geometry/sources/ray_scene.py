"""Analytic scenes of planes and boxes, seen by a camera and by a lidar through ray casting.

The level frame has x right, y down, z forward; its origin lies at the camera and the ground at
y = height.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import PINHOLE, Lens
from lotus2_ros.geometry.rigid import from_rotation_vector, inverse

CAMERA = Intrinsics(277.0, 277.0, 159.5, 119.5, 320, 240)

LIDAR_AXES = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""From a frame with x forward, y left, z up to the level frame."""


@dataclass(frozen=True)
class Scene:
    """The inside of a room (or open ground under the sky) with boxes.

    Attributes:
        height: of the camera over the ground [m].
        room: (2, 3) lower and upper corner; infinite where open.
        boxes: each (2, 3) lower and upper corner.
        level_to_camera: (4, 4).
    """

    height: float
    room: np.ndarray
    boxes: list[np.ndarray] = field(default_factory=list)
    level_to_camera: np.ndarray = field(default_factory=lambda: np.eye(4))

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Multiples of the (N, 3) directions at which rays from the origin end; inf for none."""
        with np.errstate(divide='ignore', invalid='ignore'):
            ends = np.where(
                directions > 0,
                (self.room[1] - origin) / directions,
                (self.room[0] - origin) / directions,
            )
            ends = np.nanmin(np.where(directions == 0.0, np.inf, ends), axis=1)
            for box in self.boxes:
                one, other = (box[0] - origin) / directions, (box[1] - origin) / directions
                enters = np.nanmax(np.minimum(one, other), axis=1)
                leaves = np.nanmin(np.maximum(one, other), axis=1)
                hit = (enters < leaves) & (enters > 0)
                ends = np.where(hit & (enters < ends), enters, ends)
        return ends

    def depth(self, camera: Intrinsics = CAMERA, lens: Lens = PINHOLE) -> np.ndarray:
        """(H, W) along the optical axis [m]; inf in the sky."""
        rays = lens.rays(camera).reshape(-1, 2)
        directions = np.column_stack([rays, np.ones(len(rays))])
        camera_to_level = inverse(self.level_to_camera)
        ends = self.cast(camera_to_level[:3, 3], directions @ camera_to_level[:3, :3].T)
        return ends.reshape(camera.height, camera.width)

    def normals(self, camera: Intrinsics = CAMERA) -> np.ndarray:
        """(H, W, 3) float32 facing the camera, in the optical frame, by the surface that is hit."""
        rays = PINHOLE.rays(camera).reshape(-1, 2)
        directions = np.column_stack([rays, np.ones(len(rays))])
        to_level = inverse(self.level_to_camera)
        level = directions @ to_level[:3, :3].T
        origin = to_level[:3, 3]
        points = origin + level * self.cast(origin, level)[:, None]
        normals = np.zeros((len(points), 3))
        nearest = np.full(len(points), np.inf)
        for corners in [self.room, *self.boxes]:
            for face in corners:
                inside = np.all(
                    (points > corners.min(0) - 1e-6) & (points < corners.max(0) + 1e-6), axis=1
                )
                with np.errstate(invalid='ignore'):
                    distance = np.where(np.isfinite(face), np.abs(points - face), np.inf)
                axis = distance.argmin(1)
                least = distance.min(1)
                better = inside & (least < nearest)
                nearest[better] = least[better]
                normals[better] = np.eye(3)[axis[better]]
        normals *= -np.sign((normals * level).sum(1, keepdims=True))
        shaped = (normals @ self.level_to_camera[:3, :3].T).reshape(camera.height, camera.width, 3)
        return shaped.astype(np.float32)

    @property
    def up(self) -> np.ndarray:
        """Unit vector against gravity, in the optical frame."""
        return self.level_to_camera[:3, :3] @ np.array([0.0, -1.0, 0.0])

    def scan(self, lidar_to_level: np.ndarray, lines: int) -> np.ndarray:
        """(N, 3) points in the lidar's frame (x forward, y left, z up) over its front half."""
        elevation = np.radians(np.linspace(-22.5, 22.5, lines))
        azimuth = np.radians(np.arange(-60.0, 60.0, 0.35))
        e, a = (grid.ravel() for grid in np.meshgrid(elevation, azimuth, indexing='ij'))
        rays = np.column_stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        ends = self.cast(lidar_to_level[:3, 3], rays @ lidar_to_level[:3, :3].T)
        return rays[np.isfinite(ends)] * ends[np.isfinite(ends), None]


def room(rng: np.random.Generator, *, pitch_deg: float | None = None) -> Scene:
    """A room with furniture; the camera looks slightly down."""
    height = rng.uniform(0.4, 1.4)
    corners = np.array(
        [
            [-rng.uniform(1.5, 4.0), height - rng.uniform(2.4, 3.2), -5.0],
            [rng.uniform(1.5, 4.0), height, rng.uniform(5.0, 9.0)],
        ]
    )
    boxes = []
    for _ in range(rng.integers(3, 7)):
        size = rng.uniform([0.2, 0.3, 0.2], [0.8, 1.5, 0.8])
        centre = np.array([rng.uniform(-2.0, 2.0), height - size[1] / 2, rng.uniform(1.8, 5.5)])
        boxes.append(np.array([centre - size / 2, centre + size / 2]))
    return Scene(height, corners, boxes, look_down(rng, pitch_deg))


def yard(rng: np.random.Generator) -> Scene:
    """Open ground under the sky, with boxes as large as cars and sheds."""
    height = rng.uniform(0.5, 1.5)
    corners = np.array([[-np.inf, -np.inf, -np.inf], [np.inf, height, np.inf]])
    boxes = []
    for _ in range(rng.integers(4, 9)):
        size = rng.uniform([0.5, 0.8, 0.5], [4.0, 3.0, 4.0])
        centre = np.array([rng.uniform(-8.0, 8.0), height - size[1] / 2, rng.uniform(5.0, 18.0)])
        boxes.append(np.array([centre - size / 2, centre + size / 2]))
    return Scene(height, corners, boxes, look_down(rng, None))


def look_down(rng: np.random.Generator, pitch_deg: float | None) -> np.ndarray:
    """Level frame -> optical frame of a camera pitched down, with a little roll."""
    pitch = np.radians(rng.uniform(5.0, 20.0) if pitch_deg is None else pitch_deg)
    return from_rotation_vector(np.array([pitch, 0.0, 0.0]), np.zeros(3)) @ from_rotation_vector(
        np.array([0.0, 0.0, np.radians(rng.uniform(-2.0, 2.0))]), np.zeros(3)
    )


def predicted(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ground-truth disparity under a random affine map, about 0 to 1, float32."""
    inverse_depth = 1.0 / depth
    low, span = rng.uniform(0.0, 0.25), rng.uniform(0.4, 0.75)
    return (low + span * inverse_depth / inverse_depth.max()).astype(np.float32)


def abs_rel(
    disparity: np.ndarray, a: float, b: float, depth: np.ndarray, farthest: float = 20.0
) -> float:
    """Mean of |z - z_true| / z_true over pixels up to the farthest depth [m]."""
    known = depth < farthest
    found = 1.0 / np.maximum(a * disparity[known].astype(float) + b, 1e-3)
    return float(np.mean(np.abs(found / depth[known] - 1.0)))


def random_turn(rng: np.random.Generator, degrees: float, metres: float) -> np.ndarray:
    """A transform that turns and shifts by exactly this much, about and along random axes."""
    axis, shift = rng.normal(size=(2, 3))
    return from_rotation_vector(
        axis / np.linalg.norm(axis) * np.radians(degrees), shift / np.linalg.norm(shift) * metres
    )
