"""Whether a model runs on the network for GPUs, and putting it there."""

from __future__ import annotations

import torch

from lotus2_ros.errors import DeviceError, SettingsError
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.fast.vae import FastAutoencoder
from lotus2_ros.model.inference.quantization import EIGHT_BIT_NAME
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.runtime.device import AUTO, device_name
from lotus2_ros.settings import ModelSettings

ON, OFF = 'on', 'off'
CHOICES = (AUTO, OFF, ON)
CAPABILITY = 8, 0
"""Least compute capability of a GPU: bfloat16 and the kernels that Triton compiles."""
EIGHT_BIT_CAPABILITY = 8, 9
"""Likewise for products in float8."""


def choose_acceleration(
    setting: str | None, device: torch.device, *, eight_bits: bool
) -> tuple[bool, str]:
    """Whether to accelerate, and, where not, why.

    Args:
        setting: 'on', 'off'; 'auto' is on where a GPU can, off elsewhere; None is the setting's
            default. On a CPU, on is possible too: the same arithmetic, no faster.
        device: that the model runs on.
        eight_bits: whether its weights are in 8 bits.

    Raises:
        SettingsError: an unknown word.
        DeviceError: it is on, and something is missing; says what.
    """
    word = setting or ModelSettings.defaults()['acceleration']
    if word not in CHOICES:
        raise SettingsError(f'acceleration is {setting!r}; allowed: {", ".join(CHOICES)}')
    if word == OFF:
        return False, 'acceleration is off'
    lacking = _lacking(device, eight_bits)
    if word == AUTO and device.type != 'cuda':
        return False, f'acceleration is auto and {device} is no CUDA GPU'
    if not lacking:
        return True, ''
    if word == ON:
        raise DeviceError(f'acceleration is on, but {lacking}; set it to auto or off')
    return False, f'acceleration is auto and {lacking}'


def accelerates_in(precision: str | None, setting: str | None, device: torch.device) -> bool:
    """Whether to accelerate a model whose weights are brought to a precision while it is loaded.

    Args:
        precision: that was asked for, see `choose_precision`.
        setting: see `choose_acceleration`, as `device`.
        device: that the model runs on.

    Raises:
        SettingsError: fp8 without acceleration; or see `choose_acceleration`.
        DeviceError: see `choose_acceleration`.
    """
    eight_bits = precision == EIGHT_BIT_NAME
    fast, reason = choose_acceleration(setting, device, eight_bits=eight_bits)
    if eight_bits and not fast:
        msg = f'precision is fp8, which only the accelerated network computes, but {reason}'
        raise SettingsError(f'{msg}; set acceleration to on, or precision to auto')
    return fast


def _lacking(device: torch.device, eight_bits: bool) -> str:
    """What a device needs and has not; empty if nothing."""
    if device.type != 'cuda':
        return ''
    found, least = torch.cuda.get_device_capability(device), CAPABILITY
    if eight_bits:
        least = EIGHT_BIT_CAPABILITY
    if found < least:
        kind = 'products in float8 need' if eight_bits else 'it needs'
        have, need = (f'{major}.{minor}' for major, minor in (found, least))
        return f'{device_name(device)} has compute capability {have}, {kind} {need}'
    try:
        import triton  # noqa: F401 (whether it is there is the question)
    except ImportError as err:
        return f'Triton cannot be imported ({err})'
    return ''


def accelerate(model: Lotus2Model, device: torch.device, text_merging: float = 0.0) -> None:
    """Put a model's networks into those for GPUs, which share its weights.

    Args:
        model: on its device.
        device: elsewhere than on a GPU the autoencoder stays: there it has a fast form already.
        text_merging: see `merge_text`.

    Raises:
        DeviceError: a layer stored in 8 bits has widths that products in float8 do not take.
    """
    for network in model.tasks.values():
        if network.core_transformer is not None:
            network.core_transformer = FastTransformer(
                network.core_transformer, text_merging=text_merging
            )
        if network.sharpener_transformer is not None:
            network.sharpener_transformer = FastTransformer(
                network.sharpener_transformer, text_merging=text_merging
            )
    if device.type == 'cuda':
        model.vae = FastAutoencoder(model.vae)
