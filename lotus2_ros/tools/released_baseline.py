"""What one prediction of the released Lotus-2 code costs, on random weights of any shape.

Reproduced, since each of them costs time or memory: a diffusers transformer run eagerly, both
adapters kept beside the weights by peft and switched between the stages; both text encoders in
memory and run on the empty prompt for every image; a sample drawn from the VAE's posterior; a
scheduler object that takes each step; float32 conversions on the host. Not reproduced: files, and
the tokenizers' fraction of a millisecond, whose result on the empty prompt is a constant.

What it predicts means nothing. Written from the description of the code, not from the code.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor

from lotus2_ros.errors import SettingsError
from lotus2_ros.model.flow import TRAIN_TIMESTEPS, dynamic_shift
from lotus2_ros.model.latents import decode_latents, pack, unpack
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.lora import LORA_TARGETS
from lotus2_ros.model.network import CORE_TIMESTEP, Conditioning, call_transformer
from lotus2_ros.runtime.preprocess import prepare_image, working_sizes
from lotus2_ros.settings import DEFAULT_MAX_SIDE
from lotus2_ros.training.recipe.random_base import FLUX_TRANSFORMER, FLUX_VAE, random_module
from lotus2_ros.training.scheduler import SCHEDULER_CONFIG
from lotus2_ros.types import Float32Array, UInt8Array

CORE, SHARPENER = 'core', 'sharpener'
_CLIP_START, _CLIP_END, _T5_END = 49406, 49407, 1


@dataclass(frozen=True, slots=True)
class BaselineShape:
    """Configurations of all networks; by default those of FLUX.1-dev and Lotus-2's depth model.

    Attributes:
        transformer: arguments of FluxTransformer2DModel.
        vae: arguments of AutoencoderKL.
        clip: arguments of CLIPTextConfig; the default is CLIP ViT-L/14's text half.
        t5: arguments of T5Config; the default is T5 v1.1 XXL.
        clip_tokens: length of CLIP's prompt.
        t5_tokens: length of T5's prompt.
        rank: of both adapters.
        max_side: longest side in pixels that the network sees.
    """

    transformer: dict[str, Any] = field(
        default_factory=lambda: {**FLUX_TRANSFORMER, 'guidance_embeds': True}
    )
    vae: dict[str, Any] = field(default_factory=lambda: dict(FLUX_VAE))
    clip: dict[str, Any] = field(
        default_factory=lambda: {
            'vocab_size': 49408,
            'hidden_size': 768,
            'intermediate_size': 3072,
            'num_hidden_layers': 12,
            'num_attention_heads': 12,
            'max_position_embeddings': 77,
            'projection_dim': 768,
            'hidden_act': 'quick_gelu',
            'eos_token_id': 2,
        }
    )
    t5: dict[str, Any] = field(
        default_factory=lambda: {
            'vocab_size': 32128,
            'd_model': 4096,
            'd_kv': 64,
            'd_ff': 10240,
            'num_layers': 24,
            'num_heads': 64,
            'feed_forward_proj': 'gated-gelu',
        }
    )
    clip_tokens: int = 77
    t5_tokens: int = 512
    rank: int = 128
    max_side: int = DEFAULT_MAX_SIDE

    @classmethod
    def like(
        cls,
        transformer: dict[str, Any],
        vae: dict[str, Any],
        tokens: int,
        rank: int,
        max_side: int,
    ) -> Self:
        """The cost structure at a smaller model's size, text encoders of two layers included.

        Args:
            transformer: the model's configuration.
            vae: likewise.
            tokens: length of its prompt.
            rank: of its adapters.
            max_side: longest side in pixels that it sees.
        """
        joint, pooled = transformer['joint_attention_dim'], transformer['pooled_projection_dim']
        clip = {
            'vocab_size': _CLIP_END + 1,
            'hidden_size': pooled,
            'intermediate_size': 4 * pooled,
            'num_hidden_layers': 2,
            'num_attention_heads': 1,
        }
        t5 = {
            'vocab_size': 8,
            'd_model': joint,
            'd_kv': joint,
            'd_ff': 4 * joint,
            'num_layers': 2,
            'num_heads': 1,
            'feed_forward_proj': 'gated-gelu',
        }
        return cls(
            transformer=_arguments(transformer),
            vae=_arguments(vae),
            clip=clip,
            t5=t5,
            t5_tokens=tokens,
            rank=rank,
            max_side=max_side,
        )


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration file without what diffusers notes for itself."""
    return {name: value for name, value in config.items() if not name.startswith('_')}


class ReleasedBaseline:
    """A depth pipeline with the released code's cost structure."""

    def __init__(self, shape: BaselineShape, device: torch.device, dtype: torch.dtype) -> None:
        """Draw all weights on the device.

        Raises:
            SettingsError: peft or transformers is not installed.
        """
        try:
            from peft import LoraConfig
            from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
        except ImportError as err:
            msg = 'the baseline runs text encoders and adapters of the original libraries'
            raise SettingsError(f'{msg}: pip install transformers peft ({err})') from err
        draw = torch.Generator(device).manual_seed(0)
        make = device, dtype, draw
        self._shape, self._device, self._dtype, self._draw = shape, device, dtype, draw
        self.transformer = random_module(FluxTransformer2DModel, shape.transformer, *make)
        config = LoraConfig(r=shape.rank, lora_alpha=shape.rank, target_modules=list(LORA_TARGETS))
        for name in (CORE, SHARPENER):
            self.transformer.add_adapter(config, adapter_name=name)
        self.transformer.to(dtype).requires_grad_(requires_grad=False)
        self.vae = random_module(AutoencoderKL, shape.vae, *make)
        self.clip = random_module(CLIPTextModel, {'config': CLIPTextConfig(**shape.clip)}, *make)
        self.t5 = random_module(T5EncoderModel, {'config': T5Config(**shape.t5)}, *make)
        _restore_positions(self.clip, device)
        self.lcm = LocalContinuityModule(shape.vae['latent_channels']).to(device, dtype)
        kind: Any = FlowMatchEulerDiscreteScheduler
        self.scheduler = kind(**{**SCHEDULER_CONFIG, 'num_train_timesteps': TRAIN_TIMESTEPS})
        self._clip_ids = _ids([_CLIP_START], _CLIP_END, shape.clip_tokens, shape.clip, device)
        self._t5_ids = _ids([_T5_END], 0, shape.t5_tokens, shape.t5, device)

    @property
    def parameters(self) -> dict[str, int]:
        """Number of parameters of each network, adapters counted with the transformer."""
        networks = {
            'transformer': self.transformer,
            'vae': self.vae,
            'clip': self.clip,
            't5': self.t5,
        }
        return {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}

    @torch.no_grad()
    def predict(self, rgb: UInt8Array, *, steps: int) -> tuple[Float32Array, dict[str, float]]:
        """Disparity (H, W) of an image (H, W, 3) and the seconds of each stage."""
        clock = _Clock(self._device)
        size = rgb.shape[0], rgb.shape[1]
        with clock('preprocess'):
            sizes = working_sizes(size, self._shape.max_side)
            image = prepare_image(rgb, sizes, self._device, torch.float32).to(self._dtype)
        with clock('text'):
            conditioning = Conditioning(
                self.t5(self._t5_ids)[0], self.clip(self._clip_ids).pooler_output
            )
        with clock('encode'):
            latent = self._encode(image)
        with clock('core'):
            self.transformer.set_adapter(CORE)
            coarse = call_transformer(self.transformer, latent, CORE_TIMESTEP, conditioning)
            latent = self.lcm(coarse)
        with clock('sharpen'):
            if steps:
                latent = self._sharpen(latent, steps, conditioning)
        with clock('decode'):
            decoded = decode_latents(self.vae, latent)
        with clock('postprocess'):
            picture = (decoded.float() * 0.5 + 0.5).clamp(0, 1).mean(1, keepdim=True)
            resized = F.interpolate(picture, size, mode='bilinear', align_corners=False)
            disparity = np.asarray(resized[0, 0].cpu().numpy(), np.float32)
        return disparity, clock.seconds

    def _encode(self, image: Tensor) -> Tensor:
        posterior = self.vae.encode(image, return_dict=False)[0]
        config = self.vae.config
        sample = posterior.sample(generator=self._draw)
        latent: Tensor = (sample - config.shift_factor) * config.scaling_factor
        return latent

    def _sharpen(self, latent: Tensor, steps: int, conditioning: Conditioning) -> Tensor:
        self.transformer.set_adapter(SHARPENER)
        height, width = latent.shape[2:]
        tokens = pack(latent)
        self.scheduler.set_timesteps(
            sigmas=np.linspace(1.0, 1.0 / steps, steps),
            device=self._device,
            mu=dynamic_shift(self.scheduler.config, tokens.shape[1]),
        )
        for timestep in self.scheduler.timesteps:
            here = unpack(tokens, height, width)
            velocity = call_transformer(self.transformer, here, timestep, conditioning)
            tokens = self.scheduler.step(pack(velocity), timestep, tokens, return_dict=False)[0]
        return unpack(tokens, height, width)


class _Clock:
    """Seconds by stage, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device
        self._name, self._start = '', 0.0

    def __call__(self, name: str) -> _Clock:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)
        self.seconds[self._name] = time.perf_counter() - self._start


def _ids(
    start: list[int], fill: int, length: int, config: dict[str, Any], device: torch.device
) -> Tensor:
    """What the tokenizer makes of the empty prompt: (1, length)."""
    ids = torch.tensor([start + [fill] * (length - len(start))], device=device)
    return ids.remainder(config['vocab_size'])  # a small vocabulary has not all of them


def _restore_positions(clip: Any, device: torch.device) -> None:
    """Buffers are no weights: positions are counted, not drawn."""
    for module in clip.modules():
        ids = getattr(module, 'position_ids', None)
        if isinstance(ids, Tensor):
            module.position_ids = torch.arange(ids.shape[-1], device=device)[None]
