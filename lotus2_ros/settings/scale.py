"""Where metres come from."""

from __future__ import annotations

from dataclasses import dataclass

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings.base import Settings, setting

SCALE_SOURCES = ('depth', 'points', 'ground', 'odometry')
"""What scale and shift can be estimated from, as users write them."""


@dataclass(frozen=True)
class ScaleSettings(Settings):
    """Parameters of `depth_node` about the scale of the disparity."""

    scale_mode: str = setting(
        'relative',
        'relative: disparity only; fixed: metres by z = 1 / (disparity_scale d + disparity_shift);'
        ' depth, points, ground, odometry: metres from that reference; fused: from scale_sources',
        choices=('relative', 'fixed', *SCALE_SOURCES, 'fused'),
    )
    scale_sources: tuple[str, ...] = setting(
        ('depth', 'points'),
        'References of scale_mode fused; the one that contradicts the others is left out',
        choices=SCALE_SOURCES,
    )
    scale_hold_s: float = setting(
        2.0,
        'Without a fresh reference metres go on for this long, then metric topics stop',
        unit='s',
        minimum=0.0,
        maximum=60.0,
    )
    scale_process_noise: float = setting(
        0.02,
        'Drift of the scale in a second, as a share of it; more follows changes and noise sooner',
        unit='1/sqrt(s)',
        minimum=0.0001,
        maximum=1.0,
    )
    scale_sync_s: float = setting(
        0.05,
        'Largest difference between the stamps of a reference and of the image it belongs to',
        unit='s',
        minimum=0.0,
        maximum=1.0,
    )
    scale_extrinsics: str = setting(
        'parameters',
        'Where sensors are: parameters (camera_..., lidar_...) or tf, which needs tf2_ros',
        choices=('parameters', 'tf'),
    )
    fixed_frame: str = setting(
        'odom', 'Frame that odometry is in, which does not move with the robot'
    )
    lidar_frame: str = setting(
        '', 'Frame of reference/points; clouds in another one are refused; empty takes any'
    )
    lidar_x: float = setting(
        0.0, 'Lidar forward of base_frame', unit='m', minimum=-100.0, maximum=100.0
    )
    lidar_y: float = setting(
        0.0, 'Lidar to the left of base_frame', unit='m', minimum=-100.0, maximum=100.0
    )
    lidar_z: float = setting(0.0, 'Lidar over base_frame', unit='m', minimum=-100.0, maximum=100.0)
    lidar_roll_deg: float = setting(
        0.0, 'Roll of the lidar in base_frame', unit='deg', minimum=-180.0, maximum=180.0
    )
    lidar_pitch_deg: float = setting(
        0.0,
        'Pitch of the lidar in base_frame, above 0 looks down',
        unit='deg',
        minimum=-90.0,
        maximum=90.0,
    )
    lidar_yaw_deg: float = setting(
        0.0,
        'Yaw of the lidar in base_frame, above 0 looks left',
        unit='deg',
        minimum=-180.0,
        maximum=180.0,
    )
    lidar_memory: float = setting(
        3.0,
        'Way over which earlier scans count too, where odometry or TF tell the motion; 0 is the'
        ' newest scan alone',
        unit='m',
        minimum=0.0,
        maximum=20.0,
    )
    gravity_source: str = setting(
        'parameters',
        'Tilt of the camera over the ground: camera_roll_deg and camera_pitch_deg alone, or with'
        ' the tilt of the robot that imu shows',
        choices=('parameters', 'imu'),
    )
    odometry_baseline: float = setting(
        0.05,
        'Way between the two images that odometry triangulates with',
        unit='m',
        minimum=0.005,
        maximum=10.0,
    )
    steady: bool = setting(
        False, 'Take back how the network changes scale and shift of disparity between images'
    )

    def _validate_together(self) -> None:
        super()._validate_together()
        if not self.scale_sources or len(set(self.scale_sources)) != len(self.scale_sources):
            raise SettingsError(
                f'scale_sources is {list(self.scale_sources)}; name each wanted source once'
            )
        if not self.fixed_frame:
            raise SettingsError('fixed_frame is empty; name the frame that odometry is in')

    def references(self) -> tuple[str, ...]:
        """What the scale is estimated from; empty for relative and fixed."""
        if self.scale_mode == 'fused':
            return self.scale_sources
        return (self.scale_mode,) if self.scale_mode in SCALE_SOURCES else ()
