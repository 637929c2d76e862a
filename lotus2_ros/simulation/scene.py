"""The compiled world at a moment, with the cameras that look into it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.closing import Closing
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.simulation.engine import load_mujoco, place_body, place_camera
from lotus2_ros.simulation.rendering import GlRenderer
from lotus2_ros.simulation.world import WALKERS, build_world
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

_ASIDE = 0.25
"""Half the width of the loop that a walker goes [m]."""


class Scene(Closing):
    """Owns model, state and OpenGL; use it from one thread, and close it there.

    Args:
        seed: see `build_world`.
        walkers: people who walk.

    Raises:
        SimulationError: MuJoCo is not there.
    """

    def __init__(self, seed: int, walkers: int = len(WALKERS)) -> None:
        mujoco = load_mujoco()
        text, assets = build_world(seed, walkers)
        self.model: Any = mujoco.MjModel.from_xml_string(text, assets)
        self.data: Any = mujoco.MjData(self.model)
        self._walkers = WALKERS[:walkers]
        self._renderer: GlRenderer | None = None
        self._time = math.nan
        self.move(0.0)

    def close(self) -> None:
        """Give OpenGL's memory back."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def move(self, time: float) -> None:
        """Put everyone where they are at a time [s]."""
        if time == self._time:
            return
        for walker in self._walkers:
            start, end = np.array(walker.start), np.array(walker.end)
            phase = 2 * math.pi * time / walker.period
            along = 0.5 * (end - start)
            aside = np.array([-along[1], along[0]]) * (_ASIDE / np.linalg.norm(along))
            place = start + along - math.cos(phase) * along + math.sin(phase) * aside
            way = math.sin(phase) * along + math.cos(phase) * aside
            heading = math.atan2(way[1], way[0])
            turn = np.array(
                [
                    [math.cos(heading), -math.sin(heading), 0],
                    [math.sin(heading), math.cos(heading), 0],
                    [0, 0, 1],
                ]
            )
            place_body(self.model, self.data, walker.name, np.array([*place, 0.0]), turn)
        load_mujoco().mj_forward(self.model, self.data)
        self._time = time

    def picture(
        self, pose: Float64Array, camera: Intrinsics, *, shadows: bool = True
    ) -> UInt8Array:
        """What a pinhole camera sees.

        Args:
            pose: (4, 4), optical frame to the world.
            camera: square pixels, the principal point in the middle.
            shadows: cast by the sun; they take most of the time.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            SimulationError: OpenGL is not there, or the picture is too large.
        """
        renderer = self._look(pose, camera)
        return renderer.picture(self.data, camera.width, camera.height, shadows=shadows)

    def depth(self, pose: Float64Array, camera: Intrinsics) -> Float32Array:
        """True Z-depth (H, W) [m] from the depth buffer, infinite in the sky; see `picture`."""
        return self._look(pose, camera).depth(self.data, camera.width, camera.height)

    def _look(self, pose: Float64Array, camera: Intrinsics) -> GlRenderer:
        # Not before a picture is asked for: lidar and motion need no OpenGL.
        if self._renderer is None:
            self._renderer = GlRenderer(self.model)
        fovy = 2 * math.degrees(math.atan(0.5 * camera.height / camera.fy))
        # MuJoCo's camera looks along its -z, with y up.
        place_camera(self.model, self.data, pose[:3, 3], pose[:3, :3] * [1.0, -1.0, -1.0], fovy)
        return self._renderer
