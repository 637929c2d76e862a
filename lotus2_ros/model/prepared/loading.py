"""Loading a prepared folder: read, fill, run. Neither diffusers nor transformers is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.inference.low_rank import LowRankLinear
from lotus2_ros.model.inference.modulation import TableSource
from lotus2_ros.model.inference.skeleton import empty_transformer, fill
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.inference.vae import prepare_for_cpu
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.model.network import TaskNetwork
from lotus2_ros.model.prepared.folder import DOWN, UP, PreparedFolder
from lotus2_ros.model.prepared.manifest import stage_name
from lotus2_ros.model.prepared.quantization import SCALE, dequantize_rows
from lotus2_ros.model.tasks import TASKS


def load(
    folder: PreparedFolder,
    tasks: Sequence[str],
    *,
    sharpener: bool,
    device: torch.device,
    progress: Callable[[str, float], None] | None = None,
) -> Lotus2Model:
    """Load what prediction needs onto a device.

    Weights in 8 bits are brought to the precision of arithmetic: the result is as accurate as 8
    bits are, but neither smaller nor faster. For that see the accelerated network.

    Args:
        folder: prepared.
        tasks: names from the task table.
        sharpener: whether to load the detail sharpeners too.
        device: where to.
        progress: told a stage's name and the fraction of it that is done.

    Raises:
        ModelFileError: a task or the sharpener is not there, or a file, key or shape is wrong.
    """
    check_held(folder, tasks, sharpener=sharpener)
    tell = progress or (lambda _stage, _fraction: None)
    tell('vae', 0.0)
    vae = folder.vae(device)
    if device.type == 'cpu':
        prepare_for_cpu(vae, folder.path / 'vae')
    builder = _Builder(folder, device, folder.modulation(device), tell)
    networks = {
        name: TaskNetwork(
            builder.transformer(name, 'core'),
            folder.lcm(name, device),
            folder.conditioning(device),
            builder.transformer(name, 'sharpener') if sharpener else None,
        )
        for name in TASKS
        if name in tasks
    }
    folder.release()
    weights = 'fp8' if folder.manifest.precision == 'fp8' else ''
    return Lotus2Model(vae, networks, folder.schedule(), folder.manifest.parameters, weights)


def check_held(folder: PreparedFolder, tasks: Sequence[str], *, sharpener: bool) -> None:
    """See that a folder was prepared for what is wanted.

    Raises:
        ModelFileError: saying what is not there.
    """
    manifest = folder.manifest
    lacking = [name for name in tasks if name not in manifest.tasks]
    if lacking:
        msg = f'{folder.path} was prepared for {", ".join(manifest.tasks)}'
        raise ModelFileError(f'{msg}, not for {", ".join(lacking)}; prepare it with --tasks')
    if sharpener and not manifest.sharpener:
        msg = f'{folder.path} was prepared without the detail sharpener'
        raise ModelFileError(f'{msg}; load it without, or prepare it again')


class _Builder:
    """Makes the transformers of one folder, which share what their stages share."""

    def __init__(
        self,
        folder: PreparedFolder,
        device: torch.device,
        modulation: TableSource,
        tell: Callable[[str, float], None],
    ) -> None:
        self._folder, self._device = folder, device
        self._modulation, self._tell = modulation, tell
        self._dense: dict[int, tuple[Tensor, Tensor]] = {}

    def transformer(self, task: str, kind: str) -> InferenceTransformer:
        """One stage's."""
        folder, name = self._folder, f'{task} {kind}'
        stored = folder.stage(
            stage_name(task, kind), self._device, lambda fraction: self._tell(name, fraction)
        )
        tensors = {key: self._densified(key, stored) for key in stored if not key.endswith(SCALE)}
        network = empty_transformer(folder.shape, folder.manifest.text_tokens, self._modulation)
        for key in tensors:
            if key.endswith(DOWN):
                _make_low_rank(network, key.removesuffix(DOWN), tensors)
        fill(network, tensors)
        return network

    def _densified(self, key: str, stored: dict[str, Tensor]) -> Tensor:
        tensor = stored[key]
        scale = stored.get(key.removesuffix('.weight') + SCALE)
        if scale is None or not key.endswith('.weight'):
            return tensor
        if id(tensor) not in self._dense:
            # Kept with what it was made from, so that no other tensor gets the same identity.
            dense = dequantize_rows(tensor, scale, self._folder.dtype)
            self._dense[id(tensor)] = tensor, dense
        return self._dense[id(tensor)][1]


def _make_low_rank(network: nn.Module, name: str, tensors: dict[str, Tensor]) -> None:
    parent, _, last = name.rpartition('.')
    owner = network.get_submodule(parent)
    layer = cast('nn.Linear', getattr(owner, last))
    setattr(owner, last, LowRankLinear(layer, tensors[name + DOWN], tensors[name + UP]))
