"""What geometry costs on this machine for one frame: alignment to each reference, edge mask.

Of depth images, also what is left of it once the model has ended: the node reads the reference and
follows the picture while the model works, which then has a GPU look for flying pixels, too.

A room of flat surfaces is seen by a camera, a depth camera with holes and a lidar, with 2% noise
and 20% gross errors; the lidar also remembers the scans of the way there. No model is needed.
Printed are the medians of wall time and of the time that all threads together used a processor, and
that of the fastest tenth of the runs: on a machine that others use too, waiting lengthens the first
and what they do to caches and clocks the second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lotus2_ros.errors import SettingsError
from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.geometry.edges import FlyingPixels, flying_pixels
from lotus2_ros.geometry.ground_plane import GroundPlane
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.rigid import from_rotation_vector, transform_points
from lotus2_ros.geometry.scale.depth_source import depth_samples, depth_scale
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.frame_alignment import Carried, FrameAligner
from lotus2_ros.geometry.scale.ground_source import ground_scale
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.geometry.scale.odometry_source import odometry_scale
from lotus2_ros.geometry.scale.scan_memory import Drive, ScanMemory
from lotus2_ros.geometry.scale.tracker import ScaleTracker
from lotus2_ros.geometry.tracking import track_features
from lotus2_ros.settings import NodeSettings
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]

HEIGHT_M = 0.8
_CORNERS = np.array([[-2.5, -1.8, -4.0], [3.0, HEIGHT_M, 7.0]])
_BOXES = np.array(
    [
        [[-1.2, 0.0, 2.5], [-0.5, HEIGHT_M, 3.1]],
        [[0.6, -0.4, 3.5], [1.4, HEIGHT_M, 4.2]],
        [[-0.3, 0.4, 1.8], [0.2, HEIGHT_M, 2.2]],
    ]
)
"""Of the room and of what stands in it, lower and upper (x, y, z) in the optical frame [m]."""

_LIDAR_TO_CAMERA = np.array(
    [[0.0, -1.0, 0.0, 0.05], [0.0, 0.0, -1.0, -0.1], [1.0, 0.0, 0.0, -0.1], [0.0, 0.0, 0.0, 1.0]]
)
_A, _B = 2.0, 0.05
_SIDEWAYS = 0.05
"""Way of the camera between two images [m]."""


_PREPARED = ', prepared'


class Case(NamedTuple):
    """One thing to be timed.

    Attributes:
        name: of it.
        work: does it once.
        before: is called before each time, and is not timed.
    """

    name: str
    work: Callable[[], Any]
    before: Callable[[], Any] = lambda: None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--width', type=int, default=640, help='default: %(default)s')
    parser.add_argument('--height', type=int, default=480, help='default: %(default)s')
    parser.add_argument('--threads', type=int, default=2, help="OpenCV's (default: %(default)s)")
    parser.add_argument('--repeats', type=int, default=30, help='default: %(default)s')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Returns:
        0.

    Raises:
        Lotus2Error: an option cannot be used, or the file cannot be written.
    """
    if args.width < 64 or args.height < 48 or args.repeats < 1 or args.threads < 1:
        raise SettingsError('--width from 64, --height from 48, --repeats and --threads from 1')
    keep_freed_memory()  # as the node does
    before = cv2.getNumThreads()
    cv2.setNumThreads(args.threads)
    try:
        figures = {case.name: _time(case, args.repeats) for case in cases(args)}
    finally:
        cv2.setNumThreads(before)
    wholes: dict[str, tuple[str, ...]] = {
        f'{source}: whole frame': (source, 'frame to frame', 'filter', 'edge mask')
        for source in ('depth image', 'lidar, 64 lines', 'ground', 'odometry')
    }
    wholes['depth image: after the model'] = (
        *(f'{part}{_PREPARED}' for part in ('depth image', 'frame to frame')),
        *('filter', f'edge mask{_PREPARED}'),
    )
    for whole, parts in wholes.items():
        wall, cpu, tenth = (sum(figures[part][i] for part in parts) for i in range(3))
        figures[whole] = wall, cpu, tenth
    print(f'{args.width}x{args.height}, {args.threads} OpenCV threads, {args.repeats} runs')
    for name, (wall, cpu, tenth) in figures.items():
        print(f'{name:32} {wall:7.2f} ms   processor {cpu:7.2f} ms, at best {tenth:7.2f} ms')
    if args.json is not None:
        write_json(args.json, figures)
    return 0


def cases(args: argparse.Namespace) -> list[Case]:
    """Everything that is timed, on one scene."""
    rng = np.random.default_rng(0)
    camera = Intrinsics.from_hfov(70.0, args.width, args.height)
    depth = room_depth(camera, np.zeros(3))
    disparity = ((1.0 / depth - _B) / _A).astype(np.float32)
    measured = _holes(_spoilt(depth, rng), rng)
    plane = GroundPlane((0.0, -1.0, 0.0), HEIGHT_M)
    picture = _picture(camera, depth, 0.0)
    other = _picture(camera, room_depth(camera, np.array([_SIDEWAYS, 0.0, 0.0])), _SIDEWAYS)
    motion = np.eye(4)
    motion[0, 3] = -_SIDEWAYS
    scans = {lines: LidarScan(_scan(lines, rng), _LIDAR_TO_CAMERA) for lines in (64, 16)}
    drives = {lines: _drive(lines, rng) for lines in (64, 16)}
    turning = _while_turning(scans[64])
    estimate = depth_scale(disparity, measured)
    samples = depth_samples(measured)
    if isinstance(samples, NoScale) or isinstance(estimate, NoScale):
        raise SettingsError(f'{args.width}x{args.height} is too small for it')
    tracker, clock = ScaleTracker(), iter(range(10**9))
    drive_by = _DriveBy(disparity, (picture, other))
    mask = flying_pixels(depth, None, camera).mask

    def fitted(scan: LidarScan, drive: Drive | None) -> ScaleEstimate | NoScale:
        return lidar_scale(disparity, scan, camera, drive=drive)

    return [
        Case('depth image', lambda: depth_scale(disparity, measured)),
        Case('lidar, 64 lines', lambda: fitted(scans[64], drives[64])),
        Case('lidar, 16 lines', lambda: fitted(scans[16], drives[16])),
        Case('lidar, 64 lines, moving', lambda: fitted(turning, drives[64])),
        Case('lidar, 64 lines, one scan', lambda: fitted(scans[64], None)),
        Case('ground', lambda: ground_scale(disparity, ray_map(camera), plane)),
        Case(
            'odometry',
            lambda: odometry_scale(disparity, track_features(other, picture), motion, camera),
        ),
        Case('frame to frame', drive_by.frame),
        Case('filter', lambda: tracker.update(0.1 * next(clock), estimate)),
        Case('edge mask', lambda: flying_pixels(depth, None, camera)),
        Case(f'depth image{_PREPARED}', lambda: depth_scale(disparity, samples)),
        Case(f'frame to frame{_PREPARED}', drive_by.frame, drive_by.prepare),
        Case(f'edge mask{_PREPARED}', lambda: FlyingPixels.of(mask.copy(), depth)),
    ]


class _DriveBy:
    """A camera that sees the same pictures again and again."""

    def __init__(self, disparity: Float32Array, pictures: Sequence[UInt8Array]) -> None:
        self._aligner = FrameAligner()
        self._disparity = disparity
        self._pictures = cycle(pictures)
        self._next = next(self._pictures)
        self._carried: Carried | None = None

    def prepare(self) -> None:
        """What needs no prediction for the next picture."""
        self._carried = self._aligner.carry(self._next, (_A, _B))

    def frame(self) -> Any:
        """The next picture."""
        carried, self._carried = self._carried, None
        related = self._aligner.update(self._disparity, self._next, (_A, _B), carried)
        self._next = next(self._pictures)
        return related


def room_depth(camera: Intrinsics, origin: Float64Array) -> Float32Array:
    """(H, W) Z-depth of the room from a place in it [m]."""
    rays = ray_map(camera).reshape(-1, 2).astype(np.float64)
    directions = np.column_stack([rays, np.ones(len(rays))])
    ends = _cast(origin, directions).astype(np.float32)
    return ends.reshape(camera.height, camera.width)


def _cast(origin: Float64Array, directions: Float64Array) -> Float64Array:
    """Multiples of the (N, 3) directions at which rays end."""
    directions = np.where(directions == 0.0, 1e-12, directions)
    walls = np.where(directions > 0.0, _CORNERS[1] - origin, _CORNERS[0] - origin) / directions
    ends = walls.min(axis=1)
    for low, high in _BOXES:
        one, other = (low - origin) / directions, (high - origin) / directions
        enters, leaves = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
        hit = (enters < leaves) & (enters > 0.0) & (enters < ends)
        ends = np.where(hit, enters, ends)
    return np.asarray(ends, dtype=np.float64)


def _spoilt(values: Float32Array, rng: np.random.Generator) -> Float32Array:
    """2% noise and 20% gross errors."""
    result = values * rng.normal(1.0, 0.02, values.shape).astype(np.float32)
    wrong = rng.random(values.shape) < 0.2
    result[wrong] = rng.uniform(0.3, 15.0, int(wrong.sum()))
    return np.asarray(result, dtype=np.float32)


def _holes(depth: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Half of the image without a value, in patches."""
    patches = cv2.resize(rng.random((12, 16)), depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.where(patches < np.median(patches), 0.0, depth), dtype=np.float32)


def _picture(camera: Intrinsics, depth: Float32Array, x: float) -> UInt8Array:
    """(H, W) grey: a texture that is fixed to the room, seen from x to the right."""
    rng = np.random.default_rng(1)
    rays = ray_map(camera)
    points = np.stack([rays[..., 0] * depth + x, rays[..., 1] * depth, depth], axis=-1)
    light = np.zeros(depth.shape)
    for wave in rng.normal(0.0, 9.0, (12, 3)):
        light += np.cos(points @ wave)
    return np.clip(128.0 + 25.0 * light, 0.0, 255.0).astype(np.uint8)


def _drive(lines: int, rng: np.random.Generator) -> Drive:
    """Straight ahead to where the camera is now, with a scan every 30 cm."""
    way = NodeSettings().lidar_memory
    memory, pose, number = ScanMemory(), np.eye(4), 0
    for number, left in enumerate(np.arange(way, 0.0, -0.3)):
        pose = np.eye(4)
        pose[2, 3] = -left
        scan = _scan(lines, rng, pose[:3, 3]).astype(np.float64)
        points = transform_points(_LIDAR_TO_CAMERA, scan)
        memory.earlier(pose, 0.5 * number, way)
        memory.keep(points, pose, 0.5 * number)
    return Drive(memory, np.eye(4), 0.5 * (number + 1), way)


def _scan(lines: int, rng: np.random.Generator, place: Float64Array | None = None) -> Float32Array:
    """(N, 3) points of a whole turn, in the lidar's frame; from a place of the camera's."""
    elevation = np.radians(np.linspace(-22.5, 22.5, lines))
    azimuth = np.radians(np.arange(-180.0, 180.0, 0.35))
    e, a = (grid.ravel() for grid in np.meshgrid(elevation, azimuth, indexing='ij'))
    rays = np.column_stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    origin = _LIDAR_TO_CAMERA[:3, 3] + (0.0 if place is None else place)
    ends = _cast(origin, rays @ _LIDAR_TO_CAMERA[:3, :3].T)
    return np.asarray(rays * _spoilt(ends.astype(np.float32), rng)[:, None], dtype=np.float32)


def _while_turning(scan: LidarScan) -> LidarScan:
    """The same points as a sensor measures them that turns by 10 degrees and moves by 10 cm."""
    points = np.asarray(scan.points, dtype=np.float64)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    fraction = (azimuth + np.pi) / (2.0 * np.pi)
    turn, way = np.array([0.0, 0.0, np.radians(10.0)]), np.array([0.1, 0.0, 0.0])
    end = scan.to_camera @ from_rotation_vector(turn, way)
    # A point at fraction f is seen from f times the way, turned by f times the angle.
    cosine, sine = np.cos(fraction * turn[2]), np.sin(fraction * turn[2])
    moved = points - fraction[:, None] * way
    points = np.column_stack(
        [
            cosine * moved[:, 0] + sine * moved[:, 1],
            cosine * moved[:, 1] - sine * moved[:, 0],
            moved[:, 2],
        ]
    )
    return LidarScan(points.astype(np.float32), scan.to_camera, end, fraction)


def _time(case: Case, repeats: int) -> tuple[float, float, float]:
    """Medians of wall and processor time, and processor time of the fastest tenth [ms]."""
    for _ in range(3):
        case.before()
        case.work()
    seconds = []
    for _ in range(repeats):
        case.before()
        wall, cpu = time.perf_counter(), time.process_time()
        case.work()
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = np.median(seconds, axis=0) * 1e3
    tenth = float(np.quantile([used for _, used in seconds], 0.1)) * 1e3
    return float(wall), float(cpu), tenth
