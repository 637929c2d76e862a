"""Writing safetensors files one tensor at a time: memory holds one tensor, not a file.

Source of the format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lotus2_ros.model.prepared.manifest import FileRecord, record

WEIGHTS = 'weights'
_NAMES = {
    torch.float32: 'F32',
    torch.bfloat16: 'BF16',
    torch.float8_e4m3fn: 'F8_E4M3',
    torch.int8: 'I8',
}
_ALIGNMENT = 8


class Entry(NamedTuple):
    """A tensor that will be written.

    Attributes:
        key: its name in the file.
        dtype: precision.
        shape: as it will be.
        make: computes it, on any device; called once, in the order of the entries.
    """

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_weights(
    folder: Path,
    entries: Sequence[Entry],
    shard_bytes: int,
    wrote: Callable[[int], None],
    stem: str = WEIGHTS,
) -> dict[str, FileRecord]:
    """Write tensors into one file, or into several with an index where they exceed a size.

    Args:
        folder: made if missing.
        entries: in the order in which they are computed.
        shard_bytes: largest file, unless a single tensor is larger.
        wrote: told the bytes of each tensor.
        stem: what file names begin with.

    Returns:
        File name to record, the index included.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split(entries, shard_bytes)
    if len(shards) == 1:
        name = f'{stem}.safetensors'
        return {name: _write_file(folder / name, shards[0], wrote)}
    records, places = {}, {}
    for number, shard in enumerate(shards, start=1):
        name = f'{stem}-{number:05}-of-{len(shards):05}.safetensors'
        records[name] = _write_file(folder / name, shard, wrote)
        places.update({entry.key: name for entry in shard})
    index = folder / f'{stem}.safetensors.index.json'
    total = sum(entry.size for entry in entries)
    text = json.dumps({'metadata': {'total_size': total}, 'weight_map': places}, indent=2)
    index.write_text(text + '\n', encoding='utf-8')
    return {**records, index.name: record(index)}


def _split(entries: Sequence[Entry], limit: int) -> list[list[Entry]]:
    shards: list[list[Entry]] = [[]]
    filled = 0
    for entry in entries:
        if shards[-1] and filled + entry.size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(entry)
        filled += entry.size
    return shards


def _write_file(path: Path, entries: list[Entry], wrote: Callable[[int], None]) -> FileRecord:
    header: dict[str, object] = {}
    at = 0
    for entry in entries:
        if at % entry.dtype.itemsize:
            raise ValueError(f'{entry.key} would start at byte {at}, which suits no {entry.dtype}')
        place = [at, at + entry.size]
        header[entry.key] = {
            'dtype': _NAMES[entry.dtype],
            'shape': list(entry.shape),
            'data_offsets': place,
        }
        at = place[1]
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % _ALIGNMENT)
    mark, size = hashlib.sha256(), 0
    with path.open('wb') as stream:
        for piece in (len(text).to_bytes(8, 'little'), text):
            stream.write(piece)
            mark.update(piece)
            size += len(piece)
        for entry in entries:
            data = _bytes(entry)
            stream.write(data)
            mark.update(data)
            size += len(data)
            wrote(len(data))
    return FileRecord(size, mark.hexdigest())


def _bytes(entry: Entry) -> memoryview:
    tensor = entry.make()
    if tensor.dtype != entry.dtype or tuple(tensor.shape) != entry.shape:
        made = f'{tensor.dtype} {tuple(tensor.shape)}'
        raise ValueError(f'{entry.key} became {made}; planned: {entry.dtype} {entry.shape}')
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data
