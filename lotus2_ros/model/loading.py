"""Loading a complete model: base, prompt embeddings and the three files of each task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model import prompt, sources
from lotus2_ros.model.base import BaseTransformer, load_fitting_vae
from lotus2_ros.model.eight_bit_loading import EightBitStages
from lotus2_ros.model.files import check_keys, read_json, read_plain_tensors
from lotus2_ros.model.flow import FlowSchedule
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.modulation import Modulation
from lotus2_ros.model.inference.quantization import EightBitFormat
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.inference.vae import prepare_for_cpu
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.lora import read_lora
from lotus2_ros.model.network import CORE_TIMESTEP, Conditioning, TaskNetwork
from lotus2_ros.model.portion import Portion
from lotus2_ros.model.tasks import TASKS, Task
from lotus2_ros.settings import DEFAULT_MAX_SIDE

ABOUT_FILE = 'lotus2_model.json'

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """Where one model's files lie.

    Attributes:
        model: folder of the Lotus-2 files.
        base: folder of the FLUX base; the same one where the model is complete in itself.
        model_name: the model as the user named it.
        base_name: the base as the user named it.
        base_from_hub: the base lies in the hub's cache, which is not ours to write into.
        name: the model's name for people.
        max_side: longest side in pixels that this model was trained for.
    """

    model: Path
    base: Path
    model_name: str
    base_name: str
    base_from_hub: bool
    name: str
    max_side: int


@dataclass(slots=True)
class Lotus2Model:
    """A loaded model.

    Attributes:
        vae: diffusers' AutoencoderKL, or our Autoencoder.
        tasks: task name to its network, in the order of the task table.
        schedule: the sharpener's steps.
        parameters: number of parameters of one transformer.
        weights: precision of the weights where it is another one than that of arithmetic.
    """

    vae: Any
    tasks: dict[str, TaskNetwork]
    schedule: FlowSchedule
    parameters: int
    weights: str = ''

    @property
    def text_tokens(self) -> int:
        """Tokens that the first network is computed with for the prompt."""
        network = next(iter(self.tasks.values()))
        transformer = network.core_transformer or network.sharpener_transformer
        if isinstance(transformer, FastTransformer):
            return transformer.text_tokens
        return int(network.conditioning.prompt.shape[1])


def locate(
    model: str | Path, base: str | Path | None, tasks: Sequence[str], *, sharpener: bool
) -> ModelFolders:
    """Find a model's folders, fetching from the hub what is named by a hub id.

    Raises:
        ModelFileError: a folder or file is missing, or the hub refuses or cannot be reached.
    """
    wanted = [ABOUT_FILE, prompt.PROMPT_FILE, *_task_files(tasks, sharpener=sharpener)]
    if base is None:
        wanted += sources.BASE_PATTERNS
    folder = sources.resolve(model, wanted)
    base_folder = folder if base is None else sources.resolve(base, sources.BASE_PATTERNS)
    if not (base_folder / 'transformer').is_dir():
        where = 'the model' if base is None else 'the base'
        msg = (
            f'{base_folder} ({where}) has no transformer folder; give the FLUX base with base,'
            ' a folder or a hub id such as black-forest-labs/FLUX.1-dev'
        )
        raise ModelFileError(msg)
    missing = [n for n in _task_files(tasks, sharpener=sharpener) if not (folder / n).is_file()]
    if missing:
        raise ModelFileError(f'{folder} lacks {", ".join(missing)}')
    about = read_json(folder / ABOUT_FILE) if (folder / ABOUT_FILE).is_file() else {}
    return ModelFolders(
        model=folder,
        base=base_folder,
        model_name=str(model),
        base_name=str(base or model),
        base_from_hub=sources.is_hub_id(base or model),
        name=str(about.get('name', model)),
        max_side=_max_side(folder / ABOUT_FILE, about),
    )


def _task_files(tasks: Sequence[str], *, sharpener: bool) -> list[str]:
    chosen = [TASKS[name] for name in tasks]
    names = [name for task in chosen for name in (task.core_file, task.lcm_file)]
    return names + ([task.sharpener_file for task in chosen] if sharpener else [])


def _max_side(path: Path, about: dict[str, Any]) -> int:
    side = about.get('max_side', DEFAULT_MAX_SIDE)
    if not isinstance(side, int) or isinstance(side, bool) or side < 32:
        raise ModelFileError(f'{path}: max_side is {side!r}; it must be a whole number from 32 up')
    return side


def load(
    folders: ModelFolders,
    base: BaseTransformer,
    portion: Portion,
    *,
    device: torch.device,
    dtype: torch.dtype,
    eight_bits: EightBitFormat | None = None,
    progress: Progress | None = None,
) -> Lotus2Model:
    """Load a portion of a model, and all it needs, onto a device.

    Args:
        folders: see `locate`.
        base: the base's opened transformer.
        portion: what to load.
        device: where to.
        dtype: precision of weights and arithmetic.
        eight_bits: round the blocks' weights to this format, for the accelerated network.
        progress: told a stage's name and the fraction of it that is done.

    Raises:
        ModelFileError: any file, key, shape or type is wrong; names file and key.
    """
    tell = progress or (lambda _stage, _fraction: None)
    tell('vae', 0.0)
    vae = load_fitting_vae(folders.base, base, device, dtype)
    if device.type == 'cpu':
        prepare_for_cpu(vae, folders.base / 'vae')
    scheduler_file = folders.base / 'scheduler' / 'scheduler_config.json'
    schedule = FlowSchedule(read_json(scheduler_file), scheduler_file)
    tell('prompt', 0.0)
    conditioning = load_conditioning(folders, base.config, device).to(device, dtype)
    stages: _Stages | EightBitStages
    if eight_bits is None:
        stages = _Stages(base, conditioning, tell)
    else:
        stages = EightBitStages(base, conditioning, tell, eight_bits)
    networks = {
        name: _load_task(TASKS[name], folders.model, stages, portion) for name in portion.tasks
    }
    if not portion.sharpeners:
        stages.fold([CORE_TIMESTEP])
    weights = eight_bits.name if eight_bits else ''
    return Lotus2Model(vae, networks, schedule, base.parameters, weights)


def load_conditioning(folders: ModelFolders, config: Any, device: torch.device) -> Conditioning:
    """The empty prompt's embeddings: the stored ones, else computed from the base's encoders.

    Raises:
        ModelFileError: neither can be had, or they do not fit the transformer.
    """
    path = prompt.find_stored([folders.model, folders.base])
    if path is None:
        base = folders.base
        if folders.base_from_hub and not prompt.has_text_encoders(base):
            base = sources.resolve(folders.base_name, sources.TEXT_PATTERNS)
        path = prompt.compute_or_recall(base, in_base=not folders.base_from_hub, device=device)
    return prompt.read_conditioning(path, config.joint_attention_dim, config.pooled_projection_dim)


class _Stages:
    """Makes the transformer of each stage and task from one base."""

    def __init__(self, base: BaseTransformer, conditioning: Conditioning, tell: Progress) -> None:
        self.base = base
        self.conditioning = conditioning
        self._tell = tell
        self._modulation: Modulation | None = None

    def transformer(self, adapter_file: Path, stage: str) -> InferenceTransformer:
        """A transformer with an adapter folded in; a stage is told about by its name."""
        conditioning = self.conditioning
        merged = self.base.merged(
            read_lora(adapter_file, self.base.targets),
            conditioning.prompt.device,
            conditioning.prompt.dtype,
            lambda fraction: self._tell(stage, fraction),
        )
        if self._modulation is None:
            self._modulation = Modulation(merged, conditioning)
        return InferenceTransformer(merged, conditioning, self._modulation)

    def fold(self, timesteps: Sequence[float]) -> None:
        """Let go of the modulation's weights, since only these timesteps will be asked for."""
        if self._modulation is not None:
            self._modulation.fold(timesteps)


def _load_task(
    task: Task, folder: Path, stages: _Stages | EightBitStages, portion: Portion
) -> TaskNetwork:
    conditioning = stages.conditioning
    core, lcm, sharp = None, None, None
    if task.name in portion.cores:
        core = stages.transformer(folder / task.core_file, f'{task.name} core')
        lcm = load_lcm(folder / task.lcm_file, stages.base.latent_channels)
        lcm = lcm.to(conditioning.prompt.device, conditioning.prompt.dtype)
    if task.name in portion.sharpeners:
        sharp = stages.transformer(folder / task.sharpener_file, f'{task.name} sharpener')
    return TaskNetwork(core, lcm, conditioning, sharp)


def load_lcm(path: Path, channels: int) -> LocalContinuityModule:
    """Load a local continuity module, float32 on the CPU.

    Raises:
        ModelFileError: the file, a key or a shape is wrong.
    """
    tensors = read_plain_tensors(path)
    with torch.device('meta'):  # no initial values, so no draw from the global random state
        module = LocalContinuityModule(channels)
    expected = module.state_dict()
    check_keys(path, tensors, expected)
    for key, value in expected.items():
        if tensors[key].shape != value.shape:
            msg = (
                f'{path}: {key} has shape {tuple(tensors[key].shape)};'
                f' expected {tuple(value.shape)}'
            )
            raise ModelFileError(msg)
    weights = {key: value.float() for key, value in tensors.items()}
    module.load_state_dict(weights, strict=True, assign=True)
    return module.eval().requires_grad_(requires_grad=False)
