"""Image sequences to measure flicker on: a built-in still camera, and any folder of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph
from lotus2_ros.training.evaluation.benchmark import Skipped
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.evaluation.flicker import still_by_depth
from lotus2_ros.training.evaluation.pairs import PairFolder
from lotus2_ros.types import BoolArray, UInt8Array

SEED = 810_001

_WIDTH = 640
_FRAMES = 9
_NOISE = 2.0  # grey levels
_EXPOSURE = 0.015


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        name: unique in its sequence.
        image: (H, W, 3) uint8 RGB.
        still: (H, W) pixels where the scene is as in the frame before; None in a first frame.
    """

    name: str
    image: UInt8Array
    still: BoolArray | None


class Sequence(Protocol):
    """Frames in order."""

    @property
    def name(self) -> str:
        """Short name, fit for a file."""

    @property
    def title(self) -> str:
        """Heading of its table."""

    def __len__(self) -> int:
        """Number of frames."""

    def frames(self, limit: int | None = None) -> Iterator[Frame | Skipped]:
        """The first `limit` frames, or all."""


@dataclass(frozen=True)
class StillCamera:
    """A still camera before the bundled photographs: noise, exposure, and a ball passing by.

    Attributes:
        length: frames of each photograph.
    """

    length: int = _FRAMES
    name: str = 'flicker'
    title: str = 'flicker: a still camera, sensor noise, a ball passing by'

    def __len__(self) -> int:
        return self.length * len(photographs_in(SAMPLES))

    def frames(self, limit: int | None = None) -> Iterator[Frame | Skipped]:
        """The first `limit` frames, or all; the same ones every time."""
        paths = photographs_in(SAMPLES)
        count = len(self) if limit is None else min(limit, len(self))
        previous: BoolArray | None = None
        for index in range(count):
            scene, step = divmod(index, self.length)
            if step == 0:
                background = _scaled(read_photograph(paths[scene]))
                skin = _scaled(read_photograph(paths[(scene + 1) % len(paths)]))
                rng = np.random.default_rng((SEED, scene))
            image, ball = _pass_by(background, skin, step / max(self.length - 1, 1))
            exposure = 1 + rng.uniform(-_EXPOSURE, _EXPOSURE)
            noisy = image * exposure + rng.normal(0, _NOISE, image.shape)
            still = None if step == 0 or previous is None else ~(_near(ball) | _near(previous))
            previous = ball
            name = f'{paths[scene].stem}_{step:02d}'
            yield Frame(name, np.asarray(noisy.round().clip(0, 255), np.uint8), still)


class FrameFolder:
    """Frames of one size in a folder, by name; with `NAME_depth.*` beside each where there is.

    What stands still is read off the true depth where every frame has one, off the pictures
    otherwise.
    """

    name = 'sequence'

    def __init__(self, path: Path) -> None:
        """Look through a folder.

        Raises:
            EvaluationError: fewer than two frames.
            ImageError: there is no such folder, or no picture in it.
        """
        self._paths = [p for p in photographs_in(path) if not p.stem.endswith(('_depth', '_mask'))]
        if len(self._paths) < 2:
            raise EvaluationError(f'{path}: a sequence needs two frames')
        stems = {p.stem for p in path.iterdir()}
        truth = all(f'{frame.stem}_depth' in stems for frame in self._paths)
        self._pairs = PairFolder(path) if truth else None
        self.title = f'flicker: {path.name}, {len(self._paths)} frames'

    def __len__(self) -> int:
        return len(self._paths)

    def frames(self, limit: int | None = None) -> Iterator[Frame | Skipped]:
        """The first `limit` frames, or all.

        Raises:
            ImageError: a frame cannot be read.
        """
        yield from self._by_picture(limit) if self._pairs is None else self._by_depth(limit)

    def _by_picture(self, limit: int | None) -> Iterator[Frame | Skipped]:
        previous: UInt8Array | None = None
        for path in self._paths[:limit]:
            image = read_photograph(path)
            alike = previous is not None and previous.shape == image.shape
            still = _unchanged(previous, image) if alike and previous is not None else None
            yield Frame(path.name, image, still)
            previous = image

    def _by_depth(self, limit: int | None) -> Iterator[Frame | Skipped]:
        assert self._pairs is not None
        previous = None
        for sample in self._pairs.samples(limit):
            if isinstance(sample, Skipped):
                yield sample
                previous = None
                continue
            assert sample.depth is not None
            assert sample.valid is not None
            still = None
            if previous is not None and previous[0].shape == sample.depth.shape:
                both = previous[1] & sample.valid
                still = still_by_depth(previous[0], sample.depth, both)
            yield Frame(sample.name, sample.image, still)
            previous = sample.depth, sample.valid


def _scaled(image: UInt8Array) -> UInt8Array:
    height = round(image.shape[0] * _WIDTH / image.shape[1])
    return np.asarray(cv2.resize(image, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


def _pass_by(
    background: UInt8Array, skin: UInt8Array, progress: float
) -> tuple[UInt8Array, BoolArray]:
    """Put a shaded ball on its way from left to right; the picture, and where the ball is."""
    height, width = background.shape[:2]
    radius = 0.13 * height
    x0 = -radius + progress * (width + 2 * radius)
    y0 = 0.62 * height + 0.1 * height * np.cos(4 * np.pi * progress)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = (x - x0) / radius, (y - y0) / radius
    ball = u**2 + v**2 < 1
    depth = np.sqrt(np.maximum(1 - u**2 - v**2, 0))
    light = (0.35 + 0.65 * np.clip(-0.4 * u - 0.6 * v + 0.7 * depth, 0, 1))[..., None]
    side = min(skin.shape[:2])
    rows = ((v * 0.45 + 0.5) * (side - 1)).clip(0, side - 1).astype(np.int64)
    columns = ((u * 0.45 + 0.5) * (side - 1)).clip(0, side - 1).astype(np.int64)
    picture = np.where(ball[..., None], skin[rows, columns] * light, background)
    return np.asarray(picture.round(), np.uint8), ball


def _near(ball: BoolArray) -> BoolArray:
    """The ball and a margin around it, where a prediction may well change."""
    margin = round(0.06 * ball.shape[0])
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return np.asarray(cv2.dilate(ball.astype(np.uint8), kernel), np.bool_)


def _unchanged(first: UInt8Array, second: UInt8Array) -> BoolArray:
    """Pixels (H, W) that look the same but for noise, with a margin to those that do not."""
    smooth = [cv2.GaussianBlur(p, (0, 0), 2.0).astype(np.float32) for p in (first, second)]
    changed = (np.abs(smooth[0] - smooth[1]).max(-1) > 6).astype(np.uint8)
    return np.asarray(cv2.dilate(changed, np.ones((9, 9), np.uint8)) == 0)
