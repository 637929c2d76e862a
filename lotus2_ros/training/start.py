"""Beginning a training from a model folder, also where the new model is the larger one.

A transformer grows by single blocks whose output projection is zero: at first it computes what the
smaller one did. Adapters are cut to a smaller rank by their singular values or padded with zeros.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.tasks import TASKS as TASK_FILES
from lotus2_ros.training.adapters import AdaptedLinear
from lotus2_ros.training.network import CORE, SHARPENER, TwoStageNetwork, slot

_WEIGHTS = 'diffusion_pytorch_model.safetensors'


def start_from(folder: Path, network: TwoStageNetwork, vae: Any) -> tuple[float, float]:
    """Take over all weights of a model folder in the released layout.

    Args:
        folder: what `export_model` wrote.
        network: to begin; as wide as the folder's model and at least as deep.
        vae: to begin; of the same shape as the folder's.

    Returns:
        The autoencoder's scaling and shift.

    Raises:
        ModelFileError: the model there does not fit.
    """
    _take_over(vae, load_file(folder / 'vae' / _WEIGHTS), folder)
    _grow(network.transformer, load_file(folder / 'transformer' / _WEIGHTS), folder)
    prompt = load_file(folder / 'prompt_embeds.safetensors')
    with torch.no_grad():
        network.prompt_embeds.copy_(prompt['prompt_embeds'])
        network.pooled_prompt_embeds.copy_(prompt['pooled_prompt_embeds'])
    for task in TASK_FILES.values():
        _take_over(network.lcm[task.name], load_file(folder / task.lcm_file), folder)
        for stage, file in ((CORE, task.core_file), (SHARPENER, task.sharpener_file)):
            _take_adapter(network, slot(stage, task.name), load_file(folder / file))
    config = type(vae).load_config(folder / 'vae')
    return float(config['scaling_factor']), float(config['shift_factor'])


def _take_over(module: Any, state: dict[str, Tensor], folder: Path) -> None:
    try:
        module.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        raise ModelFileError(f'{folder}: cannot begin from this model: {error}') from error


def _grow(transformer: Any, state: dict[str, Tensor], folder: Path) -> None:
    own = transformer.state_dict()
    misfits = [
        key for key, value in state.items() if key not in own or own[key].shape != value.shape
    ]
    missing = {key for key in own if key not in state and not key.endswith(('.down', '.up'))}
    old_blocks = {key.split('.')[1] for key in state if key.startswith('single_')}
    grown = {
        key for key in missing
        if key.startswith('single_') and key.split('.')[1] not in old_blocks
    }  # fmt: skip
    if misfits or missing - grown:
        names = ', '.join([*misfits, *sorted(missing - grown)][:4])
        raise ModelFileError(
            f'{folder}: cannot begin from this model: {names} do not fit; it must be as wide as '
            'the new one, with as many double and no more single blocks'
        )
    with torch.no_grad():
        for key, value in state.items():
            own[key].copy_(value)
        for key in grown:
            if '.proj_out.' in key:
                own[key].zero_()


def _take_adapter(network: TwoStageNetwork, chosen: str, state: dict[str, Tensor]) -> None:
    index = network.selector.slots.index(chosen)
    for name, module in network.transformer.named_modules():
        key = f'transformer.{name}.lora_A.weight'
        if not isinstance(module, AdaptedLinear) or key not in state:
            continue
        down, up = state[key].float(), state[key.replace('lora_A', 'lora_B')].float()
        rank = module.down.shape[1]
        if len(down) > rank:
            down, up = _truncated(down, up, rank)
        with torch.no_grad():
            module.down[index, : len(down)] = down.to(module.down.device)
            module.up[index].zero_()
            module.up[index, :, : len(down)] = up.to(module.up.device)


def _truncated(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best approximation of up @ down of a smaller rank."""
    left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
    root = values[:rank].sqrt()
    return cast('Tensor', root[:, None] * right[:rank]), left[:, :rank] * root
