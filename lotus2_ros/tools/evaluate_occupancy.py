"""`lotus2 evaluate --occupancy`: does ~/points/nav hold the obstacles, and leave free space free?

In the simulated world, at many places of the path, with true disparity in the model's place (so
that geometry alone is judged) and with the model's, aligned to the truth image by image.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from tqdm import tqdm

from lotus2_ros.errors import SettingsError
from lotus2_ros.geometry.alignment import align_disparity
from lotus2_ros.geometry.occupancy import OccupancyCheck
from lotus2_ros.settings import NodeSettings, SimulationSettings
from lotus2_ros.simulation.occupancy import compare, published_clouds, true_space
from lotus2_ros.simulation.robot import SimulatedRobot
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.model_arguments import load_judged
from lotus2_ros.tools.sizes import parse_size
from lotus2_ros.types import Float32Array

FOUND, MARKED = 0.95, 0.01
"""What is asked of the geometry: least share found, largest share marked."""

TRUE = 'true disparity'


def add_occupancy_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group('navigation cloud against the simulated world')
    group.add_argument(
        '--occupancy', action='store_true', help='check ~/points/nav at places of the world'
    )
    group.add_argument(
        '--poses', type=int, default=60, metavar='N', help='places along the path (%(default)s)'
    )
    group.add_argument(
        '--world-size', default='640x480', metavar='WxH', help='of the images (%(default)s)'
    )


def run_occupancy(args: argparse.Namespace) -> int:
    """Check, print a table, write occupancy.json into --out.

    Returns:
        0 if the geometry meets `FOUND` and `MARKED` with true disparity, else 1.

    Raises:
        Lotus2Error: MuJoCo is not there, or the model cannot be loaded.
    """
    if args.poses < 1:
        raise SettingsError(f'--poses is {args.poses}; at least 1 is needed')
    height, width = parse_size(args.world_size, '--world-size')
    predictor = load_judged(args, sharpener=False)
    settings = SimulationSettings.from_mapping({'width': width, 'height': height})
    name = f'{args.model}, aligned to the truth'
    results = check_world(settings, args.poses, {name: predictor})
    print(table(results, args.poses, (width, height)))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / 'occupancy.json', {k: plain(v) for k, v in results.items()})
    total = total_of(results[TRUE])
    return 0 if total.found_share >= FOUND and total.marked_share <= MARKED else 1


def check_world(
    settings: SimulationSettings, poses: int, predictors: dict[str, Any]
) -> dict[str, list[OccupancyCheck]]:
    """Judge true disparity, and that of each predictor, at places evenly along the path.

    Args:
        settings: of the robot; its speed is of no account.
        poses: number of places.
        predictors: name to `Lotus2Predictor`.
    """
    node = NodeSettings()
    results: dict[str, list[OccupancyCheck]] = {name: [] for name in (TRUE, *predictors)}
    with SimulatedRobot(settings.replaced(speed=1.0, start=0.0)) as robot:
        lap = robot.drive.path.length
        for pose in tqdm(range(poses), desc='places', unit='place'):
            time = lap * pose / poses
            rng = np.random.default_rng((settings.seed, pose))
            space, on_base = true_space(robot, time, rng), robot.camera_on_base(time)
            depth = robot.true_depth(time)
            disparity, scale = affine_disparity(depth, rng)
            clouds = published_clouds(disparity, None, robot.intrinsics, scale, node)
            results[TRUE].append(compare(clouds, space, on_base))
            for name, predictor in predictors.items():
                seen = predictor.predict(robot.image(time))
                fit = align_disparity(seen.disparity, inverse(depth), np.isfinite(depth))
                clouds = published_clouds(seen.disparity, seen.normals, robot.intrinsics, fit, node)
                results[name].append(compare(clouds, space, on_base))
    return results


def affine_disparity(
    depth: Float32Array, rng: np.random.Generator
) -> tuple[Float32Array, tuple[float, float]]:
    """True disparity in [0, 1] as a perfect model would give it, and what makes metres of it."""
    a, b = float(rng.uniform(0.5, 4.0)), float(rng.uniform(-0.2, 0.0))
    disparity = np.asarray((inverse(depth) - np.float32(b)) / np.float32(a), dtype=np.float32)
    return disparity, (a, b)


def inverse(depth: Float32Array) -> Float32Array:
    """1 / z [1/m], 0 in the sky."""
    return np.asarray(np.reciprocal(depth), dtype=np.float32)


def total_of(checks: list[OccupancyCheck]) -> OccupancyCheck:
    """All places together."""
    return OccupancyCheck(*(sum(column) for column in zip(*checks, strict=True)))


def plain(checks: list[OccupancyCheck]) -> dict[str, Any]:
    """As JSON data."""
    total = total_of(checks)
    return {
        'places': len(checks),
        'obstacles': total.obstacles,
        'found_share': total.found_share,
        'free_cells': total.free_cells,
        'marked_share': total.marked_share,
        'each': [check._asdict() for check in checks],
    }


def table(results: dict[str, list[OccupancyCheck]], poses: int, size: tuple[int, int]) -> str:
    """Markdown."""
    lines = [
        f'### Navigation cloud in the simulated world, {poses} places, {size[0]}x{size[1]}',
        '',
        '| disparity | obstacles found | worst place | free cells marked | worst place |',
        '| --- | --- | --- | --- | --- |',
    ]
    for name, checks in results.items():
        total = total_of(checks)
        found = min((c.found_share for c in checks if c.obstacles), default=float('nan'))
        marked = max((c.marked_share for c in checks if c.free_cells), default=float('nan'))
        lines.append(
            f'| {name} | {total.found_share:.2%} of {total.obstacles} | {found:.2%}'
            f' | {total.marked_share:.2%} of {total.free_cells} | {marked:.2%} |'
        )
    lines += ['', f'Asked of true disparity: {FOUND:.0%} found, {MARKED:.0%} marked at most.']
    return '\n'.join(lines)
