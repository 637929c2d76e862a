"""Loading a prepared folder: read, fill, run. Neither diffusers nor transformers is imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.inference.modulation import TableSource
from lotus2_ros.model.inference.quantization import SCALE, dequantize_rows, eight_bit_format
from lotus2_ros.model.inference.skeleton import filled
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.inference.vae import prepare_for_cpu
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.model.network import TaskNetwork
from lotus2_ros.model.portion import Portion
from lotus2_ros.model.prepared.folder import PreparedFolder
from lotus2_ros.model.prepared.manifest import stage_name


def load(
    folder: PreparedFolder,
    portion: Portion,
    *,
    device: torch.device,
    eight_bits: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Lotus2Model:
    """Load a portion of a model, and all it needs, onto a device.

    Args:
        folder: prepared.
        portion: what to load.
        device: where to.
        eight_bits: keep weights as they are stored where that is in 8 bits, for the accelerated
            network. Else they are brought to the precision of arithmetic: the result is as
            accurate as 8 bits are, but neither smaller nor faster.
        progress: told a stage's name and the fraction of it that is done.

    Raises:
        ModelFileError: a task or the sharpener is not there, or a file, key or shape is wrong.
    """
    check_held(folder, portion.tasks, sharpener=bool(portion.sharpeners))
    tell = progress or (lambda _stage, _fraction: None)
    tell('vae', 0.0)
    vae = folder.vae(device)
    if device.type == 'cpu':
        prepare_for_cpu(vae, folder.path / 'vae')
    builder = _Builder(folder, device, folder.modulation(device), tell, eight_bits)
    networks = {
        name: TaskNetwork(
            builder.transformer(name, 'core') if name in portion.cores else None,
            folder.lcm(name, device) if name in portion.cores else None,
            folder.conditioning(device),
            builder.transformer(name, 'sharpener') if name in portion.sharpeners else None,
        )
        for name in portion.tasks
    }
    folder.release()
    manifest = folder.manifest
    weights = manifest.precision if eight_bit_format(manifest.precision) else ''
    return Lotus2Model(vae, networks, folder.schedule(), manifest.parameters, weights)


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
        eight_bits: bool,
    ) -> None:
        self._folder, self._device = folder, device
        self._modulation, self._tell = modulation, tell
        self._eight_bits = eight_bits
        self._dense: dict[int, tuple[Tensor, Tensor]] = {}

    def transformer(self, task: str, kind: str) -> InferenceTransformer:
        """One stage's."""
        folder, name = self._folder, f'{task} {kind}'
        stored = folder.stage(
            stage_name(task, kind), self._device, lambda fraction: self._tell(name, fraction)
        )
        if not self._eight_bits:
            kept = [key for key in stored if not key.endswith(SCALE)]
            stored = {key: self._densified(key, stored) for key in kept}
        return filled(folder.shape, folder.manifest.text_tokens, self._modulation, stored)

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
