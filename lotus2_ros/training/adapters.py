"""Low-rank adapters in training: several per linear layer, one of them active at a time.

An adapted layer computes x (W + B A)ᵀ + b, which is LoRA with alpha = rank and what the loader
merges. The active adapter is chosen by an index tensor, not by a Python value, so that one compiled
block serves every task and both stages.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lotus2_ros.model.lora import target_modules


class Selector:
    """Names the active adapter of all layers that share it."""

    def __init__(self, slots: tuple[str, ...], device: torch.device | str) -> None:
        self.slots = slots
        self._indices = torch.arange(len(slots), device=device)
        self.index = self._indices[0]

    def choose(self, slot: str) -> None:
        """Make a slot active.

        Raises:
            ValueError: there is no such slot.
        """
        self.index = self._indices[self.slots.index(slot)]


class AdaptedLinear(nn.Module):
    """A linear layer with S low-rank adapters, (S, rank, in) and (S, out, rank)."""

    def __init__(self, linear: nn.Linear, rank: int, selector: Selector) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        count = len(selector.slots)
        self.down = nn.Parameter(
            torch.randn(count, rank, linear.in_features, device=linear.weight.device)
            * linear.in_features**-0.5
        )
        self.up = nn.Parameter(
            torch.zeros(count, linear.out_features, rank, device=linear.weight.device)
        )
        self._selector = selector

    def forward(self, features: Tensor) -> Tensor:
        """Apply the layer with the active adapter to (..., in)."""
        index = self._selector.index
        delta = self.up.index_select(0, index[None])[0] @ self.down.index_select(0, index[None])[0]
        return F.linear(features, self.weight + delta, self.bias)


def adapt(transformer: nn.Module, rank: int, selector: Selector) -> list[str]:
    """Replace every target layer by an adapted one.

    Returns:
        The dotted names of the layers that were replaced.
    """
    names = list(target_modules(transformer))
    for name in names:
        linear = transformer.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        parent, _, leaf = name.rpartition('.')
        setattr(transformer.get_submodule(parent), leaf, AdaptedLinear(linear, rank, selector))
    return names


def adapter_state(transformer: nn.Module, slot: str) -> dict[str, Tensor]:
    """One adapter in the published files' layout: `transformer.<module>.lora_{A,B}.weight`."""
    state: dict[str, Tensor] = {}
    for name, module in transformer.named_modules():
        if isinstance(module, AdaptedLinear):
            index = module._selector.slots.index(slot)
            state[f'transformer.{name}.lora_A.weight'] = module.down[index].detach().clone()
            state[f'transformer.{name}.lora_B.weight'] = module.up[index].detach().clone()
    return state


def base_state(transformer: nn.Module) -> dict[str, Tensor]:
    """The transformer's own weights without adapters, under their ordinary names."""
    return {
        name: value.detach()
        for name, value in transformer.state_dict().items()
        if not name.endswith(('.down', '.up'))
    }
