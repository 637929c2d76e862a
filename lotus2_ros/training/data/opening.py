"""The `data` list of a training configuration: checked key by key, and opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lotus2_ros.training.data.errors import DataError
from lotus2_ros.training.data.hypersim import Hypersim
from lotus2_ros.training.data.recording import Recording
from lotus2_ros.training.data.sample import Dataset
from lotus2_ros.training.data.synthetic import Synthetic
from lotus2_ros.training.data.vkitti2 import FAR, SCENES, VARIATIONS, VirtualKitti2
from lotus2_ros.types import NORMALS, TASKS

Size = tuple[int, int]


@dataclass(frozen=True)
class OpenedData:
    """What `TrainingStream` takes, entry by entry.

    Attributes:
        datasets: opened.
        weights: how often a step draws from each.
        sizes: (height, width) of each dataset's batches [px].
    """

    datasets: tuple[Dataset, ...]
    weights: tuple[float, ...]
    sizes: tuple[Size, ...]


def open_datasets(
    entries: Sequence[Mapping[str, Any]], *, task: str, file: str = 'the configuration'
) -> OpenedData:
    """Open every entry of a `data` list.

    Args:
        entries: mappings with `kind`, `size`, `weight` and the keys of the kind.
        task: 'depth' or 'normals'; only what the task needs is read from disk.
        file: where the list stands, for messages.

    Raises:
        DataError: a key is unknown, missing or of the wrong type, or a dataset cannot be opened;
            the message names file, entry and key.
    """
    if task not in TASKS:
        raise DataError(f'task {task!r} is none of {TASKS}')
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise DataError(f'{file}: data must be a list of at least one dataset')
    opened = []
    for number, entry in enumerate(entries):
        where = f'{file}: data[{number}]'
        try:
            opened.append(_opened(entry, where, normals=task == NORMALS))
        except DataError as error:
            message = str(error)
            raise DataError(
                message if message.startswith(where) else f'{where}: {message}'
            ) from error
    datasets, weights, sizes = zip(*opened, strict=True)
    return OpenedData(datasets, weights, sizes)


def _opened(entry: Any, where: str, *, normals: bool) -> tuple[Dataset, float, Size]:
    if not isinstance(entry, Mapping):
        raise DataError(f'{where} must be a mapping with a `kind`, not {entry!r}')
    kind = entry.get('kind')
    if kind not in _KINDS:
        raise DataError(f'{where}.kind is {kind!r}; it must be one of {", ".join(_KINDS)}')
    keys, make = _KINDS[kind]
    keys = {'weight': Key(_positive, 1.0), **keys}
    unknown = sorted(set(entry) - set(keys) - {'kind'})
    if unknown:
        known = ', '.join(['kind', *keys])
        raise DataError(f'{where}.{unknown[0]}: {kind} has no such key; it has {known}')
    values = {}
    for name, key in keys.items():
        if name not in entry and key.default is _REQUIRED:
            raise DataError(f'{where}.{name} is missing')
        value = entry.get(name, key.default)
        # A default needs no check and may be None, which says that a key was not given.
        try:
            values[name] = key.read(value) if name in entry else value
        except (TypeError, ValueError) as error:
            raise DataError(f'{where}.{name} is {value!r}: {error}') from error
    weight, size = values.pop('weight'), values.pop('size')
    return make(size, normals=normals, **values), weight, size


_REQUIRED: Any = object()


@dataclass(frozen=True)
class Key:
    """One key of a kind: how its value is read, and what stands for a missing one."""

    read: Callable[[Any], Any]
    default: Any = _REQUIRED


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError('must be a text')
    return value


def _folder(value: Any) -> Path:
    path = Path(_text(value)).expanduser()
    if not path.is_dir():
        raise ValueError('there is no such folder')
    return path


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise TypeError('must be a list of texts')
    return tuple(_text(part) for part in value)


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise TypeError('must be a number above 0')
    return float(value)


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise TypeError('must be a number from 0 to below 1')
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError('must be a whole number, not negative')
    return value


def _size(value: Any) -> Size:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError('must be [height, width]')
    height, width = (_whole(side) for side in value)
    if not height or not width or height % 16 or width % 16:
        raise ValueError('both sides must be multiples of 16')
    return height, width


Make = Callable[..., Dataset]


def _hypersim(size: Size, **values: Any) -> Dataset:
    del size  # files have their own size; the stream fits them
    return Hypersim(**values)


def _vkitti2(size: Size, **values: Any) -> Dataset:
    del size
    return VirtualKitti2(**values)


def _recording(size: Size, **values: Any) -> Dataset:
    del size
    return Recording(**values)


def _synthetic(size: Size, normals: bool, **values: Any) -> Dataset:
    del normals  # a rendered scene always has them
    return Synthetic(size, **values)


_KINDS: dict[Any, tuple[dict[str, Key], Make]] = {
    'hypersim': (
        {
            'root': Key(_folder),
            'size': Key(_size, (576, 768)),
            'split': Key(_text, 'train'),
            'max_holes': Key(_share, 0.0),
        },
        _hypersim,
    ),
    'vkitti2': (
        {
            'root': Key(_folder),
            'size': Key(_size, (352, 1216)),
            'scenes': Key(_texts, SCENES),
            'variations': Key(_texts, VARIATIONS),
            'far': Key(_positive, FAR),
        },
        _vkitti2,
    ),
    'recording': (
        {
            'root': Key(_folder),
            'size': Key(_size),
            'source': Key(_text, None),
            'max_range': Key(_positive, float('inf')),
        },
        _recording,
    ),
    'synthetic': (
        {
            'size': Key(_size, (240, 320)),
            'count': Key(_whole),
            'seed': Key(_whole, 0),
            'device': Key(_text, 'cpu'),
        },
        _synthetic,
    ),
}
