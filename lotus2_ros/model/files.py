"""Reading weight and configuration files: only plain data, every fault named by file and key."""

from __future__ import annotations

import contextlib
import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lotus2_ros.closing import Closing
from lotus2_ros.errors import ModelFileError

WEIGHTS_STEM = 'diffusion_pytorch_model'
_FLOATS = {'F64', 'F32', 'F16', 'BF16'}
_EIGHT_BITS = {'F8_E4M3', 'I8'}
_ZIP_MAGIC = b'PK\x03\x04'
_MANY = 4


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelFileError: the file is missing, unreadable, no JSON, or no object.
    """
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError as err:
        raise ModelFileError(f'{path} is missing') from err
    except (OSError, ValueError) as err:
        raise ModelFileError(f'{path} cannot be read as JSON: {err}') from err
    if not isinstance(value, dict):
        raise ModelFileError(f'{path} must hold a JSON object, not {type(value).__name__}')
    return value


class WeightFiles(Closing):
    """Tensors by key over one or several safetensors files, read from disk when asked for.

    Use as a context manager: the files stay mapped until it ends.
    """

    def __init__(self, source: Path, paths: Iterable[Path]) -> None:
        self.source = source
        self._exit = contextlib.ExitStack()
        self._handles: dict[str, tuple[Path, Any]] = {}
        try:
            for path in paths:
                self._open(path)
        except BaseException:
            self._exit.close()
            raise

    @classmethod
    def single(cls, path: Path) -> Self:
        """Open one safetensors file.

        Raises:
            ModelFileError: the file is missing, truncated or no safetensors file.
        """
        return cls(path, [path])

    @classmethod
    def folder(cls, folder: Path, stem: str = WEIGHTS_STEM) -> Self:
        """Open the weights of one diffusers component, in one file or in shards with an index.

        Raises:
            ModelFileError: no weights, a shard that the index names is missing or damaged, or a
                shard's keys are not those that the index promises.
        """
        whole, index = folder / f'{stem}.safetensors', folder / f'{stem}.safetensors.index.json'
        if whole.is_file():
            return cls(whole, [whole])
        if not index.is_file():
            msg = f'{folder} holds neither {whole.name} nor {index.name}'
            raise ModelFileError(msg)
        places = read_json(index).get('weight_map')
        if not isinstance(places, dict) or not places:
            raise ModelFileError(f'{index} has no weight_map')
        for key, name in places.items():
            # A name with a path in it would read a file that is no part of the model.
            if not isinstance(name, str) or Path(name).name != name:
                raise ModelFileError(f'{index}: {key} is said to lie in {name!r}, no plain name')
        files = cls(index, [folder / name for name in sorted(set(places.values()))])
        try:
            check_keys(index, files.keys(), places)
            for key, name in places.items():
                if files.path(key).name != name:
                    msg = f'{index}: {key} is said to lie in {name}, it is in {files.path(key)}'
                    raise ModelFileError(msg)
        except BaseException:
            files.close()
            raise
        return files

    def _open(self, path: Path) -> None:
        if not path.is_file():
            raise ModelFileError(f'{path} is missing')
        try:
            handle = self._exit.enter_context(safe_open(path, framework='pt', device='cpu'))
        except (SafetensorError, OSError) as err:
            msg = f'{path} is damaged or no safetensors file ({err}); fetch it again'
            raise ModelFileError(msg) from err
        for key in handle.keys():  # noqa: SIM118 (the handle is no mapping)
            if key in self._handles:
                raise ModelFileError(f'{path}: {key} is also in {self._handles[key][0]}')
            self._handles[key] = (path, handle)

    def close(self) -> None:
        """Unmap the files."""
        self._handles = {}
        self._exit.close()

    def keys(self) -> list[str]:
        """Every key, in no particular order."""
        return list(self._handles)

    def path(self, key: str) -> Path:
        """The file that holds a key."""
        return self._handles[key][0]

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return tuple(self._handles[key][1].get_slice(key).get_shape())

    def tensor(self, key: str) -> Tensor:
        """Read one tensor into memory of its own, on the CPU, in the file's precision.

        Raises:
            ModelFileError: the tensor is not of floating point.
        """
        path, handle = self._handles[key]
        kind = handle.get_slice(key).get_dtype()
        if kind not in _FLOATS:
            msg = f'{path}: {key} is {kind}; expected one of {", ".join(sorted(_FLOATS))}'
            raise ModelFileError(msg)
        # A copy, since the mapping would fault if the file were replaced under a running model.
        loaded: Tensor = handle.get_tensor(key).clone()
        return loaded

    def stored(self, key: str, device: torch.device) -> Tensor:
        """Read one tensor onto a device as it is stored, in 8 bits too.

        For a GPU the bytes go from the mapped file to the device, without a copy in between.

        Raises:
            ModelFileError: the tensor is neither of floating point nor in a format of 8 bits.
        """
        path, handle = self._handles[key]
        kind = handle.get_slice(key).get_dtype()
        if kind not in _FLOATS | _EIGHT_BITS:
            known = ', '.join(sorted(_FLOATS | _EIGHT_BITS))
            raise ModelFileError(f'{path}: {key} is {kind}; expected one of {known}')
        mapped: Tensor = handle.get_tensor(key)
        return mapped.clone() if device.type == 'cpu' else mapped.to(device)

    def row(self, key: str, index: int) -> Tensor:
        """Read one row of a tensor into memory of its own, on the CPU."""
        part: Tensor = self._handles[key][1].get_slice(key)[index]
        return part.clone()

    def check(self, expected: Mapping[str, tuple[int, ...]]) -> None:
        """Hold keys and shapes against what a module expects.

        Raises:
            ModelFileError: a key is missing, unexpected, or of another shape; names file and key.
        """
        check_keys(self.source, self._handles, expected)
        for key, shape in expected.items():
            if self.shape(key) != shape:
                msg = f'{self.path(key)}: {key} has shape {self.shape(key)}; expected {shape}'
                raise ModelFileError(msg)


def check_keys(source: Path, found: Iterable[str], expected: Iterable[str]) -> None:
    """Hold the keys of a file against those expected.

    Raises:
        ModelFileError: naming the file and the missing or unexpected keys.
    """
    have, want = set(found), set(expected)
    for what, wrong in (('missing', want - have), ('unexpected', have - want)):
        if wrong:
            names = sorted(wrong)
            more = f' and {len(names) - _MANY} more' if len(names) > _MANY else ''
            raise ModelFileError(f'{source}: {what} key {", ".join(names[:_MANY])}{more}')


def read_plain_tensors(path: Path) -> dict[str, Tensor]:
    """Read a small file of tensors that may be safetensors or, despite its name, a torch archive.

    The bytes decide. A torch archive is read without running anything in it, and only a flat
    dictionary of floating-point tensors is accepted.

    Raises:
        ModelFileError: the file is missing, damaged, of another kind, or holds anything else.
    """
    if not path.is_file():
        raise ModelFileError(f'{path} is missing')
    try:
        with path.open('rb') as stream:
            start = stream.read(len(_ZIP_MAGIC))
    except OSError as err:
        raise ModelFileError(f'{path} cannot be read: {err}') from err
    if start != _ZIP_MAGIC:
        with WeightFiles.single(path) as files:
            return {key: files.tensor(key) for key in files.keys()}  # noqa: SIM118
    try:
        # By stream: given a path, torch would trust the name and read it as safetensors.
        with path.open('rb') as stream:
            value = torch.load(stream, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, zipfile.BadZipFile) as err:
        reason = str(err).strip().partition('\n')[0]
        msg = f'{path} is a torch archive that holds more than plain tensors, or damaged: {reason}'
        raise ModelFileError(msg) from err
    if not isinstance(value, dict):
        raise ModelFileError(f'{path} must hold a dictionary of tensors, not {type(value)}')
    for key, tensor in value.items():
        if not isinstance(key, str) or type(tensor) is not Tensor or tensor.is_sparse:
            raise ModelFileError(f'{path}: {key!r} is no plain tensor but {type(tensor).__name__}')
        if not tensor.is_floating_point():
            raise ModelFileError(f'{path}: {key} is {tensor.dtype}; expected floating point')
    return dict(value)
