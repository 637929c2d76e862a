"""Depth and normals of photographs, without ROS.

For each photograph NAME the output folder gets
  NAME_depth.png       disparity in colours: near is red, far is blue
  NAME_disparity.png   16 bit: disparity * 65535; larger is nearer
  NAME_disparity.npy   float32, affine-invariant: scale and shift are not known
  NAME_normals.png     normals in the usual colours
  NAME_normals.npy     float32 unit vectors facing the camera (x right, y down, z forward)
  NAME_cloud.ply       coloured points of relative shape: NOT metric
and there is contact_sheet.png: photograph, depth, normals and the cloud from beside the camera.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from lotus2_ros.errors import ImageError, SettingsError, naming_unwritable
from lotus2_ros.geometry.colormap import colorize_disparity, colorize_normals
from lotus2_ros.geometry.depth import disparity_to_depth
from lotus2_ros.geometry.edges import edge_mask
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.geometry.projection import unproject
from lotus2_ros.geometry.render import render_cloud
from lotus2_ros.photographs import expand, read_photograph, write_picture
from lotus2_ros.settings import NodeSettings, PlayerSettings
from lotus2_ros.tools.model_arguments import add_model_arguments, load_predictor, model_settings
from lotus2_ros.tools.ply import write_ply
from lotus2_ros.tools.sheet import contact_sheet, sheet_row
from lotus2_ros.types import Float32Array, Prediction, UInt8Array

if TYPE_CHECKING:
    from lotus2_ros.runtime import Lotus2Predictor

TILE = (320, 240)
TITLES = ('image', 'depth', 'normals', 'cloud (relative shape)')
ROWS_PER_SHEET = 12


@dataclass(frozen=True)
class Shape:
    """How disparity is made into the shape of a cloud; no choice of these makes it metric.

    Attributes:
        fov_deg: horizontal field of view of the photographs [deg].
        scale: a in z = 1 / (a d + b).
        shift: b in z = 1 / (a d + b).
        edge_threshold: relative depth jump above which points are left out.
    """

    fov_deg: float
    scale: float
    shift: float
    edge_threshold: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    node, player = NodeSettings(), PlayerSettings()
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='files, folders or globs')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='output folder')
    parser.add_argument(
        '--steps',
        type=int,
        default=0,
        metavar='N',
        help='steps of the detail sharpener, 1 to 10; 0 is the core predictor alone (default: 0)',
    )
    parser.add_argument(
        '--fov',
        type=float,
        default=player.hfov_deg,
        metavar='DEG',
        help='horizontal field of view of the photographs, for the cloud (default: %(default)s)',
    )
    parser.add_argument(
        '--shift',
        type=float,
        default=node.disparity_shift,
        metavar='B',
        help='b in z = 1 / (a d + b), the shape of the cloud (default: %(default)s)',
    )
    parser.add_argument(
        '--colormap',
        default=node.colormap,
        choices=NodeSettings.parameters()['colormap'].choices,
        help='colours of the depth picture (default: %(default)s)',
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Predict every photograph.

    Returns:
        0, or 1 if a photograph could not be used; the others are done all the same.

    Raises:
        Lotus2Error: the options or the model cannot be used, or no file matches.
    """
    from tqdm import tqdm

    settings = model_settings(args)
    steps = NodeSettings.parameters()['sharpen_steps']
    if not 0 <= args.steps <= int(steps.maximum or 0):
        raise SettingsError(f'--steps is {args.steps}; allowed: 0 to {steps.maximum}')
    if args.shift <= 0:
        raise SettingsError(f'--shift is {args.shift}; above 0, or the far end has no depth')
    node = NodeSettings()
    shape = Shape(args.fov, node.disparity_scale, args.shift, node.cloud_edge_threshold)
    Intrinsics.from_hfov(args.fov, 1, 1)  # refuse a bad angle before anything is loaded
    paths = expand(args.images)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f'{args.out}: cannot be made: {error.strerror or error}') from error

    predictor = load_predictor(settings, sharpener=args.steps > 0, progress=None)
    rows: list[UInt8Array] = []
    names = unique_names(paths)
    failed = 0
    bar = tqdm(list(zip(paths, names, strict=True)), unit='image', file=sys.stderr)
    for path, name in bar:
        bar.set_postfix_str(path.name)
        try:
            row = predict_one(predictor, path, args.out / name, args.steps, shape, args.colormap)
        except ImageError as error:
            failed += 1
            tqdm.write(f'lotus2 predict: {error}', file=sys.stderr)
            continue
        rows.append(row)
    for index in range(0, len(rows), ROWS_PER_SHEET):
        number = '' if index == 0 else f'_{index // ROWS_PER_SHEET + 1}'
        sheet = contact_sheet(rows[index : index + ROWS_PER_SHEET], TITLES, tile_size=TILE)
        write_picture(args.out / f'contact_sheet{number}.png', sheet)
    print(f'{len(rows)} of {len(paths)} photographs done, in {args.out}')
    return 1 if failed else 0


def predict_one(
    predictor: Lotus2Predictor, path: Path, out: Path, steps: int, shape: Shape, colormap: str
) -> UInt8Array:
    """Predict one photograph and write its files.

    Args:
        predictor: the model.
        path: the photograph.
        out: folder and beginning of the names of its files.
        steps: steps of the sharpener.
        shape: how its cloud is made.
        colormap: colours of its depth picture.

    Returns:
        Its row of the contact sheet.

    Raises:
        ImageError: the photograph cannot be read or used, or a file cannot be written.
    """
    rgb = read_photograph(path)
    prediction = predictor.predict(rgb, sharpen_steps=steps)
    depth_color = normals_color = view = None
    if prediction.disparity is not None:
        depth_color = colorize_disparity(prediction.disparity, colormap=colormap)
        write_picture(Path(f'{out}_depth.png'), depth_color)
        write_disparity(Path(f'{out}_disparity.png'), prediction.disparity)
        _save(Path(f'{out}_disparity.npy'), prediction.disparity)
    if prediction.normals is not None:
        normals_color = colorize_normals(prediction.normals)
        write_picture(Path(f'{out}_normals.png'), normals_color)
        _save(Path(f'{out}_normals.npy'), prediction.normals)
    if prediction.disparity is not None:
        points = relative_points(prediction.disparity, shape)
        write_cloud(Path(f'{out}_cloud.ply'), points, rgb, prediction, shape)
        view = render_cloud(points, rgb, width=2 * TILE[0], height=2 * TILE[1], splat=3)
    caption = f'{path.name}  {rgb.shape[1]}x{rgb.shape[0]}'
    return sheet_row((rgb, depth_color, normals_color, view), caption, tile_size=TILE)


def relative_points(disparity: Float32Array, shape: Shape) -> Float32Array:
    """(H, W, 3) points of relative shape, NaN at depth edges."""
    height, width = disparity.shape
    depth = disparity_to_depth(
        disparity, scale=shape.scale, shift=shape.shift, min_range=0.0, max_range=np.inf
    )
    depth[edge_mask(depth, shape.edge_threshold)] = np.nan
    return unproject(depth, Intrinsics.from_hfov(shape.fov_deg, width, height))


def write_cloud(
    path: Path, points: Float32Array, rgb: UInt8Array, prediction: Prediction, shape: Shape
) -> int:
    """Write the cloud with a header that says what it is; the number of its points."""
    comments = (
        'relative shape, NOT metric: no unit, and scale and shift of the disparity are unknown',
        f'z = 1 / ({shape.scale:g} d + {shape.shift:g}) of the affine-invariant disparity d',
        f'horizontal field of view taken as {shape.fov_deg:g} deg',
        'frame: x right, y down, z forward',
    )
    return write_ply(path, points, rgb, prediction.normals, comments=comments)


def write_disparity(path: Path, disparity: Float32Array) -> None:
    """Write disparity in [0, 1] as a 16-bit grey PNG.

    Raises:
        ImageError: the file cannot be written.
    """
    levels = np.rint(np.clip(disparity, 0.0, 1.0) * 65535.0).astype(np.uint16)
    _, data = cv2.imencode('.png', levels)
    with naming_unwritable(path, ImageError):
        data.tofile(path)


def unique_names(paths: list[Path]) -> list[str]:
    """A name for each file: its stem, numbered where several files share it."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f'{path.stem}_{number}'
        taken.add(name)
        names.append(name)
    return names


def _save(path: Path, values: Float32Array) -> None:
    with naming_unwritable(path, ImageError):
        np.save(path, values)
