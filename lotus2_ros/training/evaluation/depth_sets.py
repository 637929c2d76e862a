"""The five depth benchmarks in Marigold's evaluation folders, each with its mask and its crop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lotus2_ros.training.evaluation.benchmark import Rules, Sample, Skipped, read_or_skip
from lotus2_ros.training.evaluation.decoding import (
    decode_array,
    decode_depth_png,
    decode_image,
    decode_raw_depth,
)
from lotus2_ros.training.evaluation.depth_alignment import DepthRange
from lotus2_ros.training.evaluation.errors import SampleError
from lotus2_ros.training.evaluation.split_lists import derive_pairs, find_list, read_list
from lotus2_ros.training.evaluation.storage import Storage, open_storage
from lotus2_ros.types import AnyArray, BoolArray, Float32Array

KITTI_CROP = (352, 1216)
"""Height and width of KITTI's benchmark: the lowest rows, the middle columns."""

ETH3D_SIZE = (4032, 6048)
"""Height and width of ETH3D's depth files, which have no header."""


@dataclass(frozen=True)
class DepthSet:
    """Where a benchmark's files are, and how they are judged.

    Attributes:
        title: for tables.
        archive: Marigold's archive, under its evaluation folder.
        probe: glob of one file in the extracted folder.
        split: glob of the list that says which samples count.
        image: regular expression of a picture's name, see `derive_pairs`.
        partners: names of its ground-truth files.
        rules: how predictions are judged.
        dense: the truth is dense enough to compare edges.
    """

    title: str
    archive: str
    probe: str
    split: str
    image: str
    partners: tuple[str, ...]
    rules: Rules
    dense: bool


DEPTH_SETS = {
    'nyuv2': DepthSet(
        title='NYUv2 depth',
        archive='nyuv2/nyu_labeled_extracted.tar',
        probe='test/*/rgb_*.png',
        split='nyu*/**/filename_list_test.txt',
        image=r'(?P<folder>test/[^/]+)/rgb_(?P<number>\d+)\.png',
        partners=('{folder}/depth_{number}.png',),
        rules=Rules(DepthRange(1e-3, 10.0)),
        dense=True,
    ),
    'kitti': DepthSet(
        title='KITTI depth, Eigen split',
        archive='kitti/kitti_eigen_split_test.tar',
        probe='*/*/image_02/data/*.png',
        split='eigen_test_files_with_gt.txt',
        image=r'[^/]+/(?P<drive>[^/]+)/image_02/data/(?P<number>\d+)\.png',
        partners=('{drive}/proj_depth/groundtruth/image_02/{number}.png',),
        rules=Rules(DepthRange(1e-5, 80.0)),
        dense=False,
    ),
    'eth3d': DepthSet(
        title='ETH3D depth',
        archive='eth3d/eth3d.tar',
        probe='rgb/*/images/dslr_images/*.JPG',
        split='eth3d_filename_list.txt',
        image=r'rgb/(?P<scene>[^/]+)/images/dslr_images/(?P<file>[^/]+\.JPG)',
        partners=('depth/{scene}_dslr_depth/{scene}/ground_truth_depth/dslr_images/{file}',),
        rules=Rules(DepthRange(1e-5, np.inf), fit_resolution=1024, processing_side=768),
        dense=False,
    ),
    'scannet': DepthSet(
        title='ScanNet depth',
        archive='scannet/scannet_val_sampled_800_1.tar',
        probe='*/color/*.jpg',
        split='scannet_val_sampled_list_800_1.txt',
        image=r'(?P<scene>[^/]+)/color/(?P<number>\d+)\.jpg',
        partners=('{scene}/depth/{number}.png',),
        rules=Rules(DepthRange(1e-3, 10.0)),
        dense=True,
    ),
    'diode': DepthSet(
        title='DIODE depth',
        archive='diode/diode_val.tar',
        probe='*/scene_*/scan_*/*_depth.npy',
        split='diode_val_all_filename_list.txt',
        image=r'(?P<stem>.+/scan_[^/]+/[^/]+)\.png',
        partners=('{stem}_depth.npy', '{stem}_depth_mask.npy'),
        rules=Rules(DepthRange(0.6, 350.0), processing_side=640),
        dense=True,
    ),
}
"""Ranges, crops and sizes are those of the configuration that Lotus-2's figures were taken with."""


class DepthBenchmark:
    """One of `DEPTH_SETS` on disk."""

    def __init__(self, name: str, data: Path, lists: Path | None = None) -> None:
        """Open a benchmark.

        Args:
            name: key of `DEPTH_SETS`.
            data: the archive, the extracted folder, or Marigold's evaluation folder with either.
            lists: folder with the protocol's lists of samples; None takes every pair there is.

        Raises:
            EvaluationError: the data, the list or all pairs are missing.
        """
        self.name = name
        self._set = DEPTH_SETS[name]
        self.rules = self._set.rules
        self._storage: Storage = open_storage(data, _places(self._set), self._set.probe)
        if lists is None:
            self._entries = derive_pairs(self._storage, self._set.image, self._set.partners)
            chosen = f'all {len(self._entries)} pairs found, no split list'
        else:
            path = find_list(lists, self._set.split)
            self._entries = read_list(path, 1 + len(self._set.partners))
            chosen = f'the {len(self._entries)} of {path.name}'
        self.title = f'{self._set.title}, {chosen}'

    def __len__(self) -> int:
        return len(self._entries)

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """The first `limit` samples, or all, in the order of the list."""
        for entry in self._entries[:limit]:
            yield read_or_skip(self._read, entry, entry[0])

    def _read(self, entry: Sequence[str]) -> Sample:
        image = decode_image(self._storage.read(entry[0]), entry[0])
        depth, valid = self._truth(entry)
        if self.name == 'kitti':
            image, depth = _kitti_crop(image, entry[0]), _kitti_crop(depth, entry[1])
            valid = self.rules.depth_range.contains(depth) & _eigen_crop(depth)  # type: ignore[union-attr]
        if image.shape[:2] != depth.shape:
            msg = f'{entry[1]}: depth of {depth.shape} for a picture of {image.shape[:2]}'
            raise SampleError(msg)
        if not valid.any():
            raise SampleError(f'{entry[1]}: no pixel has a depth within the range')
        return Sample(entry[0], image, depth, valid, valid if self._set.dense else None)

    def _truth(self, entry: Sequence[str]) -> tuple[Float32Array, BoolArray]:
        depth_name = entry[1]
        data = self._storage.read(depth_name)
        if self.name == 'diode':
            return _diode(data, depth_name, self._storage.read(entry[2]), entry[2])
        if self.name == 'eth3d':
            depth = decode_raw_depth(data, depth_name, *ETH3D_SIZE)
        else:
            units = 256.0 if self.name == 'kitti' else 1000.0
            depth = decode_depth_png(data, depth_name, units)
        assert self.rules.depth_range is not None
        valid = self.rules.depth_range.contains(depth)
        if self.name == 'nyuv2':
            valid &= _nyu_crop(depth)
        return depth, valid


def _places(depth_set: DepthSet) -> list[str]:
    """Where the archive or what was in it may lie under the folder that a user names."""
    folder, file = depth_set.archive.split('/')
    stem = file.removesuffix('.tar')
    return [depth_set.archive, file, f'{folder}/{stem}', stem, folder, '.']


def _diode(
    data: bytes, name: str, mask_data: bytes, mask_name: str
) -> tuple[Float32Array, BoolArray]:
    """Depth and DIODE's own mask, which is all that counts: its range is not applied."""
    depth, mask = decode_array(data, name), decode_array(mask_data, mask_name)
    if depth.ndim != 2 or depth.shape != mask.shape:
        raise SampleError(f'{mask_name}: a mask of {mask.shape} for a depth of {depth.shape}')
    depth, valid = depth.astype(np.float32), mask.astype(np.bool_)
    without = np.count_nonzero(valid & ~((depth > 0) & np.isfinite(depth)))
    if without:
        raise SampleError(f'{mask_name}: {without} pixels of the mask have no depth')
    return depth, valid


def _kitti_crop(pixels: AnyArray, name: str) -> AnyArray:
    height, width = KITTI_CROP
    top, left = pixels.shape[0] - height, (pixels.shape[1] - width) // 2
    if top < 0 or left < 0:
        msg = f"{name}: {pixels.shape[:2]} is smaller than KITTI's crop {KITTI_CROP}"
        raise SampleError(msg)
    return pixels[top : top + height, left : left + width]


def _nyu_crop(depth: Float32Array) -> BoolArray:
    """Eigen's crop of NYUv2 at 640x480."""
    mask = np.zeros(depth.shape, np.bool_)
    mask[45:471, 41:601] = True
    return mask


def _eigen_crop(depth: Float32Array) -> BoolArray:
    """Eigen's crop of KITTI (2014), as fractions of the picture's height and width."""
    height, width = depth.shape
    mask = np.zeros(depth.shape, np.bool_)
    rows = slice(int(0.3324324 * height), int(0.91351351 * height))
    mask[rows, int(0.0359477 * width) : int(0.96405229 * width)] = True
    return mask
