"""The simulated robot: every sensor reading is a function of the settings and the time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lotus2_ros.closing import Closing
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.lens import Lens
from lotus2_ros.geometry.mounting import Mounting
from lotus2_ros.settings import SimulationSettings
from lotus2_ros.simulation.camera import SimulatedCamera, true_normals
from lotus2_ros.simulation.depth_sensor import measured_depth
from lotus2_ros.simulation.lidar import LidarScan, scan_turn
from lotus2_ros.simulation.motion import Drive, Odometry, Twist, felt
from lotus2_ros.simulation.path import ClosedPath
from lotus2_ros.simulation.scene import Scene
from lotus2_ros.simulation.world import CORNERS
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

_IMAGE, _DEPTH, _LIDAR, _IMU, _ODOMETRY = range(5)
"""Each sensor's noise is drawn apart."""

_SWEEP_S = 0.1

FORCE_NOISE = 10.0
"""Noise of acceleration [m/s2] to that of angular velocity [rad/s]."""


class ImuReading(NamedTuple):
    """In the IMU's frame.

    Attributes:
        orientation: (3, 3), IMU to the world.
        turn: (3,) angular velocity [rad/s].
        force: (3,) specific force [m/s2]; at rest it points up.
    """

    orientation: Float64Array
    turn: Float64Array
    force: Float64Array


class SimulatedRobot(Closing):
    """A robot in the world; use it from one thread, and close it there.

    Args:
        settings: decide everything.
        scene: of the same seed and walkers, to share; None builds one, which `close` closes.

    Attributes:
        settings: as given.
        intrinsics: K of the images, and camera of the true depth.
        lens: distortion of the images.
        drive: true motion.

    Raises:
        SimulationError: MuJoCo is not there.
    """

    def __init__(self, settings: SimulationSettings, scene: Scene | None = None) -> None:
        self.settings = settings
        self.drive = Drive(ClosedPath(CORNERS), settings.speed, settings.start, settings.sway_deg)
        self.scene = scene or Scene(settings.seed, settings.walkers)
        self._owns_scene = scene is None
        self.intrinsics = Intrinsics.from_hfov(settings.hfov_deg, settings.width, settings.height)
        self.reference_intrinsics = self.intrinsics.scaled(
            max(1, round(settings.width * settings.depth_scale)),
            max(1, round(settings.height * settings.depth_scale)),
        )
        self._camera = SimulatedCamera(
            self.scene,
            self.intrinsics,
            distortion=settings.distortion,
            noise=settings.image_noise,
            brightness_wave=settings.brightness_wave,
            shadows=settings.shadows,
        )
        # Registered: it sees what the camera sees, through the same lens.
        self._depth_camera = SimulatedCamera(
            self.scene, self.reference_intrinsics, distortion=settings.distortion
        )
        self.odometry = Odometry(self.drive, settings.odom_error, self._rng(_ODOMETRY, 0.0))

    def close(self) -> None:
        """Give OpenGL's memory back."""
        if self._owns_scene:
            self.scene.close()

    @property
    def lens(self) -> Lens:
        """Distortion of the images; without it a pinhole."""
        return self._camera.lens

    @property
    def sweep(self) -> float:
        """How long a turn of the lidars takes [s]."""
        return min(_SWEEP_S, 1.0 / self.settings.lidar_rate_hz)

    @property
    def camera_mounting(self) -> Mounting:
        """Of the camera on the robot's body, and on base_footprint while nothing sways."""
        settings = self.settings
        return Mounting(
            height=settings.camera_height,
            x=settings.camera_x,
            pitch_deg=settings.camera_pitch_deg,
        )

    @property
    def lidar_mounting(self) -> Float64Array:
        """(4, 4), lidar to the robot's body."""
        return _above(self.settings.lidar_x, self.settings.lidar_height)

    @property
    def imu_mounting(self) -> Float64Array:
        """(4, 4), IMU to the robot's body."""
        return _above(0.0, 0.2)

    def camera_pose(self, time: float) -> Float64Array:
        """(4, 4), optical frame to the world."""
        return self.drive.body(time) @ self.camera_mounting.optical_to_base

    def camera_on_base(self, time: float) -> Float64Array:
        """(4, 4), optical frame to base_footprint, sway included."""
        return self.drive.sway(time) @ self.camera_mounting.optical_to_base

    def image(self, time: float) -> UInt8Array:
        """(H, W, 3) uint8 RGB, distorted."""
        self.scene.move(time)
        return self._camera.image(self.camera_pose(time), time, self._rng(_IMAGE, time))

    def true_depth(self, time: float) -> Float32Array:
        """(H, W) float32 Z-depth [m] of the undistorted image; infinite in the sky."""
        self.scene.move(time)
        return self._camera.depth(self.camera_pose(time))

    def true_normals(self, depth: Float32Array) -> Float32Array:
        """(H, W, 3) float32 of that depth; NaN where there is none."""
        return true_normals(depth, self.intrinsics)

    def reference_depth(self, time: float) -> Float32Array:
        """(h, w) float32 [m] of the depth camera, NaN in holes, through the camera's lens."""
        self.scene.move(time)
        settings = self.settings
        return measured_depth(
            self._depth_camera.raw_depth(self.camera_pose(time)),
            self._rng(_DEPTH, time),
            holes=settings.depth_holes,
            noise=settings.depth_noise,
            max_range=settings.depth_max_range,
        )

    def lidar(self, time: float, lines: int) -> LidarScan:
        """The turn of a lidar of 16 or 64 lines that begins at a time [s]; see `sweep`."""
        settings = self.settings
        self.scene.move(time)
        return scan_turn(
            self.scene,
            lambda t: self.drive.body(t) @ self.lidar_mounting,
            time,
            self.sweep,
            self._rng(_LIDAR + 100 * lines, time),
            lines=lines,
            columns=settings.lidar_columns,
            noise=settings.lidar_noise,
            dropout=settings.lidar_dropout,
            max_range=settings.lidar_max_range,
        )

    def imu(self, time: float) -> ImuReading:
        """With noise; the orientation is without."""
        turn, force = felt(self.drive, self.imu_mounting, time)
        rng, noise = self._rng(_IMU, time), self.settings.imu_noise
        return ImuReading(
            (self.drive.body(time) @ self.imu_mounting)[:3, :3],
            turn + noise * rng.standard_normal(3),
            force + FORCE_NOISE * noise * rng.standard_normal(3),
        )

    def twist(self, time: float) -> Twist:
        """True velocity of base_footprint."""
        return self.drive.twist(time)

    def _rng(self, sensor: int, time: float) -> np.random.Generator:
        return np.random.default_rng((self.settings.seed, sensor, round(abs(time) * 1e6)))


def _above(x: float, height: float) -> Float64Array:
    pose = np.eye(4)
    pose[0, 3], pose[2, 3] = x, height
    return pose
