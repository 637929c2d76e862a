"""An independent reading of the released model, as literal and as slow as it comes.

Adapters stay apart from the weights (peft), the scheduler's own `step` moves the latents, the
pipeline's own functions pack them, and nothing here calls the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from diffusers.image_processor import VaeImageProcessor
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

STEMS = {'depth': 'depth', 'normals': 'normal'}


class ReferenceModel:
    """One task of a model folder, float32 on the CPU."""

    def __init__(self, folder: Path, task: str, *, rank: int) -> None:
        stem = STEMS[task]
        self.task = task
        self.vae: Any = AutoencoderKL.from_pretrained(folder, subfolder='vae')
        self.transformer: Any = FluxTransformer2DModel.from_pretrained(
            folder, subfolder='transformer'
        )
        for stage in ('core_predictor', 'detail_sharpener'):
            adapter = LoraConfig(
                r=rank,
                lora_alpha=rank,
                target_modules=[
                    *(f'attn.{name}' for name in ('to_q', 'to_k', 'to_v', 'to_out.0')),
                    *(f'attn.add_{name}_proj' for name in 'qkv'),
                    'attn.to_add_out',
                    *(f'{ff}.net.{i}' for ff in ('ff', 'ff_context') for i in ('0.proj', '2')),
                ],
            )
            self.transformer.add_adapter(adapter, adapter_name=stage)
            weights = load_file(folder / f'lotus-2_{stage}_{stem}.safetensors')
            outcome = set_peft_model_state_dict(
                self.transformer,
                {key.removeprefix('transformer.'): value for key, value in weights.items()},
                adapter_name=stage,
            )
            assert not outcome.unexpected_keys
        lcm = load_file(folder / f'lotus-2_lcm_{stem}.safetensors')
        self.lcm = nn.Sequential(nn.Conv2d(16, 32, 3, 1, 1), nn.GELU(), nn.Conv2d(32, 16, 3, 1, 1))
        self.lcm.load_state_dict({key.removeprefix('lcm.'): value for key, value in lcm.items()})
        self.scheduler: Any = FlowMatchEulerDiscreteScheduler.from_pretrained(
            folder, subfolder='scheduler', num_train_timesteps=10
        )
        prompt = load_file(folder / 'prompt_embeds.safetensors')
        self.prompt, self.pooled = prompt['prompt_embeds'], prompt['pooled_prompt_embeds']

    def _transformer(self, stage: str, tokens: Tensor, timestep: Tensor, size: tuple[int, int]):
        self.transformer.set_adapter(stage)
        ids = FluxPipeline._prepare_latent_image_ids(
            1, size[0] // 2, size[1] // 2, torch.device('cpu'), torch.float32
        )
        embeds_guidance = self.transformer.config.guidance_embeds
        return self.transformer(
            hidden_states=tokens,
            timestep=timestep.reshape(1) / 1000,
            guidance=torch.tensor([3.5]) if embeds_guidance else None,
            pooled_projections=self.pooled,
            encoder_hidden_states=self.prompt,
            txt_ids=torch.zeros(self.prompt.shape[1], 3),
            img_ids=ids,
        ).sample

    @torch.no_grad()
    def decoded(self, image: Tensor, steps: int) -> Tensor:
        """Network input (1, 3, H, W) in [-1, 1] to the VAE decoder's output, same shape."""
        height, width = image.shape[2:]
        size = height // 8, width // 8
        latent = self.vae.encode(image).latent_dist.mean
        latent = (latent - self.vae.config.shift_factor) * self.vae.config.scaling_factor
        tokens = FluxPipeline._pack_latents(latent, 1, 16, *size)
        tokens = self._transformer('core_predictor', tokens, torch.tensor(1.0), size)
        latent = FluxPipeline._unpack_latents(tokens, height, width, 8)
        latent = latent + self.lcm(latent)
        if steps:
            tokens = FluxPipeline._pack_latents(latent, 1, 16, *size)
            config = self.scheduler.config
            slope = (config.max_shift - config.base_shift) / (
                config.max_image_seq_len - config.base_image_seq_len
            )
            mu = tokens.shape[1] * slope + config.base_shift - slope * config.base_image_seq_len
            self.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
            for timestep in self.scheduler.timesteps:
                velocity = self._transformer('detail_sharpener', tokens, timestep, size)
                tokens = self.scheduler.step(velocity, timestep, tokens).prev_sample
            latent = FluxPipeline._unpack_latents(tokens, height, width, 8)
        latent = latent / self.vae.config.scaling_factor + self.vae.config.shift_factor
        return self.vae.decode(latent).sample

    def predict(self, rgb: np.ndarray, steps: int, *, max_side: int) -> np.ndarray:
        """(H, W, 3) uint8 to disparity (H, W), or normals (H, W, 3) in the optical frame."""
        image = torch.tensor(rgb.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1.0
        if max(rgb.shape[:2]) > max_side:
            scale = max_side / max(rgb.shape[:2])
            image = _bilinear(image, int(rgb.shape[0] * scale), int(rgb.shape[1] * scale))
        height, width = image.shape[2:]
        scale = min(height, width) // 16 * 16 / min(height, width)
        image = _bilinear(image, int(height * scale) // 16 * 16, int(width * scale) // 16 * 16)
        decoded = self.decoded(image, steps)
        picture = VaeImageProcessor().postprocess(decoded, output_type='np')[0]  # (h, w, 3)
        picture = cv2.resize(picture, (rgb.shape[1], rgb.shape[0]))
        if self.task == 'depth':
            return picture.mean(axis=2)
        outward = picture * 2 - 1
        return -outward / np.linalg.norm(outward, axis=2, keepdims=True)


def _bilinear(image: Tensor, height: int, width: int) -> Tensor:
    return nn.functional.interpolate(
        image, size=(height, width), mode='bilinear', align_corners=False
    )
