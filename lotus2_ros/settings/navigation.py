"""What becomes of depth: ranges, edges, and what navigation gets."""

from __future__ import annotations

from dataclasses import dataclass

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings.base import Settings, setting


@dataclass(frozen=True)
class NavigationSettings(Settings):
    """Parameters of `depth_node` about ranges, edges, lean clouds, scan and ground."""

    min_range: float = setting(
        0.1, 'Nearer depth is invalid (NaN)', unit='m', minimum=0.0, maximum=1000.0
    )
    max_range: float = setting(
        40.0, 'Farther depth is beyond range (+Inf)', unit='m', minimum=0.01, maximum=10000.0
    )
    sky_disparity: float = setting(
        -1.0,
        'Predicted disparity at or below this is sky (+Inf), whatever the scale; below 0 none is',
        minimum=-1.0,
        maximum=1.0,
    )
    cloud_edge_threshold: float = setting(
        0.1,
        'Flying pixels, on ramps between surfaces whose depths differ by more than this share, are'
        ' left out of clouds, scan and ground; 0 keeps all',
        minimum=0.0,
        maximum=10.0,
    )
    edge_view_angle_deg: float = setting(
        6.0,
        'A ramp counts as a surface, not as flying pixels, from this angle to the line of sight on',
        unit='deg',
        minimum=0.1,
        maximum=45.0,
    )
    edge_search: str = setting(
        'auto',
        "Flying pixels are looked for by the model's process or by the node; auto is the model's"
        ' where it has a GPU',
        choices=('auto', 'model', 'node'),
    )
    nav_max_points: int = setting(
        20000,
        'Most points of ~/points/nav: voxels grow until it is met',
        minimum=1,
        maximum=10_000_000,
    )
    nav_voxel: float = setting(
        0.05,
        '~/points/nav keeps the nearest point of each cube of this side, or of a multiple of it',
        unit='m',
        minimum=0.001,
        maximum=10.0,
    )
    nav_height: bool = setting(
        False, 'Add height (over the ground) to ~/points/nav; needs camera_height'
    )
    clearing_range: float = setting(
        6.0,
        'Distance at which ~/points/clearing puts the rays that met nothing, max_range at most',
        unit='m',
        minimum=0.1,
        maximum=1000.0,
    )
    base_frame: str = setting(
        'base_footprint',
        'Frame on the ground (x forward, z up) that the camera_... pose is in; frame of ~/scan',
    )
    camera_height: float = setting(
        0.0,
        'Height of the camera over the ground in base_frame; 0 is unknown and withholds ~/scan and'
        ' ~/ground',
        unit='m',
        minimum=0.0,
        maximum=1000.0,
    )
    camera_x: float = setting(
        0.0, 'Camera forward of base_frame', unit='m', minimum=-100.0, maximum=100.0
    )
    camera_y: float = setting(
        0.0, 'Camera to the left of base_frame', unit='m', minimum=-100.0, maximum=100.0
    )
    camera_roll_deg: float = setting(
        0.0, 'Roll of the camera in base_frame', unit='deg', minimum=-180.0, maximum=180.0
    )
    camera_pitch_deg: float = setting(
        0.0,
        'Pitch of the camera in base_frame, above 0 looks down',
        unit='deg',
        minimum=-90.0,
        maximum=90.0,
    )
    camera_yaw_deg: float = setting(
        0.0,
        'Yaw of the camera in base_frame, above 0 looks left',
        unit='deg',
        minimum=-180.0,
        maximum=180.0,
    )
    scan_min_height: float = setting(
        0.1, '~/scan sees from this height over the ground', unit='m', minimum=-10.0, maximum=100.0
    )
    scan_max_height: float = setting(
        1.0, '~/scan sees up to this height', unit='m', minimum=-10.0, maximum=100.0
    )
    scan_max_range: float = setting(
        8.0, 'Farthest range of ~/scan, max_range at most', unit='m', minimum=0.1, maximum=1000.0
    )
    scan_increment_deg: float = setting(
        0.5,
        'Between beams of ~/scan, at least a pixel',
        unit='deg',
        minimum=0.05,
        maximum=10.0,
    )
    ground_tolerance: float = setting(
        0.05,
        '~/ground: as far off the ground still is ground, before the errors of depth and pose',
        unit='m',
        minimum=0.001,
        maximum=10.0,
    )

    def _validate_together(self) -> None:
        super()._validate_together()
        if self.min_range >= self.max_range:
            raise SettingsError(
                f'min_range {self.min_range} must be below max_range {self.max_range}'
            )
        if not self.base_frame:
            raise SettingsError('base_frame is empty; name the frame that ~/scan is in')
        if self.scan_min_height >= self.scan_max_height:
            raise SettingsError(
                f'scan_min_height {self.scan_min_height} must be below scan_max_height'
                f' {self.scan_max_height}'
            )
