"""`lotus2 evaluate --scale`: metres from each reference, along the simulated robot's path.

What depth_node does with a reference, image by image, without ROS and without a clock: the same
places are seen in every mode, however slow the machine is. `--live` judges a running graph.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lotus2_ros.errors import SettingsError
from lotus2_ros.geometry.ground_plane import GroundPlane
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import ray_map
from lotus2_ros.geometry.rectification import Rectifier
from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.geometry.scale.depth_source import depth_samples, depth_scale
from lotus2_ros.geometry.scale.estimate import NoScale, ScaleEstimate
from lotus2_ros.geometry.scale.frame_alignment import FrameAligner
from lotus2_ros.geometry.scale.fusion import fuse
from lotus2_ros.geometry.scale.ground_source import ground_samples, ground_scale
from lotus2_ros.geometry.scale.lidar_points import LidarScan
from lotus2_ros.geometry.scale.lidar_samples import LidarSamples, lidar_samples
from lotus2_ros.geometry.scale.lidar_source import lidar_scale
from lotus2_ros.geometry.scale.odometry_source import odometry_samples, odometry_scale
from lotus2_ros.geometry.scale.scan_memory import Drive, ScanMemory
from lotus2_ros.geometry.scale.tracker import ScaleReport, ScaleState, ScaleTracker
from lotus2_ros.geometry.scale.transition import NoTransition
from lotus2_ros.geometry.tracking import track_features
from lotus2_ros.ros.edge_search import SHIFT_TOLERANCE
from lotus2_ros.ros.pictures import grey_of, picture_size
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.settings import NodeSettings
from lotus2_ros.simulation.robot import SimulatedRobot
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.live_figures import depth_figures, oracle_abs_rel
from lotus2_ros.tools.model_arguments import load_judged
from lotus2_ros.tools.robot_arguments import add_robot_argument, robot_settings
from lotus2_ros.types import Float32Array, UInt8Array

Float64Array = NDArray[np.float64]
Estimate = ScaleEstimate | NoScale

MODES = (
    *('depth', 'points 16', 'points 16 alone', 'points 64', 'ground', 'odometry', 'depth+ground'),
    *('points 16+ground', 'points 16+odometry', 'ground+odometry'),
    'depth+points 16+ground+odometry',
)
_EARLIER = 7
"""Images that odometry looks back on; the node keeps as many."""


def add_scale_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group('metres from references in the simulated world')
    group.add_argument(
        '--scale', action='store_true', help='compare scale modes along the path, without ROS'
    )
    group.add_argument(
        '--images', type=int, default=256, metavar='N', help='along the path (%(default)s)'
    )
    add_robot_argument(group)


def run_scale(args: argparse.Namespace) -> int:
    """Drive, print the table, write scale.json into --out.

    Returns:
        0.

    Raises:
        Lotus2Error: MuJoCo is not there, a setting cannot be used, or the model cannot be loaded.
    """
    if args.images < 2:
        raise SettingsError(f'--images is {args.images}; at least 2 are needed')
    settings = robot_settings(args.robot)
    predictor = load_judged(args, sharpener=False)
    with SimulatedRobot(settings) as robot:
        rectifier = rectifier_of(robot)
        frames = (
            seen(robot, rectifier, predictor, number / settings.camera_rate_hz)
            for number in tqdm(range(args.images), desc='driving', unit='image')
        )
        results = judge(frames, MODES)
    print(table(results))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / 'scale.json', results)
    return 0


class Seen(NamedTuple):
    """One image: what was predicted, what sensors said, and the truth.

    Attributes:
        time: of the image [s].
        disparity: (H, W) predicted.
        normals: (H, W, 3) predicted, or None.
        picture: (H, W) grey, rectified.
        depth: (H, W) truth [m].
        reference: (H, W) depth image, rectified [m].
        scans: lines to the points of a lidar, (N, 3) in its frame [m].
        pose: (4, 4), optical frame in the frame of odometry, as odometry has it.
        camera: of the rectified image.
        optical_to_base: (4, 4) mounting of the camera, as parameters say.
        lidar_to_base: (4, 4) of the lidars.
    """

    time: float
    disparity: Float32Array
    normals: Float32Array | None
    picture: UInt8Array
    depth: Float32Array
    reference: Float32Array
    scans: dict[int, Float32Array]
    pose: Float64Array
    camera: Intrinsics
    optical_to_base: Float64Array
    lidar_to_base: Float64Array


def seen(
    robot: SimulatedRobot, rectifier: Rectifier, predictor: Lotus2Predictor, time: float
) -> Seen:
    """The robot's sensors at a time [s], as depth_node has them; see `rectifier_of`."""
    rgb = rectifier.apply(robot.image(time))
    predicted = predictor.predict(rgb)
    assert predicted.disparity is not None
    mounting = robot.camera_mounting.optical_to_base
    return Seen(
        time,
        predicted.disparity,
        predicted.normals,
        grey_of(rgb, (rgb.shape[1], rgb.shape[0])),
        robot.true_depth(time),
        rectifier.apply_to_depth(robot.reference_depth(time)),
        {lines: robot.lidar(time, lines).points for lines in (16, 64)},
        robot.odometry.pose(time) @ mounting,
        robot.intrinsics,
        mounting,
        robot.lidar_mounting,
    )


def rectifier_of(robot: SimulatedRobot) -> Rectifier:
    """What makes pinhole images of what the robot's camera sees."""
    camera, lens = robot.intrinsics, robot.lens
    matrix = camera.matrix
    return Rectifier(
        matrix.ravel().tolist(),
        list(lens.coefficients),
        lens.model,
        np.eye(3).ravel().tolist(),
        np.column_stack([matrix, np.zeros(3)]).ravel().tolist(),
        (camera.width, camera.height),
    )


@dataclass
class _Mode:
    """A scale mode with its own memory."""

    sources: tuple[str, ...]
    aligner: FrameAligner = field(default_factory=FrameAligner)
    tracker: ScaleTracker = field(default_factory=ScaleTracker)
    scale: tuple[float, float] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def update(self, frame: Seen, said: dict[str, Estimate]) -> ScaleReport:
        size = picture_size(self.sources, frame.picture.shape[1], frame.picture.shape[0])
        picture = grey_of(np.repeat(frame.picture[..., None], 3, axis=2), size)
        change = self.aligner.update(frame.disparity, picture, self.scale)
        first = isinstance(change, NoTransition) and change.reason == 'first frame'
        result = _together([said[source] for source in self.sources])
        report = self.tracker.update(frame.time, result, None if first else change)
        self.scale = (report.a, report.b) if report.is_metric else None
        return report


def judge(frames: Any, modes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Figures of each mode.

    Args:
        frames: `Seen`, one after another.
        modes: sources joined by +: depth, points 16, points 64, ground, odometry; points 16 alone
            is the newest scan without those on the way.
    """
    tracked = {mode: _Mode(tuple(mode.split('+'))) for mode in modes}
    wanted = {source for mode in tracked.values() for source in mode.sources}
    memories = {source: ScanMemory() for source in wanted if source.startswith('points')}
    earlier: list[Seen] = []
    for frame in frames:
        said = {
            source: _estimate(source, frame, earlier, memories.get(source)) for source in wanted
        }
        oracle = oracle_abs_rel(frame.disparity, frame.depth)
        for mode in tracked.values():
            report = mode.update(frame, said)
            row = {'time': frame.time, 'state': report.state.value, 'reason': report.reason}
            if report.is_metric:
                metric = _metric(frame.disparity, report.a, report.b)
                row |= depth_figures(metric, frame.depth)
                row['oracle_abs_rel'] = oracle
                row['shift'] = report.b / report.a
            mode.rows.append(row)
        earlier = [frame, *earlier][:_EARLIER]
    return {name: _summary(mode.rows) for name, mode in tracked.items()}


def _metric(disparity: Float32Array, a: float, b: float) -> Float32Array:
    """Depth as the node publishes it: NaN where there is none within its range."""
    inverse_depth = a * disparity + b
    within = inverse_depth > 1.0 / NodeSettings().max_range
    return np.where(within, 1.0 / np.where(within, inverse_depth, 1.0), np.nan).astype(np.float32)


def _estimate(
    source: str, frame: Seen, earlier: Sequence[Seen], memory: ScanMemory | None
) -> Estimate:
    if source == 'depth':
        size = frame.camera.height, frame.camera.width
        return depth_scale(frame.disparity, depth_samples(frame.reference, size))
    if memory is not None:
        _, lines, *alone = source.split()
        to_camera = inverse(frame.optical_to_base) @ frame.lidar_to_base
        scan = LidarScan(frame.scans[int(lines)], to_camera)
        drive = Drive(memory, frame.pose, frame.time, NodeSettings().lidar_memory)
        samples = lidar_samples(scan, frame.camera, drive=None if alone else drive)
        if isinstance(samples, LidarSamples):
            drive.keep(samples.scanned)
        return lidar_scale(frame.disparity, samples)
    if source == 'ground':
        x, y, z = (float(value) for value in frame.optical_to_base[2, :3])
        plane = GroundPlane((x, y, z), float(frame.optical_to_base[2, 3]))
        ground = ground_samples(ray_map(frame.camera), plane)
        return ground_scale(frame.disparity, ground, normals=frame.normals)
    for before in earlier:
        motion = inverse(before.pose) @ frame.pose
        if np.linalg.norm(motion[:3, 3]) >= NodeSettings().odometry_baseline:
            tracks = track_features(before.picture, frame.picture)
            followed = odometry_samples(tracks, motion, frame.camera)
            return odometry_scale(frame.disparity, followed)
    return NoScale('motion too small' if earlier else 'no earlier picture')


def _together(said: Sequence[Estimate]) -> Estimate:
    estimates = [one for one in said if isinstance(one, ScaleEstimate)]
    return fuse(estimates).result if estimates else said[0]


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [row for row in rows if 'abs_rel' in row and math.isfinite(row['oracle_abs_rel'])]
    figures = {}
    if judged:
        means = [float(np.mean([row[k] for row in judged])) for k in ('abs_rel', 'oracle_abs_rel')]
        figures = {'abs_rel': means[0], 'oracle_abs_rel': means[1], 'ratio': means[0] / means[1]}
    return {
        'images': len(rows),
        'locked': sum(row['state'] == ScaleState.LOCKED.value for row in rows) / len(rows),
        'figures': figures,
        'shift_kept': _shift_kept(rows),
        'reasons': dict(Counter(row['reason'] for row in rows if row['reason'])),
        'rows': rows,
    }


def _shift_kept(rows: list[dict[str, Any]]) -> float:
    """Share of images whose b / a the edge search could have taken from the image before."""
    shifts = [row.get('shift', math.nan) for row in rows]
    # NaN compares false.
    kept = [abs(one - other) <= SHIFT_TOLERANCE for one, other in pairwise(shifts)]
    return float(np.mean(kept))


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown, a mode in each row."""
    lines = [
        '| scale mode | locked | metric AbsRel | oracle AbsRel | metric / oracle | b / a kept |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for mode, result in results.items():
        figures = result['figures']
        cells = [mode, f'{result["locked"]:.0%}']
        for name, form in (('abs_rel', '.3f'), ('oracle_abs_rel', '.3f'), ('ratio', '.2f')):
            cells.append(format(figures[name], form) if figures else '')
        cells.append(f'{result["shift_kept"]:.0%}')
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)
