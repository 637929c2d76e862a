"""`lotus2 evaluate`: how accurate a model is on held-out scenes and on a real photograph."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.training.held_out import FARTHEST, HeldOutScene, held_out_scenes
from lotus2_ros.training.metrics import (
    DepthError,
    aligned_depth_error,
    constant_depth_error,
    normal_angles,
    plane_depth_error,
)
from lotus2_ros.types import AnyArray, Float32Array, UInt8Array

NEAREST = 0.2
"""Smallest depth in metres after alignment."""

_FOCAL, _BASELINE, _OFFSET = 994.978, 0.193001, 31.086
"""Calibration of the stereo motorcycle (Middlebury 2014): px, m, px."""

_PICTURES = 8


@dataclass
class Row:
    """Errors of one predictor, one entry a picture."""

    depth: list[DepthError] = field(default_factory=list)
    angles: list[float] = field(default_factory=list)
    under_11: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Means over the pictures."""
        result = {
            'abs_rel': float(np.mean([error.abs_rel for error in self.depth])),
            'delta1': float(np.mean([error.delta1 for error in self.depth])),
        }
        if self.angles:
            result['mean_angle_deg'] = float(np.mean(self.angles))
            result['under_11.25_deg'] = float(np.mean(self.under_11))
        return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommand's arguments."""
    parser.add_argument('model', nargs='?', default='nano', help='nano, a folder or a hub id')
    parser.add_argument('--base', default=None, help='FLUX base, if the model folder has none')
    parser.add_argument('--device', default=None, help='cuda, cuda:N, cpu or auto')
    parser.add_argument('--scenes', type=int, default=200, help='number of held-out scenes')
    parser.add_argument('--size', default='320x240', help='width x height of the scenes')
    parser.add_argument('--sharpen-steps', type=int, default=10, help='0 skips the sharpener')
    parser.add_argument('--out', type=Path, default=None, help='folder for table and pictures')


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the tables, write pictures; 0 when done."""
    width, height = (int(side) for side in args.size.split('x'))
    predictor = Lotus2Predictor.from_pretrained(
        args.model, base=args.base, device=args.device, sharpener=args.sharpen_steps > 0
    )
    settings = [0] + ([args.sharpen_steps] if args.sharpen_steps > 0 else [])
    results = {}
    scenes = held_out_scenes(args.scenes, height=height, width=width)
    rows = evaluate_scenes(predictor, scenes, settings, args.out)
    results[f'{args.scenes} held-out scenes, {args.size}'] = rows
    results['motorcycle photograph'] = evaluate_motorcycle(predictor, settings)
    summaries = {
        title: {name: row.summary() for name, row in table.items()}
        for title, table in results.items()
    }
    for title, table in summaries.items():
        print(f'\n### {title}\n')
        print(markdown(table))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'evaluation.json').write_text(json.dumps(summaries, indent=2) + '\n')
    return 0


def _name(steps: int) -> str:
    return 'core' if steps == 0 else f'core + sharpener, {steps} steps'


def evaluate_scenes(
    predictor: Lotus2Predictor,
    scenes: Iterable[HeldOutScene],
    settings: list[int],
    out: Path | None = None,
) -> dict[str, Row]:
    """Errors of the model, and of predictors that never saw the image, on rendered scenes.

    Args:
        predictor: the model.
        scenes: what it is tried on.
        settings: numbers of sharpener steps to try.
        out: where to write `scenes.png`, the first few scenes.
    """
    rows = {_name(steps): Row() for steps in settings}
    plane, constant = Row(), Row()
    pictures: list[UInt8Array] = []
    for scene in scenes:
        if np.count_nonzero(scene.valid) < 0.1 * scene.valid.size:
            continue  # a picture of the sky has no depth to judge
        columns = [scene.rgb, gray(1 / scene.depth), colour(scene.normals)]
        for steps in settings:
            prediction = predictor.predict(scene.rgb, sharpen_steps=steps)
            assert prediction.disparity is not None
            assert prediction.normals is not None
            row = rows[_name(steps)]
            row.depth.append(
                aligned_depth_error(
                    prediction.disparity,
                    scene.depth,
                    scene.valid,
                    nearest=NEAREST,
                    farthest=FARTHEST,
                )
            )
            angles = normal_angles(prediction.normals, scene.normals, scene.surface)
            row.angles.append(float(angles.mean()))
            row.under_11.append(float((angles < 11.25).mean()))
            columns += [gray(prediction.disparity), colour(prediction.normals)]
        limits = {'nearest': NEAREST, 'farthest': FARTHEST}
        plane.depth.append(plane_depth_error(scene.depth, scene.valid, **limits))
        constant.depth.append(constant_depth_error(scene.depth, scene.valid, **limits))
        if len(pictures) < _PICTURES:
            pictures.append(np.concatenate(columns, axis=1))
    if out is not None:
        write_picture(out / 'scenes.png', np.concatenate(pictures, axis=0))
    return {**rows, 'row and column, fitted': plane, 'constant, fitted': constant}


def evaluate_motorcycle(predictor: Lotus2Predictor, settings: list[int]) -> dict[str, Row]:
    """Depth errors on scikit-image's stereo motorcycle, a photograph with measured depth."""
    import skimage.data

    rgb, _, disparity = skimage.data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    valid = np.isfinite(disparity)
    depth = _FOCAL * _BASELINE / (np.where(valid, disparity, 0) + _OFFSET)
    limits = {'nearest': NEAREST, 'farthest': FARTHEST}
    rows = {}
    for steps in settings:
        prediction = predictor.predict(rgb, sharpen_steps=steps)
        assert prediction.disparity is not None
        error = aligned_depth_error(prediction.disparity, depth, valid, **limits)
        rows[_name(steps)] = Row([error])
    rows['row and column, fitted'] = Row([plane_depth_error(depth, valid, **limits)])
    rows['constant, fitted'] = Row([constant_depth_error(depth, valid, **limits)])
    return rows


def markdown(table: dict[str, dict[str, float]]) -> str:
    """A Markdown table of the summaries."""
    lines = [
        '| predictor | AbsRel | delta1 | mean normal error | under 11.25 deg |',
        '|---|---|---|---|---|',
    ]
    for name, row in table.items():
        angle = f'{row["mean_angle_deg"]:.1f} deg' if 'mean_angle_deg' in row else ''
        under = f'{row["under_11.25_deg"]:.1%}' if 'under_11.25_deg' in row else ''
        figures = f'{row["abs_rel"]:.3f} | {row["delta1"]:.3f}'
        lines.append(f'| {name} | {figures} | {angle} | {under} |')
    return '\n'.join(lines)


def gray(disparity: AnyArray) -> UInt8Array:
    """Disparity (H, W) between its quantiles (2 %, 98 %) as a gray picture (H, W, 3)."""
    low, high = np.quantile(disparity, [0.02, 0.98])
    scaled = ((disparity - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.repeat((scaled * 255).astype(np.uint8)[..., None], 3, axis=2)


def colour(normals: Float32Array) -> UInt8Array:
    """Camera-facing normals (H, W, 3) in the usual colours: a wall ahead is blue."""
    return ((1 - normals) * 127.5).astype(np.uint8)


def write_picture(path: Path, rgb: UInt8Array) -> None:
    """Write an RGB picture.

    Raises:
        OSError: the file cannot be written.
    """
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)):
        raise OSError(f'cannot write {path}')
