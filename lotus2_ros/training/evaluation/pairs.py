"""Any folder of pictures with ground truth, see `LAYOUT`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lotus2_ros.training.evaluation.benchmark import Rules, Sample, Skipped, read_or_skip
from lotus2_ros.training.evaluation.decoding import (
    decode_array,
    decode_depth_png,
    decode_image,
    decode_normals,
)
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.errors import EvaluationError, SampleError
from lotus2_ros.training.evaluation.storage import Folder
from lotus2_ros.types import AnyArray, BoolArray, Float32Array

LAYOUT = (
    'NAME.png or .jpg with NAME_depth.png or .npy, NAME_normal.png, .npy or .exr and'
    ' NAME_mask.png or .npy beside it, or image/NAME.png with depth/NAME.png and so on'
)
"""Where pictures and ground truth are looked for."""

_PICTURES = ('.png', '.jpg', '.jpeg', '.JPG')
_ROLES = {'depth': ('.npy', '.png'), 'normal': ('.npy', '.png', '.exr'), 'mask': ('.npy', '.png')}
_FOLDERS = ('image', 'images', 'rgb')


@dataclass(frozen=True)
class PairRules:
    """What cannot be seen from the files.

    Attributes:
        units_per_metre: of depth in PNG; 1000 is millimetres. NumPy depth is in metres.
        depth_range: depths that are judged.
        outward: stored normals point away from the camera, (0, 0, 1) for a wall ahead.
    """

    units_per_metre: float = 1000.0
    depth_range: DepthRange = field(default=DepthRange(1e-3, 1000.0))
    outward: bool = True


class PairFolder:
    """Pictures with ground truth in a folder."""

    name = 'pairs'

    def __init__(self, path: Path, pair_rules: PairRules | None = None) -> None:
        """Look through a folder.

        Raises:
            EvaluationError: there is no such folder, or no picture with ground truth in it.
        """
        if not path.is_dir():
            raise EvaluationError(f'{path}: no such folder')
        self._pair_rules = pair_rules or PairRules()
        self._folder = Folder(path)
        names = self._folder.names()
        self._there = set(names)
        truths = {name for image in names for name in self._partners(image).values()}
        self._images = [n for n in names if n.endswith(_PICTURES) and n not in truths]
        roles = {role for image in self._images for role in self._partners(image)}
        if not roles & {'depth', 'normal'}:
            msg = (
                f'{path}: no picture with NAME_depth.*, NAME_normal.*, depth/ or normal/ beside it'
            )
            raise EvaluationError(msg)
        self.rules = Rules(
            depth_range=self._pair_rules.depth_range if 'depth' in roles else None,
            normals='normal' in roles,
        )
        self.title = f'{path.name}, {len(self._images)} pictures with ground truth'

    def __len__(self) -> int:
        return len(self._images)

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """The first `limit` samples, or all, by name."""
        for name in self._images[:limit]:
            yield read_or_skip(self._read, name, name)

    def _partners(self, image: str) -> dict[str, str]:
        """Role to file, of the ground truth of a picture."""
        if not image.endswith(_PICTURES):
            return {}
        stem = image.rpartition('.')[0]
        parts = stem.split('/')
        found = {}
        for role, suffixes in _ROLES.items():
            stems = [f'{stem}_{role}']
            if len(parts) > 1 and parts[-2] in _FOLDERS:
                stems.append('/'.join([*parts[:-2], role, parts[-1]]))
            for candidate in (s + suffix for s in stems for suffix in suffixes):
                if candidate in self._there:
                    found[role] = candidate
                    break
        return found

    def _read(self, name: str) -> Sample:
        partners = self._partners(name)
        if not partners.keys() & {'depth', 'normal'}:
            raise SampleError(f'{name}: no depth and no normals belong to it')
        image = decode_image(self._folder.read(name), name)
        depth = valid = normals = surface = None
        mask = self._mask(partners['mask']) if 'mask' in partners else None
        if 'depth' in partners:
            depth = self._depth(partners['depth'])
            valid = _masked(self._pair_rules.depth_range.contains(depth), mask, name)
        if 'normal' in partners:
            file = partners['normal']
            stored, known = decode_normals(self._folder.read(file), file)
            normals = -stored if self._pair_rules.outward else stored
            surface = _masked(known, mask, name)
        if valid is not None and surface is not None and valid.shape != surface.shape:
            raise SampleError(f'{name}: depth of {valid.shape}, normals of {surface.shape}')
        return Sample(name, image, depth, valid, valid, normals, surface)

    def _depth(self, name: str) -> Float32Array:
        data = self._folder.read(name)
        if name.endswith('.png'):
            return decode_depth_png(data, name, self._pair_rules.units_per_metre)
        depth = decode_array(data, name)
        if depth.ndim != 2 or depth.dtype.kind not in 'fiu':
            raise SampleError(f'{name}: depth must be (H, W) numbers, not {depth.shape}')
        return depth.astype(np.float32)

    def _mask(self, name: str) -> BoolArray:
        data = self._folder.read(name)
        mask: AnyArray = (
            decode_depth_png(data, name, 1.0) if name.endswith('.png') else decode_array(data, name)
        )
        return mask.astype(np.bool_)


def _masked(known: BoolArray, mask: BoolArray | None, name: str) -> BoolArray:
    if mask is not None:
        if mask.shape != known.shape:
            raise SampleError(f'{name}: a mask of {mask.shape} for ground truth of {known.shape}')
        known = known & mask
    if not known.any():
        raise SampleError(f'{name}: no pixel of its ground truth counts')
    return known
