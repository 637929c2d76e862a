"""What geometry costs on this machine for one frame: alignment to each reference, edge mask.

The node does while the model works what needs no prediction, so each thing is timed twice: all of
it, and as `prepared` what is left once there is a prediction. Rows:

- a reference, such as `lidar, 16 lines`: from its points, pixels or pictures, which have been read
  from their message, to the scale. `moving` has a time for each point, `one scan` no scans on the
  way; odometry's tracking is part of it;
- `frame to frame`: the map between the predictions of two images of a camera that moves;
- `filter`: the scale's course over time;
- `edge mask`: flying pixels, without normals. Prepared, a GPU has looked for them beside the
  prediction, and they are counted;
- `... : whole frame`: the four together, as where nothing could be prepared;
- `... : after the model`: the four together, prepared, which is what they add to the time between
  prediction and metres.

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

from lotus2_ros.errors import SettingsError
from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.geometry.edges import FlyingPixels, flying_pixels
from lotus2_ros.geometry.ground_plane import GroundPlane
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.scale.depth_source import depth_samples, depth_scale
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.frame_alignment import Carried, FrameAligner
from lotus2_ros.geometry.scale.ground_source import ground_samples, ground_scale
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.geometry.scale.lidar_samples import LidarSamples, lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.geometry.scale.odometry_source import odometry_samples, odometry_scale
from lotus2_ros.geometry.scale.scan_memory import Drive
from lotus2_ros.geometry.scale.tracker import ScaleTracker
from lotus2_ros.geometry.tracking import track_features
from lotus2_ros.tools.benchmark_room import (
    HEIGHT_M,
    LIDAR_TO_CAMERA,
    room_depth,
    room_drive,
    room_picture,
    room_scan,
    while_turning,
    with_errors,
    with_holes,
)
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.types import Float32Array, UInt8Array

_A, _B = 2.0, 0.05
_SIDEWAYS = 0.05
"""Way of the camera between two images [m]."""

_PREPARED = ', prepared'
_WHOLE, _AFTER = ': whole frame', ': after the model'
SOURCES = (
    *('depth image', 'lidar, 64 lines', 'lidar, 16 lines', 'lidar, 64 lines, moving'),
    *('lidar, 64 lines, one scan', 'ground', 'odometry'),
)


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


_Halves = tuple[Callable[[], Any], Callable[[Any], ScaleEstimate | NoScale]]
"""What of a source needs no prediction, and what takes it and the prediction to an estimate."""


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
    for source in SOURCES:
        for whole, prepared in ((_WHOLE, ''), (_AFTER, _PREPARED)):
            parts = (f'{source}{prepared}', f'frame to frame{prepared}', f'edge mask{prepared}')
            wall, cpu, tenth = (
                sum(figures[part][i] for part in (*parts, 'filter')) for i in range(3)
            )
            figures[f'{source}{whole}'] = wall, cpu, tenth
    print(f'{args.width}x{args.height}, {args.threads} OpenCV threads, {args.repeats} runs')
    for name, (wall, cpu, tenth) in figures.items():
        print(f'{name:42} {wall:7.2f} ms   processor {cpu:7.2f} ms, at best {tenth:7.2f} ms')
    if args.json is not None:
        write_json(args.json, figures)
    return 0


def cases(args: argparse.Namespace) -> list[Case]:
    """Everything that is timed, on one scene."""
    rng = np.random.default_rng(0)
    camera = Intrinsics.from_hfov(70.0, args.width, args.height)
    depth = room_depth(camera, np.zeros(3))
    disparity = ((1.0 / depth - _B) / _A).astype(np.float32)
    measured = with_holes(with_errors(depth, rng), rng)
    plane = GroundPlane((0.0, -1.0, 0.0), HEIGHT_M)
    picture = room_picture(camera, depth, 0.0)
    other = room_picture(camera, room_depth(camera, np.array([_SIDEWAYS, 0.0, 0.0])), _SIDEWAYS)
    motion = np.eye(4)
    motion[0, 3] = -_SIDEWAYS
    scans = {lines: LidarScan(room_scan(lines, rng), LIDAR_TO_CAMERA) for lines in (64, 16)}
    drives = {lines: room_drive(lines, rng) for lines in (64, 16)}
    turning = while_turning(scans[64])
    size = args.height, args.width

    def lidar(scan: LidarScan, drive: Drive | None) -> _Halves:
        def fitted(samples: LidarSamples | NoScale) -> ScaleEstimate | NoScale:
            if drive is not None and isinstance(samples, LidarSamples):
                drive.keep(samples.scanned)
            return lidar_scale(disparity, samples)

        return lambda: lidar_samples(scan, camera, drive=drive), fitted

    halves: tuple[_Halves, ...] = (
        (lambda: depth_samples(measured, size), lambda found: depth_scale(disparity, found)),
        lidar(scans[64], drives[64]),
        lidar(scans[16], drives[16]),
        lidar(turning, drives[64]),
        lidar(scans[64], None),
        (
            lambda: ground_samples(ray_map(camera), plane),
            lambda found: ground_scale(disparity, found),
        ),
        (
            lambda: odometry_samples(track_features(other, picture), motion, camera),
            lambda found: odometry_scale(disparity, found),
        ),
    )
    estimate = depth_scale(disparity, depth_samples(measured, size))
    if isinstance(estimate, NoScale):
        raise SettingsError(f'{args.width}x{args.height} is too small for it')
    tracker, clock = ScaleTracker(), iter(range(10**9))
    drive_by = _DriveBy(disparity, (picture, other))
    mask = flying_pixels(depth, None, camera).mask
    return [
        *(case for both in zip(SOURCES, halves, strict=True) for case in _cases_of(*both)),
        Case('frame to frame', drive_by.frame),
        Case(f'frame to frame{_PREPARED}', drive_by.frame, drive_by.prepare),
        Case('filter', lambda: tracker.update(0.1 * next(clock), estimate)),
        Case('edge mask', lambda: flying_pixels(depth, None, camera)),
        Case(f'edge mask{_PREPARED}', lambda: FlyingPixels.of(mask.copy(), depth)),
    ]


def _cases_of(source: str, halves: _Halves) -> tuple[Case, Case]:
    """All of a source, and what is left of it once it is prepared."""
    prepare, fit = halves
    samples = prepare()
    return (
        Case(source, lambda: fit(prepare())),
        Case(f'{source}{_PREPARED}', lambda: fit(samples)),
    )


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
