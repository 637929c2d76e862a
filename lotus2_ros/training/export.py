"""Writing a trained network as a model folder in the released layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file
from torch import Tensor

from lotus2_ros.model.tasks import TASKS
from lotus2_ros.training.adapters import adapter_state, base_state
from lotus2_ros.training.network import (
    CORE,
    SHARPENER,
    TwoStageNetwork,
    build_transformer,
    build_vae,
    slot,
)
from lotus2_ros.training.scheduler import SCHEDULER_CONFIG
from lotus2_ros.training.settings import Architecture


def export_model(
    folder: Path,
    network: TwoStageNetwork,
    vae: Any,
    architecture: Architecture,
    *,
    name: str = 'nano',
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write base, VAE, scheduler, prompt constants and both stages' files of every task.

    Args:
        folder: made if missing; files of the same names are replaced.
        network: trained, with the weights that are to be written in place.
        vae: trained AutoencoderKL.
        architecture: both were built from.
        name: the model's name.
        dtype: of all stored weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transformer = build_transformer(architecture)
    transformer.load_state_dict(_on_host(base_state(network.transformer)))
    transformer.to(dtype).save_pretrained(folder / 'transformer')
    plain_vae = build_vae(architecture)
    plain_vae.load_state_dict(_on_host(vae.state_dict()))
    plain_vae.register_to_config(
        scaling_factor=vae.config.scaling_factor, shift_factor=vae.config.shift_factor
    )
    plain_vae.to(dtype).save_pretrained(folder / 'vae')
    FlowMatchEulerDiscreteScheduler(**SCHEDULER_CONFIG).save_pretrained(folder / 'scheduler')

    prompt = {
        'prompt_embeds': network.prompt_embeds,
        'pooled_prompt_embeds': network.pooled_prompt_embeds,
    }
    _save(prompt, folder / 'prompt_embeds.safetensors', dtype)
    for task in TASKS.values():
        core = adapter_state(network.transformer, slot(CORE, task.name))
        sharpener = adapter_state(network.transformer, slot(SHARPENER, task.name))
        _save(core, folder / task.core_file, dtype)
        _save(sharpener, folder / task.sharpener_file, dtype)
        _save(network.lcm[task.name].state_dict(), folder / task.lcm_file, dtype)
    about = {'name': name, 'max_side': architecture.max_side}
    (folder / 'lotus2_model.json').write_text(json.dumps(about, indent=2) + '\n')


def _on_host(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().float().cpu() for key, value in state.items()}


def _save(state: dict[str, Any], path: Path, dtype: torch.dtype) -> None:
    tensors = {k: v.detach().to('cpu', dtype).contiguous() for k, v in state.items()}
    save_file(tensors, path, metadata={'format': 'pt'})
