"""The golden check: an accelerated network against the plain one, layer by layer and on a picture.

Both have the same weights, so that all that differs is how they are computed: kernels, the order
of roundings, and in 8 bits the rounding of what goes into each product. The plain one brings such
weights to full precision one layer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lotus2_ros.errors import SelfCheckError
from lotus2_ros.model.inference.fast.operations import quantize, quantized
from lotus2_ros.model.inference.fast.rows import Rows, Wanted
from lotus2_ros.model.inference.fast.transformer import FastTransformer
from lotus2_ros.model.inference.fast.vae import FastAutoencoder
from lotus2_ros.model.inference.quantization import EightBitFormat, eight_bit_format
from lotus2_ros.model.latents import decode_latents, encode_images, pack
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.model.network import CORE_TIMESTEP
from lotus2_ros.runtime.device import computing_on, device_name
from lotus2_ros.runtime.preprocess import prepare_image
from lotus2_ros.types import UInt8Array

TOLERANCES = {'float32': 1e-4, 'bfloat16': 0.05, 'int8': 0.1, 'fp8': 0.15}
"""Largest error of the output latent, relative to its norm, by precision of the weights.

The most that was measured on sound networks is 7e-7, 0.017, 0.023 and 0.055, on a CPU, with nano
and with random weights in few blocks and in FLUX's 57; a GPU adds up in another order. On an H200,
FLUX's 57 gave 0.015 in bfloat16 and 0.097 in fp8.
"""

LAYER_TOLERANCES = {'float32': 1e-4, 'bfloat16': 0.02, 'int8': 0.02, 'fp8': 0.02}
"""Likewise of one layer's outputs, for inputs that fit into 8 bits, so that no more is rounded."""

AUTOENCODER_TOLERANCES = {'float32': 1e-3, 'bfloat16': 0.1}
"""Largest error of a latent or of a decoded picture, relative to its norm.

In bfloat16 the plain one is further from float32 than the accelerated one is.
"""

_LAYER_ROWS = 128
"""As many as a program of FLUX's own products takes."""

_POWER_OF_TWO = 2.0**-6
_SIZE = 240, 320
"""What nano is trained at: in smaller pictures it magnifies rounding up to ten times as much."""

_SQUARE, _RADIUS = 40, 47
"""Sizes of what is in the picture, in pixels; whole numbers give the same bytes everywhere."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How near an accelerated transformer is to the plain one.

    Attributes:
        stage: task and kind.
        error: norm of the difference of the latents, relative to the plain one's.
        tolerance: what is allowed.
    """

    stage: str
    error: float
    tolerance: float


def check_model(model: Lotus2Model, device: torch.device, dtype: torch.dtype) -> list[Agreement]:
    """Hold every accelerated transformer of a model against the plain one that it was made from.

    First each linear layer by itself, then the whole on a picture.

    Args:
        model: accelerated or not; what is not is passed over.
        device: that it is on.
        dtype: of arithmetic.

    Raises:
        SelfCheckError: one is further off than its precision allows, or not finite.
    """
    arithmetic = str(dtype).removeprefix('torch.')
    precision = model.weights or arithmetic
    found = []
    with torch.inference_mode(), computing_on(device):
        image = prepare_image(golden_picture(), [_SIZE], device, dtype)
        latent = encode_images(model.vae, image)
        if isinstance(model.vae, FastAutoencoder):
            found += _autoencoder(model.vae, image, latent, arithmetic)
        sharpening = model.schedule.steps(1, pack(latent).shape[1])[0].timestep
        for name, network in model.tasks.items():
            for kind, transformer, timestep in (
                ('core', network.core_transformer, CORE_TIMESTEP),
                ('sharpener', network.sharpener_transformer, sharpening),
            ):
                if isinstance(transformer, FastTransformer):
                    for layer in _layers(f'{name} {kind}', transformer, precision, latent):
                        _judge(layer, precision, device)
                    fast, plain = transformer(latent, timestep), transformer.plain(latent, timestep)
                    error = relative_error(fast, plain)
                    found.append(Agreement(f'{name} {kind}', error, TOLERANCES[precision]))
    for agreement in found:
        _judge(agreement, precision, device)
    return found


def _autoencoder(
    fast: FastAutoencoder, image: Tensor, latent: Tensor, precision: str
) -> list[Agreement]:
    """The accelerated autoencoder's two halves against the plain one's."""
    tolerance = AUTOENCODER_TOLERANCES[precision]
    encoding = relative_error(latent, encode_images(fast.plain, image))
    decoded, expected = (decode_latents(vae, latent) for vae in (fast, fast.plain))
    return [
        Agreement('encoder', encoding, tolerance),
        Agreement('decoder', relative_error(decoded, expected), tolerance),
    ]


def _layers(
    stage: str, transformer: FastTransformer, precision: str, like: Tensor
) -> Iterator[Agreement]:
    """Every linear layer by itself: in a deep network one that is wrong changes the latent little.

    Args:
        stage: task and kind.
        transformer: whose layers are held against the plain network's.
        precision: of the weights.
        like: on the device and in the precision of arithmetic.
    """
    draws: dict[int, Rows] = {}
    eight_bits = eight_bit_format(precision)
    for name, fast, plain in transformer.layers():
        width = int(cast('Any', plain).in_features)
        if width not in draws:
            draws[width] = _rows(width, like, eight_bits)
        rows = draws[width]
        assert rows.plain is not None
        error = relative_error(fast(rows), plain(rows.plain))
        yield Agreement(f'{stage} in {name}', error, LAYER_TOLERANCES[precision])


def _rows(width: int, like: Tensor, eight_bits: EightBitFormat | None) -> Rows:
    """Random rows (N, width); where some are read in 8 bits, those are the same as the plain."""
    drawn = torch.randn(_LAYER_ROWS, width, generator=torch.Generator().manual_seed(width))
    drawn[::2].abs_()  # every other row to one side of zero, as GELU's lie
    values = drawn.to(like)
    if eight_bits is not None:
        # Times a power of two, which bfloat16 holds and which becomes their scale again.
        narrow = quantize(values, eight_bits)
        exact = narrow.values.float()
        if narrow.offsets is not None:
            exact += narrow.offsets[:, None]
        values = (exact * _POWER_OF_TWO).to(like.dtype)
    return Rows(values, quantized(values, Wanted(plain=True, eight_bits=eight_bits)))


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Norm of the difference relative to the norm of what is expected; NaN if any is not finite."""
    difference = torch.linalg.vector_norm(value.double() - expected.double())
    norm = torch.linalg.vector_norm(expected.double())
    return float(difference / norm)


def golden_picture() -> UInt8Array:
    """A floor of squares that darkens with distance under a bright wall, with a red ball."""
    height, width = _SIZE
    rows, columns = np.mgrid[:height, :width]
    squares = (rows // _SQUARE + columns // _SQUARE) % 2
    floor = 40 + 100 * rows // height + 50 * squares
    wall = 150 + 80 * columns // width
    gray = np.where(rows < height // 3, wall, floor)
    picture = np.stack([gray, gray * 9 // 10, gray * 8 // 10], axis=2)
    distance = (rows - height // 2) ** 2 + (columns - width // 3) ** 2
    ball = distance < _RADIUS**2
    picture[ball] = 30
    picture[ball, 0] = 230 - 150 * distance[ball] // _RADIUS**2
    return picture.astype(np.uint8)


def _judge(agreement: Agreement, precision: str, device: torch.device) -> None:
    if agreement.error <= agreement.tolerance:  # false for NaN too
        return
    msg = (
        f'self-check: the accelerated {agreement.stage} differs from the plain one by'
        f' {agreement.error:.3g} of its norm on {device_name(device)}; {agreement.tolerance:g} is'
        f' allowed in {precision}. Its results cannot be trusted: set acceleration to off'
    )
    raise SelfCheckError(msg)
