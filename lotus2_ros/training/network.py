"""The two-stage network in training: one base, all tasks' adapters, LCMs and prompt constants."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn

from lotus2_ros.model.flow import MODEL_TIMESTEPS
from lotus2_ros.model.latents import image_ids, pack, text_ids, unpack
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.network import CORE_TIMESTEP, GUIDANCE
from lotus2_ros.training.adapters import Selector, adapt
from lotus2_ros.training.settings import LATENT_CHANNELS, Architecture
from lotus2_ros.types import TASKS

CORE, SHARPENER = 'core', 'sharpener'
_ROUNDED_GUIDANCE = float((1000 * torch.tensor(GUIDANCE)).bfloat16())


def slot(stage: str, task: str) -> str:
    """Name of the adapter of a stage and task."""
    return f'{stage}-{task}'


SLOTS = tuple(slot(stage, task) for stage in (CORE, SHARPENER) for task in TASKS)


def build_vae(architecture: Architecture) -> Any:
    """A diffusers AutoencoderKL with fresh weights."""
    return AutoencoderKL(**architecture.vae_config())


def build_transformer(architecture: Architecture) -> Any:
    """A diffusers FluxTransformer2DModel with fresh weights."""
    return FluxTransformer2DModel(**architecture.transformer_config())


class TwoStageNetwork(nn.Module):
    """Base transformer, adapters of both stages and tasks, LCM of each task, prompt constants."""

    def __init__(self, architecture: Architecture, device: torch.device | str) -> None:
        super().__init__()
        self.transformer = build_transformer(architecture).to(device)
        self.selector = Selector(SLOTS, device)
        self.adapted = adapt(self.transformer, architecture.lora_rank, self.selector)
        self.lcm = nn.ModuleDict({task: LocalContinuityModule(LATENT_CHANNELS) for task in TASKS})
        for module in self.lcm.values():
            last = cast('LocalContinuityModule', module).lcm[2]
            assert isinstance(last, nn.Conv2d)
            # The module starts as the identity, so that it never hurts.
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)
        shape = (1, architecture.text_tokens, architecture.text_dim)
        self.prompt_embeds = nn.Parameter(torch.randn(shape) * 0.5)
        self.pooled_prompt_embeds = nn.Parameter(torch.zeros(1, architecture.pooled_dim))
        self.to(device)
        self._exact: tuple[Tensor, Tensor] | None = None
        self.transformer.time_text_embed.register_forward_pre_hook(self._embed_exactly)

    def _embed_exactly(self, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Embed time and guidance as given, whatever precision the tokens were cast to.

        The transformer scales both in the tokens' precision, which turns a guidance of 3500 into
        3504 in bfloat16, and their embeddings are far apart.
        """
        assert self._exact is not None
        return (*self._exact, *inputs[2:])

    def _run(self, latent: Tensor, timestep: Tensor, chosen: str) -> Tensor:
        self.selector.choose(chosen)
        batch, _, height, width = latent.shape
        device = latent.device
        # Both roundings of the guidance are learnt, so that the model runs in either precision.
        rounded = torch.arange(batch, device=device) % 2
        guidance = 1000 * GUIDANCE + (_ROUNDED_GUIDANCE - 1000 * GUIDANCE) * rounded
        self._exact = (timestep * 1000, guidance)
        output = self.transformer(
            hidden_states=pack(latent),  # (B, h/2 * w/2, 64)
            encoder_hidden_states=self.prompt_embeds.expand(batch, -1, -1),
            pooled_projections=self.pooled_prompt_embeds.expand(batch, -1),
            timestep=timestep,
            guidance=guidance / 1000,
            img_ids=image_ids(height, width, device=device),
            txt_ids=text_ids(self.prompt_embeds.shape[1], device=device),
            return_dict=False,
        )[0]
        return unpack(output, height, width)

    def core(self, latent: Tensor, task: str) -> Tensor:
        """Predict a task's clean latent (B, 16, h, w) from the image's."""
        timestep = torch.full((len(latent),), CORE_TIMESTEP / MODEL_TIMESTEPS, device=latent.device)
        return cast('Tensor', self.lcm[task](self._run(latent, timestep, slot(CORE, task))))

    def at(self, latent: Tensor, timestep: Tensor, chosen: str) -> Tensor:
        """The transformer's output (B, 16, h, w) at a timestep (B,) with an adapter, as it is."""
        return self._run(latent, timestep, chosen)

    def velocity(self, latent: Tensor, timestep: Tensor, task: str) -> Tensor:
        """Predict coarse minus fine (B, 16, h, w) at z_t; timestep (B,) as the transformer's."""
        return self._run(latent, timestep, slot(SHARPENER, task))

    def core_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters; the core stage trains everything."""
        return dict(self.named_parameters())

    def sharpener_parameters(self) -> dict[str, nn.Parameter]:
        """The adapters, of which only the sharpener's receive gradients in its stage."""
        return {
            name: value
            for name, value in self.named_parameters()
            if name.endswith(('.down', '.up'))
        }

    def compile_blocks(self) -> None:
        """Compile the repeated blocks, one by one: their code is shared, so this stays quick."""
        for block in (
            *self.transformer.transformer_blocks,
            *self.transformer.single_transformer_blocks,
        ):
            block.compile()
