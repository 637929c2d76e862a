"""Which device and precision a model runs on; what was asked for, or an error, never less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from lotus2_ros.errors import DeviceError
from lotus2_ros.model.inference.quantization import EIGHT_BIT_FORMATS
from lotus2_ros.settings import AUTO_CPU_PARAMETER_LIMIT

AUTO = 'auto'
PRECISIONS = {
    'float32': torch.float32,
    'bfloat16': torch.bfloat16,
    **dict.fromkeys(EIGHT_BIT_FORMATS, torch.bfloat16),
}
"""Name to precision of arithmetic; 8 bits are for weights and products, the rest is bfloat16."""


def choose_device(device: str | None, parameters: int | None) -> torch.device:
    """Turn a device setting into a device that exists.

    Args:
        device: 'cpu', 'cuda', 'cuda:N'; None or 'auto' takes a GPU if present, and the CPU only
            for a model of at most `AUTO_CPU_PARAMETER_LIMIT` parameters.
        parameters: of one transformer; None while it is not known, which lets 'auto' pass.

    Raises:
        DeviceError: no such device, or the model is too large to run on the CPU unasked.
    """
    if device is None or device == AUTO:
        if torch.cuda.is_available():
            return torch.device('cuda', torch.cuda.current_device())
        if parameters is not None and parameters > AUTO_CPU_PARAMETER_LIMIT:
            msg = (
                f'no GPU, and {parameters / 1e6:.0f} million parameters are too slow on a CPU to'
                " run there unasked; set device to 'cpu' to do so"
            )
            raise DeviceError(msg)
        return torch.device('cpu')
    try:
        chosen = torch.device(device)
    except RuntimeError as err:
        raise DeviceError(f'device is {device!r}; allowed: auto, cpu, cuda, cuda:N') from err
    if chosen.type == 'cuda':
        return _existing_gpu(chosen)
    if chosen.type != 'cpu':
        raise DeviceError(f'device is {device!r}; allowed: auto, cpu, cuda, cuda:N')
    return torch.device('cpu')


def _existing_gpu(device: torch.device) -> torch.device:
    if not torch.cuda.is_available():
        build = 'no CUDA' if torch.version.cuda is None else f'CUDA {torch.version.cuda}'
        msg = f'device is {device} but no GPU can be used (this torch has {build})'
        raise DeviceError(msg)
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= torch.cuda.device_count():
        msg = f'device is {device} but there are only {torch.cuda.device_count()} GPUs'
        raise DeviceError(msg)
    return torch.device('cuda', index)


def choose_precision(precision: str | None, device: torch.device) -> torch.dtype:
    """Turn a precision setting into a torch type; auto is bfloat16 on a GPU, float32 on a CPU.

    Raises:
        DeviceError: an unknown name, or the GPU cannot do bfloat16.
    """
    name = precision or AUTO
    if name == AUTO:
        name = 'bfloat16' if device.type == 'cuda' else 'float32'
    if name not in PRECISIONS:
        msg = f'precision is {precision!r}; allowed: {AUTO}, {", ".join(PRECISIONS)}'
        raise DeviceError(msg)
    if PRECISIONS[name] == torch.bfloat16 and device.type == 'cuda':
        with torch.cuda.device(device):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                msg = f'{device_name(device)} has no bfloat16; set precision to float32'
                raise DeviceError(msg)
    return PRECISIONS[name]


def device_name(device: torch.device) -> str:
    """The device in words."""
    if device.type == 'cuda':
        return f'{device} ({torch.cuda.get_device_name(device)})'
    return str(device)


@contextlib.contextmanager
def computing_on(device: torch.device) -> Iterator[None]:
    """Compute on a device inside a with block, always with the same algorithms.

    On a GPU it is the current one, for kernels that go to the current one, and cuDNN uses only
    deterministic algorithms in full precision: else a convolution's algorithm may depend on what
    ran before, and float32 convolutions round their inputs to TF32.
    """
    if device.type != 'cuda':
        yield
        return
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with torch.cuda.device(device), exact:
        yield
