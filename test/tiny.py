"""Tiny model folders for tests: the real classes and the real layout, random seeded weights.

What such a model predicts means nothing, but every number in it goes the way of the real one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.lora import PREFIX, target_modules
from lotus2_ros.model.tasks import TASKS

JOINT_DIM = 32
POOLED_DIM = 16
TEXT_TOKENS = 8

TRANSFORMER: dict[str, Any] = {
    'in_channels': 64,
    'num_layers': 1,
    'num_single_layers': 2,
    'attention_head_dim': 16,
    'num_attention_heads': 2,
    'joint_attention_dim': JOINT_DIM,
    'pooled_projection_dim': POOLED_DIM,
    'axes_dims_rope': (4, 6, 6),
}
VAE: dict[str, Any] = {
    'in_channels': 3,
    'out_channels': 3,
    'down_block_types': ['DownEncoderBlock2D'] * 4,
    'up_block_types': ['UpDecoderBlock2D'] * 4,
    'block_out_channels': [8, 8, 16, 16],
    'layers_per_block': 1,
    'latent_channels': 16,
    'norm_num_groups': 4,
    'sample_size': 64,
    'scaling_factor': 0.3611,
    'shift_factor': 0.1159,
    'use_quant_conv': False,
    'use_post_quant_conv': False,
}
# FLUX.1-dev's scheduler, but for the token counts: tiny images would all get the smallest shift.
SCHEDULER: dict[str, Any] = {
    'num_train_timesteps': 1000,
    'shift': 3.0,
    'use_dynamic_shifting': True,
    'base_shift': 0.5,
    'max_shift': 1.15,
    'base_image_seq_len': 4,
    'max_image_seq_len': 64,
}


def make_tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    tasks: Sequence[str] = ('depth', 'normals'),
    rank: int = 4,
    guidance_embeds: bool = True,
    sharpener: bool = True,
    prompt: bool = True,
    max_side: int | None = None,
    lcm_pickle: bool = False,
    base_folder: Path | None = None,
    shards: bool = False,
    dtype: torch.dtype = torch.float32,
    scheduler: dict[str, Any] | None = None,
) -> Path:
    """Write a complete tiny model.

    Args:
        folder: where to; made if missing.
        seed: of all weights; the global random state is neither used nor changed.
        tasks: whose files to write.
        rank: of every adapter.
        guidance_embeds: True is FLUX.1-dev's kind, False is FLUX.1-schnell's.
        sharpener: write the detail sharpeners too.
        prompt: write prompt_embeds.safetensors.
        max_side: write lotus2_model.json with it.
        lcm_pickle: write the LCM as a torch archive, as one of the released files may be.
        base_folder: put transformer, VAE, scheduler and prompt there instead.
        shards: split the transformer's weights over several files with an index.
        dtype: of all tensors.
        scheduler: changes to the scheduler's configuration.

    Returns:
        `folder`.
    """
    draw = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    base = base_folder or folder
    transformer = tiny_module(
        FluxTransformer2DModel, {**TRANSFORMER, 'guidance_embeds': guidance_embeds}, draw, dtype
    )
    transformer.save_pretrained(base / 'transformer', max_shard_size='60KB' if shards else '1GB')
    tiny_module(AutoencoderKL, VAE, draw, dtype).save_pretrained(base / 'vae')
    settings = {**SCHEDULER, **(scheduler or {})}
    FlowMatchEulerDiscreteScheduler(**settings).save_pretrained(base / 'scheduler')
    if prompt:
        embeds = {
            'prompt_embeds': _normal((1, TEXT_TOKENS, JOINT_DIM), 1.0, draw, dtype),
            'pooled_prompt_embeds': _normal((1, POOLED_DIM), 1.0, draw, dtype),
        }
        save_file(embeds, base / 'prompt_embeds.safetensors')
    for task in (TASKS[name] for name in tasks):
        save_file(tiny_lora(transformer, rank, draw, dtype), folder / task.core_file)
        if sharpener:
            save_file(tiny_lora(transformer, rank, draw, dtype), folder / task.sharpener_file)
        lcm = _fill(LocalContinuityModule(16), draw, dtype).state_dict()
        if lcm_pickle:
            torch.save(dict(lcm), folder / task.lcm_file)
        else:
            save_file(lcm, folder / task.lcm_file)
    if max_side is not None:
        about = {'name': 'tiny', 'max_side': max_side}
        (folder / 'lotus2_model.json').write_text(json.dumps(about))
    return folder


def add_tiny_text_encoders(base: Path, *, seed: int = 0) -> None:
    """Write tiny tokenizers and text encoders of the real classes into a base folder."""
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTokenizer,
        T5Config,
        T5EncoderModel,
        T5TokenizerFast,
    )

    draw = torch.Generator().manual_seed(seed)
    words = {'<|startoftext|>': 0, '<|endoftext|>': 1, 'a</w>': 2, 'a': 3}
    CLIPTokenizer(vocab=words, merges=[], model_max_length=77).save_pretrained(base / 'tokenizer')
    clip = CLIPTextConfig(
        vocab_size=4,
        hidden_size=POOLED_DIM,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    _fill(CLIPTextModel(clip), draw, torch.float32).save_pretrained(base / 'text_encoder')
    pieces = [('<pad>', 0.0), ('</s>', 0.0), ('<unk>', 0.0), ('\u2581', -2.0), ('a', -3.0)]
    T5TokenizerFast(vocab=pieces, extra_ids=0).save_pretrained(base / 'tokenizer_2')
    t5 = T5Config(
        vocab_size=5, d_model=JOINT_DIM, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj='gated-gelu',
    )  # fmt: skip
    _fill(T5EncoderModel(t5), draw, torch.float32).save_pretrained(base / 'text_encoder_2')


def tiny_module(
    kind: Any, config: dict[str, Any], draw: torch.Generator, dtype: torch.dtype = torch.float32
) -> Any:
    """Build a diffusers module whose weights come from a generator of its own."""
    with torch.device('meta'):
        module = kind(**config)
    return _fill(module.to_empty(device='cpu'), draw, dtype)


def tiny_lora(
    transformer: Any, rank: int, draw: torch.Generator, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """An adapter's file content whose effect is as large as that of the weights themselves."""
    tensors = {}
    for name, (outputs, inputs) in target_modules(transformer).items():
        a = _normal((rank, inputs), 1 / math.sqrt(inputs), draw, dtype)
        b = _normal((outputs, rank), 1 / math.sqrt(rank), draw, dtype)
        tensors[f'{PREFIX}{name}.lora_A.weight'] = a
        tensors[f'{PREFIX}{name}.lora_B.weight'] = b
    return tensors


def _normal(
    shape: Sequence[int], scale: float, draw: torch.Generator, dtype: torch.dtype
) -> Tensor:
    return (torch.randn(*shape, generator=draw) * scale).to(dtype)


def _fill(module: Any, draw: torch.Generator, dtype: torch.dtype) -> Any:
    """Random weights that keep activations of order one, norms near one."""
    nn.Module.to(module, dtype)  # diffusers' own `to` warns, though nothing here stays float32
    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.ndim > 1:
                fan_in = value[0].numel()
                value.copy_(_normal(value.shape, 1 / math.sqrt(fan_in), draw, dtype))
            else:
                value.copy_(_normal(value.shape, 0.1, draw, dtype))
                if name.endswith('weight'):
                    value.add_(1.0)
    return module.eval().requires_grad_(False)
