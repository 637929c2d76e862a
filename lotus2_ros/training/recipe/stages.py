"""The two stages: the module that is trained, and the losses of a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from lotus2_ros.model.flow import TRAIN_TIMESTEPS
from lotus2_ros.model.latents import pack
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.network import CORE_TIMESTEP, TaskNetwork, call_transformer
from lotus2_ros.training.data.sample import Batch
from lotus2_ros.training.recipe.base import Base
from lotus2_ros.training.recipe.coarse import CoarseLatents
from lotus2_ros.training.recipe.config import CORE, SHARPENER
from lotus2_ros.training.recipe.lora import adapter_parameters
from lotus2_ros.training.recipe.objectives import (
    Place,
    between,
    draw_times,
    latent_weight,
    squared_errors,
)

Trained = Callable[..., Tensor]
"""The stage's module as it is called in training; accelerate may have wrapped it."""

LCM_PREFIX = 'lcm.'


def new_lcm(channels: int, generator: torch.Generator) -> LocalContinuityModule:
    """A local continuity module that changes nothing yet: its last layer is zero."""
    with torch.device('meta'):  # no draw from the global random state
        module = LocalContinuityModule(channels)
    module.to_empty(device='cpu')
    first, last = (cast('nn.Conv2d', module.lcm[i]) for i in (0, 2))
    with torch.no_grad():
        bound = (first.in_channels * 9) ** -0.5  # PyTorch's own for a convolution
        for value in first.parameters():
            value.copy_((torch.rand(value.shape, generator=generator) * 2 - 1) * bound)
        for value in last.parameters():
            value.zero_()
    return module


class Stage(Protocol):
    """What the trainer needs of a stage.

    Attributes:
        name: 'core' or 'sharpener'.
        base: what it stands on.
        module: what is trained.
    """

    name: str
    base: Base
    module: nn.Module

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by the names that checkpoints use."""
        ...

    def losses(self, trained: Trained, batch: Batch, place: Place) -> Tensor:
        """Loss of each sample, (B,)."""
        ...

    def flush(self) -> None:
        """Put on disk what must not be lost with the process, before a checkpoint is written."""
        ...

    def predictions(self, image: Tensor, sharpen_steps: int) -> dict[str, Tensor]:
        """Latents (1, 16, h, w) predicted for an image (1, 3, H, W), by name, without gradients."""
        ...


class CoreModule(nn.Module):
    """Core predictor and local continuity module: the image's latent to the annotation's."""

    def __init__(self, base: Base, lcm: LocalContinuityModule, *, full: bool) -> None:
        super().__init__()
        self.transformer = base.transformer
        self.lcm = lcm
        self._base = base
        self._full = full

    def forward(self, latent: Tensor) -> Tensor:
        """Predict a clean latent (B, 16, h, w), float32, from an image's latent."""
        device = self._base.device
        rounding: Any = contextlib.nullcontext()
        if self._full and self._base.dtype != torch.float32:
            rounding = torch.autocast(device.type, self._base.dtype)
        with rounding:
            coarse = call_transformer(
                self.transformer,
                latent.to(self._base.conditioning.prompt.dtype),
                CORE_TIMESTEP,
                self._base.conditioning,
            )
        return cast('Tensor', self.lcm(coarse.float()))


class CoreStage:
    """Stage one: minimises |z_y - LCM(f(z_x, t = 1))|² over adapters (or all of f) and LCM."""

    name = CORE

    def __init__(self, base: Base, lcm: LocalContinuityModule, *, full: bool = False) -> None:
        """Make the stage.

        Args:
            base: with the adapter `core` attached and active, unless `full`.
            lcm: trained along, in float32.
            full: train the transformer itself.
        """
        self.base = base
        self.full = full
        self.lcm = lcm.to(base.device).requires_grad_(requires_grad=True)
        if full:
            base.transformer.requires_grad_(requires_grad=True)
        self.module: nn.Module = CoreModule(base, self.lcm, full=full)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Adapter tensors under their published names, or all weights; and the LCM's."""
        transformer = self.base.transformer
        chosen = (
            {f'transformer.{name}': value for name, value in transformer.named_parameters()}
            if self.full
            else adapter_parameters(transformer, CORE)
        )
        return chosen | {f'{LCM_PREFIX}{n}': v for n, v in self.lcm.named_parameters()}

    def losses(self, trained: Trained, batch: Batch, place: Place) -> Tensor:  # noqa: ARG002
        """Squared error of each sample's latent, (B,)."""
        image = self.base.encode(batch.image)
        truth = self.base.encode(batch.target)
        weight = latent_weight(batch.mask.to(self.base.device))
        return squared_errors(trained(image), truth, weight)

    def flush(self) -> None:
        """Nothing is kept beside the checkpoint."""

    @torch.no_grad()
    def predictions(self, image: Tensor, sharpen_steps: int) -> dict[str, Tensor]:  # noqa: ARG002
        """The core's latent."""
        return {CORE: self.module(self.base.encode(image))}


class SharpenerModule(nn.Module):
    """Detail sharpener: state and time on the flow to velocity."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.transformer = base.transformer
        self._base = base

    def forward(self, state: Tensor, time: Tensor) -> Tensor:
        """Predict coarse minus fine (B, 16, h, w) at a state z_t and times t (B,) in (0, 1]."""
        # The sharpener counts ten timesteps, of which the transformer is handed a thousandth.
        return call_transformer(
            self.transformer,
            state.to(self._base.dtype),
            time.to(self._base.device) * TRAIN_TIMESTEPS,
            self._base.conditioning,
        )


class SharpenerStage:
    """Stage two: minimises |(z_c - z_f) - g(z_t, t)|² over the sharpener's adapter."""

    name = SHARPENER

    def __init__(self, base: Base, coarse: CoarseLatents, *, inference_times: bool) -> None:
        """Make the stage.

        Args:
            base: with the adapters `core` and `sharpener` attached, the latter active.
            coarse: latents of the trained core, which uses the same base.
            inference_times: see `draw_times`.
        """
        self.base = base
        self.coarse = coarse
        self.inference_times = inference_times
        self.module: nn.Module = SharpenerModule(base)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The sharpener's tensors under their published names."""
        return adapter_parameters(self.base.transformer, SHARPENER)

    def losses(self, trained: Trained, batch: Batch, place: Place) -> Tensor:
        """Squared error of each sample's velocity, (B,)."""
        coarse = self.coarse.of(batch.image).float()
        fine = self.base.encode(batch.target)
        weight = latent_weight(batch.mask.to(self.base.device))
        time = draw_times(
            len(coarse),
            place,
            self.base.schedule,
            pack(coarse[:1]).shape[1],
            inference=self.inference_times,
        ).to(self.base.device)
        velocity = trained(between(coarse, fine, time), time)
        return squared_errors(velocity, coarse - fine, weight)

    def flush(self) -> None:
        """Write coarse latents that are still in memory."""
        self.coarse.flush()

    @torch.no_grad()
    def predictions(self, image: Tensor, sharpen_steps: int) -> dict[str, Tensor]:
        """The core's latent, and what the sharpener makes of it as inference runs it."""
        coarse = self.coarse.compute(image)
        transformer = self.base.transformer
        network = TaskNetwork(
            transformer, self.coarse.lcm, self.base.conditioning, sharpener_transformer=transformer
        )
        latent = coarse
        for step in self.base.schedule.steps(sharpen_steps, pack(coarse).shape[1]):
            latent = network.sharpen(latent, step)
        return {CORE: coarse, SHARPENER: latent}
