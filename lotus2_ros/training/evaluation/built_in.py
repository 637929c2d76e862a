"""Benchmarks that need no download: our held-out scenes, and a stereo photograph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lotus2_ros.training.evaluation.benchmark import Rules, Sample, Skipped
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.errors import EvaluationError
from lotus2_ros.training.held_out import FARTHEST, HeldOutScene, held_out_scenes
from lotus2_ros.training.held_out_file import kept_scenes

NEAREST = 0.2
"""Smallest depth in metres after alignment: nearer is no robot's camera."""

SCENES = 500
"""Held-out scenes in the full benchmark."""

LEAST_VALID = 0.1
"""Share of pixels a picture needs within range: one of the sky alone has no depth to judge."""

_FOCAL, _BASELINE, _OFFSET = 994.978, 0.193001, 31.086
"""Calibration of the stereo motorcycle (Middlebury 2014): px, m, px."""


@dataclass(frozen=True)
class HeldOut:
    """Our own renderer's scenes: other seeds, photographs and noise than training's.

    Attributes:
        count: number of scenes.
        height: of a picture.
        width: of a picture.
        file: scenes are read from here, or rendered and written where there is none; None renders
            them one by one as they are asked for.
    """

    count: int = SCENES
    height: int = 240
    width: int = 320
    file: Path | None = None
    name: str = 'held-out'
    rules: Rules = field(default=Rules(DepthRange(NEAREST, FARTHEST), normals=True))

    @property
    def title(self) -> str:
        """Heading of its table."""
        title = f"held-out scenes of training's own renderer, {self.width}x{self.height}"
        return title if self.file is None else f'{title}, kept in {self.file}'

    def __len__(self) -> int:
        return self.count

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """The scenes one after the other.

        Raises:
            HeldOutFileError: the file cannot be used.
        """
        count = self.count if limit is None else min(limit, self.count)
        scenes: Iterable[HeldOutScene]
        if self.file is None:
            scenes = held_out_scenes(count, height=self.height, width=self.width)
        else:
            scenes = kept_scenes(self.file, count, height=self.height, width=self.width)
        for index, scene in enumerate(scenes):
            name = f'scene_{index:04d}'
            if np.count_nonzero(scene.valid) < LEAST_VALID * scene.valid.size:
                yield Skipped(
                    name, f'less than {LEAST_VALID:.0%} of it is nearer than {FARTHEST} m'
                )
                continue
            yield Sample(
                name=name,
                image=scene.rgb,
                depth=scene.depth,
                valid=scene.valid,
                known=np.ones_like(scene.valid),
                normals=scene.normals,
                surface=scene.surface,
            )


@dataclass(frozen=True)
class Motorcycle:
    """scikit-image's stereo motorcycle: a photograph with structured-light depth."""

    name: str = 'motorcycle'
    title: str = 'motorcycle (Middlebury 2014), a real photograph with measured depth'
    rules: Rules = field(default=Rules(DepthRange(NEAREST, FARTHEST)))

    def __len__(self) -> int:
        return 1

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """The photograph.

        Raises:
            EvaluationError: scikit-image is not installed.
        """
        if limit == 0:
            return
        try:
            import skimage.data
        except ImportError as error:
            msg = 'the motorcycle is a photograph of scikit-image: pip install "lotus2_ros[train]"'
            raise EvaluationError(msg) from error
        image, _, disparity = skimage.data.stereo_motorcycle()  # type: ignore[no-untyped-call]
        known = np.isfinite(disparity)
        depth = _FOCAL * _BASELINE / (np.where(known, disparity, 0) + _OFFSET)
        yield Sample('motorcycle', image, depth.astype(np.float32), known, known)
