"""Whether a model runs on the network for GPUs, and putting it there."""

from __future__ import annotations

import torch

from lotus2_ros.errors import DeviceError, SettingsError
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.fast.vae import FastAutoencoder
from lotus2_ros.model.inference.quantization import EightBitFormat, eight_bit_format
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.runtime.device import AUTO, device_name
from lotus2_ros.settings import ModelSettings

ON, OFF = 'on', 'off'
CHOICES = (AUTO, OFF, ON)
CAPABILITY = 8, 0
"""Least compute capability of a GPU: bfloat16 and the kernels that Triton compiles.

Products in 8 bits may need a later one, see `EightBitFormat`.
"""


def choose_acceleration(
    setting: str | None, device: torch.device, *, eight_bits: EightBitFormat | None
) -> tuple[bool, str]:
    """Whether to accelerate, and, where not, why.

    Args:
        setting: 'on', 'off'; 'auto' is on where a GPU can, off elsewhere; None is the setting's
            default. On a CPU, on is possible too: the same arithmetic, no faster.
        device: that the model runs on.
        eight_bits: format of its weights; None if they are not in 8 bits.

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
        SettingsError: 8 bits without acceleration; or see `choose_acceleration`.
        DeviceError: see `choose_acceleration`.
    """
    eight_bits = eight_bit_format(precision)
    fast, reason = choose_acceleration(setting, device, eight_bits=eight_bits)
    if eight_bits is not None and not fast:
        msg = f'precision is {precision}, which only the accelerated network computes, but {reason}'
        raise SettingsError(f'{msg}; set acceleration to on, or precision to auto')
    return fast


def _lacking(device: torch.device, eight_bits: EightBitFormat | None) -> str:
    """What a device needs and has not; empty if nothing."""
    if device.type != 'cuda':
        return ''
    found, least, what = torch.cuda.get_device_capability(device), CAPABILITY, 'it needs'
    if eight_bits is not None and eight_bits.capability > least:
        least, what = eight_bits.capability, f'products in {eight_bits.name} need'
    if found < least:
        have, need = (f'{major}.{minor}' for major, minor in (found, least))
        return f'{device_name(device)} has compute capability {have}, {what} {need}'
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
        DeviceError: a layer stored in 8 bits has widths that its products do not take.
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
