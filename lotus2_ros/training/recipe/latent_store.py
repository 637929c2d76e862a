"""Latents on disk: safetensors shards in one folder, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lotus2_ros.training.recipe.errors import TrainingError

_SHARD = 64
"""Latents a shard."""

_GIB = 1 << 30


class LatentStore:
    """Tensors by key. Several processes may write into one folder, each shards of its own."""

    def __init__(self, folder: Path, limit_gib: float) -> None:
        """Open a store.

        Args:
            folder: made if missing.
            limit_gib: beyond this size nothing is added.

        Raises:
            TrainingError: the folder cannot be used, or a shard in it is damaged.
        """
        self._folder = folder
        self._limit = int(limit_gib * _GIB)
        self._waiting: dict[str, Tensor] = {}
        self._places: dict[str, Path] = {}
        self._read: set[Path] = set()
        self._bytes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise TrainingError(f'{folder} cannot be made: {err.strerror or err}') from err
        self.refresh()

    def __len__(self) -> int:
        return len(self._places) + len(self._waiting)

    def refresh(self) -> None:
        """Learn of shards that other processes have written since.

        Raises:
            TrainingError: a shard is damaged.
        """
        for path in sorted(set(self._folder.glob('*.safetensors')) - self._read):
            try:
                with safe_open(path, framework='pt') as shard:
                    self._places.update(dict.fromkeys(shard.keys(), path))
            except (SafetensorError, OSError) as err:
                raise TrainingError(f'{path} is damaged ({err}); delete it') from err
            self._read.add(path)
            self._bytes += path.stat().st_size

    def get(self, key: str) -> Tensor | None:
        """A latent, or None if it is not there.

        Raises:
            TrainingError: its shard can no longer be read.
        """
        if key in self._waiting:
            return self._waiting[key]
        path = self._places.get(key)
        if path is None:
            return None
        try:
            with safe_open(path, framework='pt') as shard:
                latent: Tensor = shard.get_tensor(key)
        except (SafetensorError, OSError) as err:
            raise TrainingError(f'{path} can no longer be read ({err}); delete it') from err
        return latent

    def put(self, key: str, latent: Tensor) -> None:
        """Add a latent, (16, h, w) on the CPU, unless the store is full."""
        size = latent.numel() * latent.element_size()
        if self._bytes + size > self._limit:
            return
        self._waiting[key] = latent.contiguous()
        self._bytes += size
        if len(self._waiting) >= _SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is still in memory, and learn of what others have written.

        Raises:
            TrainingError: the disk refuses.
        """
        if self._waiting:
            path = self._folder / f'{uuid.uuid4().hex}.safetensors'
            part = path.with_suffix('.partial')
            try:
                save_file(self._waiting, part)
                with part.open('rb') as file:
                    os.fsync(file.fileno())
                part.replace(path)
            except (OSError, SafetensorError) as err:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise TrainingError(f'{path} cannot be written: {err}') from err
            self._places.update(dict.fromkeys(self._waiting, path))
            self._read.add(path)
            self._waiting = {}
        self.refresh()


def store_folder(root: Path, mark: str, dtype: torch.dtype) -> Path:
    """Folder of one core's latents in one precision.

    Args:
        root: of all stores.
        mark: checksum of core and base.
        dtype: of the latents.
    """
    return root / f'{mark[:32]}-{str(dtype).removeprefix("torch.")}'
