"""The modulation of a prepared folder: a row of constants for each timestep of the chosen sizes.

For all other sizes the folder may keep the modulation's weights. They are then read one layer at a
time, never loaded as a whole: a new size costs seconds once, and no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.files import WeightFiles
from lotus2_ros.model.flow import MAX_STEPS, FlowSchedule
from lotus2_ros.model.inference.flat_tables import (
    join_outputs,
    modulation_layers,
    read_row,
    row_length,
)
from lotus2_ros.model.inference.modulation import Tables, embed
from lotus2_ros.model.inference.recent import Recent
from lotus2_ros.model.inference.skeleton import NetworkShape
from lotus2_ros.model.network import CORE_TIMESTEP

TABLES_FILE = 'modulation.safetensors'
WEIGHTS_FOLDER = 'modulation'
TIMESTEPS, ROWS = 'timesteps', 'tables'

_EMBED = 'time_text_embed'
_KEPT_TABLES = 1 + 3 * MAX_STEPS
_SAME = 1e-6
"""Timesteps are computed in float32, whose last digit may differ from machine to machine."""


def rounded(timestep: float, dtype: torch.dtype) -> float:
    """A timestep as the transformer sees it: many are the same in bfloat16."""
    return torch.tensor(timestep).to(dtype).item()


def needed_timesteps(
    schedule: FlowSchedule, tokens: Iterable[int], dtype: torch.dtype, *, sharpener: bool
) -> list[float]:
    """Every timestep of the core, and of any number of sharpener steps, as the network sees it.

    Args:
        schedule: of the sharpener.
        tokens: image tokens of the sizes to be prepared.
        dtype: precision of arithmetic.
        sharpener: False leaves the core's alone.
    """
    times = {rounded(CORE_TIMESTEP, dtype)}
    if sharpener:
        times |= {
            rounded(step.timestep, dtype)
            for count in tokens
            for steps in range(1, MAX_STEPS + 1)
            for step in schedule.steps(steps, count)
        }
    return sorted(times)


def weight_keys(shape: NetworkShape, keys: Iterable[str]) -> list[str]:
    """Of a transformer's keys, those of its modulation and of what feeds it."""
    layers = set(modulation_layers(shape))
    return [k for k in keys if k.startswith(f'{_EMBED}.') or k.rpartition('.')[0] in layers]


def compute_rows(
    files: WeightFiles,
    shape: NetworkShape,
    pooled: Tensor,
    timesteps: Sequence[float],
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """The constants of timesteps, one layer of weights in memory at a time.

    Args:
        files: with FLUX's keys.
        shape: of the transformer.
        pooled: prompt (1, P), on the device and in the precision to compute in.
        timesteps: 0 to 1000.
        progress: told the fraction done.

    Returns:
        (timesteps, N) on the CPU.
    """
    device, dtype = pooled.device, pooled.dtype
    rows = torch.empty(len(timesteps), row_length(shape), dtype=dtype)
    layers = modulation_layers(shape)
    with torch.no_grad():
        module = _embedder(files, shape, pooled)
        hidden = [F.silu(embed(module, t, pooled, guided=shape.guided)) for t in timesteps]
        at = 0
        for done, layer in enumerate(layers, start=1):
            weight, bias = (files.tensor(f'{layer}.{n}').to(device, dtype) for n in _HALVES)
            # One by one, as the original: a batch may be added up in another order.
            for row, vector in zip(rows, hidden, strict=True):
                row[at : at + len(bias)] = join_outputs([F.linear(vector, weight, bias)]).cpu()
            at += len(bias)
            if progress is not None:
                progress(done / len(layers))
    return rows


_HALVES = ('weight', 'bias')


def _embedder(files: WeightFiles, shape: NetworkShape, pooled: Tensor) -> Any:
    from diffusers.models import embeddings  # the original code; needed for unprepared sizes only

    kind: Any = (
        embeddings.CombinedTimestepGuidanceTextProjEmbeddings
        if shape.guided
        else embeddings.CombinedTimestepTextProjEmbeddings
    )
    with torch.device('meta'):
        module = kind(embedding_dim=shape.width, pooled_projection_dim=shape.pooled_width)
    tensors = {
        key: files.tensor(f'{_EMBED}.{key}').to(pooled.device, pooled.dtype)
        for key in module.state_dict()
    }
    module.load_state_dict(tensors, strict=True, assign=True)
    return module.eval()


class PreparedModulation:
    """Tables by timestep, read from a prepared folder when they are asked for first."""

    def __init__(self, folder: Path, shape: NetworkShape, pooled: Tensor) -> None:
        """Look at the folder's tables.

        Args:
            folder: prepared.
            shape: of the transformer.
            pooled: prompt (1, P), on the device and in the precision of arithmetic.

        Raises:
            ModelFileError: the tables do not fit the transformer.
        """
        self._folder, self._shape, self._pooled = folder, shape, pooled
        with WeightFiles.single(folder / TABLES_FILE) as files:
            count = files.shape(TIMESTEPS)[0] if TIMESTEPS in files.keys() else 0  # noqa: SIM118
            files.check({TIMESTEPS: (count,), ROWS: (count, row_length(shape))})
            self._timesteps = files.tensor(TIMESTEPS).tolist()
        self._tables: Recent[float, Tables] = Recent(_KEPT_TABLES)

    @property
    def timesteps(self) -> tuple[float, ...]:
        """Those whose tables are stored."""
        return tuple(self._timesteps)

    def at(self, timestep: float) -> Tables:
        """The constants of a timestep, 0 to 1000.

        Raises:
            ModelFileError: its image size was not prepared and the folder keeps no modulation.
        """
        seen = rounded(timestep, self._pooled.dtype)
        return self._tables.get(seen, lambda: read_row(self._row(seen), self._shape))

    def _row(self, timestep: float) -> Tensor:
        device, dtype = self._pooled.device, self._pooled.dtype
        for index, stored in enumerate(self._timesteps):
            if abs(stored - timestep) <= _SAME * stored:
                with WeightFiles.single(self._folder / TABLES_FILE) as files:
                    return files.row(ROWS, index).to(device, dtype)
        weights = self._folder / WEIGHTS_FOLDER
        if not weights.is_dir():
            msg = (
                f'{self._folder} has no modulation for the timestep {timestep:g}: this image size'
                ' was not prepared; run `lotus2 models prepare` again with --sizes naming it, or'
                ' with --keep-modulation for any size'
            )
            raise ModelFileError(msg)
        with WeightFiles.folder(weights, 'weights') as files:
            return compute_rows(files, self._shape, self._pooled, [timestep])[0].to(device)
