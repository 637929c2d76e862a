"""The four normal benchmarks in DSINE's evaluation folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lotus2_ros.training.evaluation.benchmark import Rules, Sample, Skipped, read_or_skip
from lotus2_ros.training.evaluation.decoding import decode_image, decode_normals
from lotus2_ros.training.evaluation.errors import SampleError
from lotus2_ros.training.evaluation.split_lists import derive_pairs, find_list, read_list
from lotus2_ros.training.evaluation.storage import Storage, open_storage

PAD = 32
"""DSINE pads pictures to a multiple of this, and cuts the prediction back."""


@dataclass(frozen=True)
class NormalSet:
    """Where a benchmark's files are.

    Attributes:
        title: for tables.
        folder: under DSINE's `dsine_eval`.
        split: glob of the list that says which samples count.
        suffix: of the ground truth.
    """

    title: str
    folder: str
    split: str
    suffix: str


NORMAL_SETS = {
    'nyuv2-normals': NormalSet('NYUv2 normals', 'nyuv2', 'nyuv2/split/test.txt', '.png'),
    'scannet-normals': NormalSet('ScanNet normals', 'scannet', 'scannet/split/test.txt', '.png'),
    'ibims': NormalSet('iBims-1 normals', 'ibims', 'ibims/split/ibims.txt', '.exr'),
    'sintel': NormalSet('Sintel normals', 'sintel', 'sintel/split/sintel.txt', '.exr'),
}


class NormalBenchmark:
    """One of `NORMAL_SETS` on disk."""

    rules = Rules(normals=True, pad_multiple=PAD)

    def __init__(self, name: str, data: Path, lists: Path | None = None) -> None:
        """Open a benchmark.

        Args:
            name: key of `NORMAL_SETS`.
            data: the benchmark's folder (or a tar archive of it), `dsine_eval`, or a folder that
                holds that.
            lists: folder with the protocol's lists of samples; None takes every pair there is.

        Raises:
            EvaluationError: the data, the list or all pairs are missing.
        """
        self.name = name
        self._set = NORMAL_SETS[name]
        folder = self._set.folder
        places = (f'dsine_eval/{folder}', folder, f'normal/dsine_eval/{folder}', '.')
        self._storage: Storage = open_storage(data, places, f'*/*_normal{self._set.suffix}')
        if lists is None:
            partner = '{stem}_normal' + self._set.suffix
            pairs = derive_pairs(self._storage, r'(?P<stem>.+)_img\.(png|jpg)', (partner,))
            self._images = [image for image, _ in pairs]
            chosen = f'all {len(self._images)} pairs found, no split list'
        else:
            path = find_list(lists, self._set.split)
            self._images = [entry[0] for entry in read_list(path, 1)]
            chosen = f'the {len(self._images)} of {path.name}'
        self.title = f'{self._set.title}, {chosen}'

    def __len__(self) -> int:
        return len(self._images)

    def samples(self, limit: int | None = None) -> Iterator[Sample | Skipped]:
        """The first `limit` samples, or all, in the order of the list."""
        for name in self._images[:limit]:
            yield read_or_skip(self._read, name, name)

    def _read(self, name: str) -> Sample:
        image = decode_image(self._storage.read(name), name)
        truth = name.rpartition('_img')[0] + '_normal' + self._set.suffix
        outward, known = decode_normals(self._storage.read(truth), truth)
        if outward.shape != image.shape:
            msg = f'{truth}: normals of {outward.shape[:2]} for a picture of {image.shape[:2]}'
            raise SampleError(msg)
        if not known.any():
            raise SampleError(f'{truth}: no pixel has a normal')
        # DSINE stores outward normals; ours, and a robot's, face the camera.
        return Sample(name, image, normals=-outward, surface=known)
