"""Low-rank adapters for training: peft's layers with float32 masters under a frozen base."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from lotus2_ros.model.lora import LORA_TARGETS, PREFIX, LoraWeights

_SIDES = ('lora_A', 'lora_B')


class RoundedLinear(nn.Linear):
    """A linear layer without bias whose float32 weight is rounded to its input's precision.

    So the products run as the merged model will run them, while gradient and optimiser see
    float32.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Apply the layer to (..., in)."""
        return F.linear(features, self.weight.to(features.dtype))


def adapted_layers(transformer: nn.Module) -> dict[str, Any]:
    """Layers of peft by the names of the linear layers that they adapt."""
    return {n: module for n, module in transformer.named_modules() if isinstance(module, LoraLayer)}


def attach(transformer: nn.Module, adapter: str, rank: int, generator: torch.Generator) -> None:
    """Give every target layer an adapter that changes nothing yet, and make it the active one.

    A is drawn from a normal distribution of deviation 1 / rank, peft's "gaussian" which the
    released loader names; B is zero.

    Args:
        transformer: diffusers' FluxTransformer2DModel.
        adapter: its name.
        rank: its inner size; alpha is the same, so that the update is B A as it stands.
        generator: on the CPU, of the initial values.
    """
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS), init_lora_weights=False
    )
    with warnings.catch_warnings():
        # A second adapter is what the sharpener stage wants.
        warnings.filterwarnings('ignore', 'Already found a `peft_config`')
        # Built on the meta device: peft would draw initial values from the global random state.
        inject_adapter_in_model(config, transformer, adapter, low_cpu_mem_usage=True)
    for layer in adapted_layers(transformer).values():
        layer.cast_input_dtype_enabled = False
        device = layer.get_base_layer().weight.device
        shapes = {'lora_A': (layer.in_features, rank), 'lora_B': (rank, layer.out_features)}
        for side, (inputs, outputs) in shapes.items():
            with torch.device('meta'):
                linear = RoundedLinear(inputs, outputs, bias=False)
            linear.to_empty(device=device)
            getattr(layer, side)[adapter] = linear
        down, up = (getattr(layer, side)[adapter].weight for side in _SIDES)
        with torch.no_grad():
            down.copy_(torch.randn(down.shape, generator=generator) / rank)
            up.zero_()
    activate(transformer, adapter, trained=True)


def fill(transformer: nn.Module, adapter: str, weights: LoraWeights) -> None:
    """Copy a read adapter into an attached one of the same rank."""
    with torch.no_grad():
        for name, layer in adapted_layers(transformer).items():
            for side, value in zip(_SIDES, weights.pairs[name], strict=True):
                getattr(layer, side)[adapter].weight.copy_(value)


def activate(transformer: nn.Module, adapter: str, *, trained: bool) -> None:
    """Let one adapter act alone, and let it receive gradients or not; the others never do."""
    for layer in adapted_layers(transformer).values():
        layer.set_adapter(adapter)
        for side in _SIDES:
            getattr(layer, side)[adapter].weight.requires_grad_(trained)


@contextlib.contextmanager
def acting(transformer: nn.Module, adapter: str, then: str) -> Iterator[None]:
    """Let another, frozen adapter act inside a with block; afterwards `then` is trained on."""
    activate(transformer, adapter, trained=False)
    try:
        yield
    finally:
        activate(transformer, then, trained=True)


def adapter_parameters(transformer: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    """The trained tensors of an adapter under their published names."""
    return {
        f'{PREFIX}{name}.{side}.weight': cast('nn.Parameter', getattr(layer, side)[adapter].weight)
        for name, layer in adapted_layers(transformer).items()
        for side in _SIDES
    }
