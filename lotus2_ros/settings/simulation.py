"""All settings of `sim_robot`."""

from __future__ import annotations

from dataclasses import dataclass

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings.base import Settings, setting


@dataclass(frozen=True)
class SimulationSettings(Settings):
    """All parameters of `sim_robot`, the robot in a world with ground truth."""

    seed: int = setting(
        0,
        'Decides surfaces, clutter and noise; the same seed and time give the same data',
        minimum=0,
        maximum=1_000_000,
        live=False,
    )
    speed: float = setting(
        0.6, 'Along the path; 0 stands still', unit='m/s', minimum=0.0, maximum=3.0, live=False
    )
    start: float = setting(
        0.0,
        'Where on the closed path the robot starts, as a share of its length',
        minimum=0.0,
        maximum=1.0,
        live=False,
    )
    sway_deg: float = setting(
        0.3, 'Pitch and roll of the robot while it drives', unit='deg', minimum=0.0, maximum=10.0,
        live=False,
    )  # fmt: skip
    walkers: int = setting(
        2, 'People who walk to and fro in the yard and the hall', minimum=0, maximum=2, live=False
    )
    publish_clock: bool = setting(
        False,
        'Publish /clock and stamp with simulated time, which then begins at 1 s',
        live=False,
    )
    publish_tf: bool = setting(
        True, 'Publish /tf and /tf_static, where tf2_msgs is installed', live=False
    )

    frame_id: str = setting('camera_optical_frame', 'Optical frame of the images', live=False)
    lidar_frame: str = setting('lidar', 'Frame of the lidars', live=False)
    imu_frame: str = setting('imu_link', 'Frame of the IMU', live=False)
    base_frame: str = setting(
        'base_footprint', 'Frame of the robot, on the ground (x forward, z up)', live=False
    )
    body_frame: str = setting(
        'base_link', 'Frame of the robot that sways and carries the sensors', live=False
    )
    odom_frame: str = setting('odom', 'Frame that odometry is in', live=False)
    world_frame: str = setting('map', 'Frame of the world and of the true pose', live=False)

    camera_rate_hz: float = setting(
        3.0, 'Images; 0 is none', unit='Hz', minimum=0.0, maximum=100.0, live=False
    )
    width: int = setting(
        320, 'Width of the images', unit='px', minimum=16, maximum=1280, live=False
    )
    height: int = setting(
        240, 'Height of the images', unit='px', minimum=16, maximum=960, live=False
    )
    hfov_deg: float = setting(
        75.0,
        'Horizontal field of view of the undistorted camera',
        unit='deg',
        minimum=20.0,
        maximum=120.0,
        live=False,
    )
    camera_height: float = setting(
        0.6, 'Camera over the ground', unit='m', minimum=0.1, maximum=2.0, live=False
    )
    camera_x: float = setting(
        0.1, 'Camera forward of base_frame', unit='m', minimum=-1.0, maximum=1.0, live=False
    )
    camera_pitch_deg: float = setting(
        5.0, 'Camera looks down by', unit='deg', minimum=-45.0, maximum=60.0, live=False
    )
    distortion: float = setting(
        0.0,
        'k1 of plumb_bob in the images (barrel below 0), with smaller terms to go with it',
        minimum=-0.4,
        maximum=0.3,
        live=False,
    )
    image_noise: float = setting(
        0.01, 'Noise of the images, as a share of white', minimum=0.0, maximum=0.5, live=False
    )
    brightness_wave: float = setting(
        0.0,
        'Bands of brightness that roll through the images, as under mains light with a rolling'
        ' shutter; as a share of the brightness',
        minimum=0.0,
        maximum=0.9,
        live=False,
    )

    shadows: bool = setting(
        True, "Draw the sun's shadows; without them an image takes half the time", live=False
    )

    depth_rate_hz: float = setting(
        3.0,
        'Registered depth images with holes on reference/depth; 0 is none',
        unit='Hz',
        minimum=0.0,
        maximum=100.0,
        live=False,
    )
    depth_scale: float = setting(
        0.5,
        'Size of reference/depth relative to the image',
        minimum=0.1,
        maximum=1.0,
        live=False,
    )
    depth_encoding: str = setting(
        '16UC1',
        'Of reference/depth: millimetres with 0 for holes, or metres with NaN',
        choices=('16UC1', '32FC1'),
        live=False,
    )
    depth_holes: float = setting(
        0.3,
        'Share of reference/depth that patches of holes cover, besides edges',
        minimum=0.0,
        maximum=0.95,
        live=False,
    )
    depth_noise: float = setting(
        0.002,
        'Standard deviation of reference/depth at 1 m; it grows with the square of the depth',
        unit='m',
        minimum=0.0,
        maximum=0.1,
        live=False,
    )
    depth_max_range: float = setting(
        8.0, 'reference/depth has holes beyond', unit='m', minimum=0.5, maximum=100.0, live=False
    )

    lidar: str = setting(
        '16',
        'Lines of the lidar on reference/points; both: 16 there, and 64 on reference_64/points',
        choices=('none', '16', '64', 'both'),
        live=False,
    )
    lidar_height: float = setting(
        0.9, 'Lidars over the ground', unit='m', minimum=0.1, maximum=3.0, live=False
    )
    lidar_x: float = setting(
        0.0, 'Lidars forward of base_frame', unit='m', minimum=-1.0, maximum=1.0, live=False
    )
    lidar_rate_hz: float = setting(
        3.0, 'Turns of the lidars', unit='Hz', minimum=0.5, maximum=50.0, live=False
    )
    lidar_columns: int = setting(
        720, 'Shots of each line in a turn', minimum=36, maximum=4096, live=False
    )
    lidar_noise: float = setting(
        0.015, 'Standard deviation of ranges', unit='m', minimum=0.0, maximum=1.0, live=False
    )
    lidar_dropout: float = setting(
        0.02, 'Share of shots without an answer', minimum=0.0, maximum=0.99, live=False
    )
    lidar_max_range: float = setting(
        50.0, 'Nothing is answered from beyond', unit='m', minimum=1.0, maximum=100.0, live=False
    )

    imu_rate_hz: float = setting(
        50.0, 'IMU; 0 is none', unit='Hz', minimum=0.0, maximum=400.0, live=False
    )
    imu_noise: float = setting(
        0.01,
        'Standard deviation of angular velocity [rad/s], and ten times that of acceleration [m/s2]',
        minimum=0.0,
        maximum=1.0,
        live=False,
    )
    odom_rate_hz: float = setting(
        30.0,
        'Odometry, true pose and transforms; 0 is none',
        unit='Hz',
        minimum=0.0,
        maximum=200.0,
        live=False,
    )
    odom_error: float = setting(
        0.01,
        'Error of odometry: share of the way, and of a radian a metre',
        minimum=0.0,
        maximum=0.5,
        live=False,
    )
    truth: bool = setting(
        True, 'Publish true depth and normals with every image, on truth/...', live=False
    )

    def depth_node_parameters(self) -> dict[str, float | str]:
        """What `depth_node` has to know about the robot, by the names of its parameters."""
        return {
            'camera_height': self.camera_height,
            'camera_x': self.camera_x,
            'camera_pitch_deg': self.camera_pitch_deg,
            'lidar_x': self.lidar_x,
            'lidar_z': self.lidar_height,
            'base_frame': self.base_frame,
            'fixed_frame': self.odom_frame,
        }

    def _validate_together(self) -> None:
        frames = (
            *(self.frame_id, self.lidar_frame, self.imu_frame),
            *(self.base_frame, self.body_frame, self.odom_frame, self.world_frame),
        )
        if not all(frames) or len(set(frames)) != len(frames):
            raise SettingsError(f'the frames {", ".join(map(repr, frames))} must all differ')
