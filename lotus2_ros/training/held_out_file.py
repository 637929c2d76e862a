"""Held-out scenes in a file: rendering each takes seconds."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.training.held_out import FARTHEST, SEED, HeldOutScene, held_out_scenes
from lotus2_ros.types import AnyArray

_NORMAL_UNIT = 32767
_SAME = 1.0
"""Grey levels, a mean, by which a stored picture may differ from one rendered anew elsewhere."""


class HeldOutFileError(Lotus2Error):
    """A file of held-out scenes cannot be used."""


def write_held_out(path: Path, scenes: list[HeldOutScene]) -> None:
    """Write scenes of one size, compressed.

    Disparity is kept as float16 and normals as 16 bit integers: figures of accuracy stay the same
    to 1e-4. An interrupted write leaves no file.

    Raises:
        OSError: the file cannot be written.
    """
    with np.errstate(divide='ignore'):
        disparity = np.stack([1 / scene.depth for scene in scenes]).astype(np.float16)
    normals = np.stack([scene.normals for scene in scenes])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    with partial.open('wb') as file:
        np.savez_compressed(
            file,
            seed=SEED,
            rgb=np.stack([scene.rgb for scene in scenes]),
            disparity=disparity,
            normals=(normals * _NORMAL_UNIT).round().astype(np.int16),
            valid=np.stack([scene.valid for scene in scenes]),
            surface=np.stack([scene.surface for scene in scenes]),
        )
    partial.replace(path)


def read_held_out(
    path: Path, count: int, *, height: int, width: int, photographs: Path | None = None
) -> list[HeldOutScene]:
    """Read the first scenes of a file, after rendering its first anew for comparison.

    Raises:
        HeldOutFileError: the file cannot be read, has too few scenes or others of another size, or
            the renderer has changed since it was written.
    """
    try:
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
        scenes = _scenes(stored, count)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise HeldOutFileError(f'{path}: no file of held-out scenes: {error}') from error
    size = stored['rgb'].shape[1:3]
    if size != (height, width) or len(scenes) < count:
        msg = (
            f'{path} has {len(scenes)} scenes of {size[1]}x{size[0]} (width x height), and {count} '
            f'of {width}x{height} are asked for: ask for those, or name a new file'
        )
        raise HeldOutFileError(msg)
    _check_first(
        path, scenes, held_out_scenes(1, height=height, width=width, photographs=photographs)
    )
    return scenes


def _scenes(stored: dict[str, AnyArray], count: int) -> list[HeldOutScene]:
    if int(stored['seed']) != SEED:
        raise ValueError(f'seed {int(stored["seed"])} is not {SEED}')
    with np.errstate(divide='ignore'):
        depth = 1 / stored['disparity'][:count].astype(np.float32)
    normals = stored['normals'][:count].astype(np.float32) / _NORMAL_UNIT
    rows = zip(
        stored['rgb'][:count], depth, normals, stored['valid'][:count], stored['surface'][:count],
        strict=True,
    )  # fmt: skip
    return [
        # Rounding must not carry a pixel over the limit.
        HeldOutScene(rgb, np.where(valid, z.clip(max=FARTHEST), z), normal, valid, surface)
        for rgb, z, normal, valid, surface in rows
    ]


def _check_first(path: Path, scenes: list[HeldOutScene], rendered: Iterable[HeldOutScene]) -> None:
    for anew, kept in zip(rendered, scenes, strict=False):
        if np.abs(anew.rgb.astype(np.int16) - kept.rgb).mean() > _SAME:
            msg = (
                f'{path}: the first scene is rendered otherwise today: the renderer or the '
                'photographs have changed; remove the file to have it written anew'
            )
            raise HeldOutFileError(msg)


def kept_scenes(
    path: Path | None, count: int, *, height: int, width: int, photographs: Path | None = None
) -> list[HeldOutScene]:
    """Scenes from a file, or rendered by all processor cores and written there if it is missing.

    Args:
        path: of the file; None renders and keeps nothing.
        count: number of scenes.
        height: H.
        width: W.
        photographs: folder with the photographs, if not where the packages keep them.

    Raises:
        HeldOutFileError: the file is there, and cannot be used.
    """
    if path is not None and path.exists():
        return read_held_out(path, count, height=height, width=width, photographs=photographs)
    from lotus2_ros.training.held_out_rendering import rendered_together

    scenes = rendered_together(count, height=height, width=width, photographs=photographs)
    if path is not None:
        write_held_out(path, scenes)
    return scenes
