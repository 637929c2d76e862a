"""A predictor of FLUX.1-dev's shape whose random weights are drawn on the device: for measuring.

Nothing is read or written, so that a GPU's speed and memory are known in a minute and without the
gated files. It is built and run as a prepared folder is; what it predicts means nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.flow import SCHEDULER_CLASS, FlowSchedule
from lotus2_ros.model.inference.autoencoder import Autoencoder, AutoencoderConfig
from lotus2_ros.model.inference.flat_tables import read_row, row_length
from lotus2_ros.model.inference.low_rank import DOWN, UP
from lotus2_ros.model.inference.modulation import Tables
from lotus2_ros.model.inference.quantization import (
    SCALE,
    EightBitFormat,
    eight_bit_format,
    quantize_rows,
)
from lotus2_ros.model.inference.skeleton import (
    NetworkShape,
    empty_transformer,
    fill,
    filled,
    shapes,
)
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.inference.vae import prepare_for_cpu
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.model.network import TaskNetwork
from lotus2_ros.model.portion import Portion
from lotus2_ros.model.prepared.names import Layer, block_layers, is_adapted
from lotus2_ros.model.prompt import TEXT_TOKENS
from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.runtime.acceleration import accelerates_in
from lotus2_ros.runtime.device import choose_device, choose_precision
from lotus2_ros.runtime.opening import Opened, made_ready
from lotus2_ros.runtime.placement import place
from lotus2_ros.settings import DEFAULT_MAX_SIDE, ModelSettings
from lotus2_ros.tools.random_layouts import RANDOM_LAYOUTS
from lotus2_ros.tools.random_model import RANKS
from lotus2_ros.training.recipe.random_base import FLUX_TRANSFORMER, FLUX_VAE, flux_parameters
from lotus2_ros.training.scheduler import SCHEDULER_CONFIG

_DEVIATION = 0.02
_SMALL = 1e-3
_SEED = 0


def random_predictor(
    settings: ModelSettings,
    *,
    sharpener: bool,
    transformer: dict[str, Any] | None = None,
    vae: dict[str, Any] | None = None,
    text_tokens: int = TEXT_TOKENS,
) -> Lotus2Predictor:
    """Build a predictor.

    Args:
        settings: `model` is one of `RANDOM_LAYOUTS`; tasks, device, precision and so on as ever.
        sharpener: whether it has sharpeners.
        transformer: other arguments of FluxTransformer2DModel than FLUX.1-dev's.
        vae: likewise of AutoencoderKL.
        text_tokens: length of the prompt.

    Raises:
        DeviceError: the device or precision cannot be had.
        SettingsError: 8 bits without acceleration.
        SelfCheckError: see `Lotus2Predictor.from_pretrained`.
    """
    places = place(
        settings.tasks,
        sharpener=sharpener,
        device=settings.device,
        normals_device=settings.normals_device,
        sharpener_device=settings.sharpener_device if sharpener else None,
    )
    opened = []
    for word, portion in places:
        device = choose_device(word, flux_parameters() if transformer is None else None)
        drawn = _drawn(settings, portion, device, transformer, vae, text_tokens)
        opened.append(made_ready(drawn, None, settings.text_merging))
    return Lotus2Predictor(opened, max_side=settings.max_side, sharpener=sharpener)


def _drawn(
    settings: ModelSettings,
    portion: Portion,
    device: torch.device,
    transformer: dict[str, Any] | None,
    vae: dict[str, Any] | None,
    text_tokens: int,
) -> Opened:
    config = {'guidance_embeds': True, **(transformer or FLUX_TRANSFORMER)}
    if device.type == 'cpu':
        keep_freed_memory()
    dtype = choose_precision(settings.precision, device)
    eight_bits = eight_bit_format(settings.precision)
    fast = accelerates_in(settings.precision, settings.acceleration, device)
    with torch.no_grad():
        maker = _Maker(
            NetworkShape.from_config(config),
            text_tokens,
            device,
            dtype,
            shared=RANDOM_LAYOUTS[settings.model],
            eight_bits=eight_bits,
        )
        networks = {name: maker.task(name, portion) for name in portion.tasks}
        autoencoder = maker.autoencoder(AutoencoderConfig.from_config(vae or FLUX_VAE))
    if device.type == 'cpu':
        prepare_for_cpu(autoencoder, Path(settings.model))
    schedule = FlowSchedule({'_class_name': SCHEDULER_CLASS, **SCHEDULER_CONFIG}, Path('FLUX.1'))
    weights = eight_bits.name if eight_bits else ''
    model = Lotus2Model(autoencoder, networks, schedule, maker.parameters, weights)
    return Opened(model, settings.model, device, dtype, DEFAULT_MAX_SIDE, fast)


class _RandomTables:
    """Constants of any timestep."""

    def __init__(self, shape: NetworkShape, device: torch.device, dtype: torch.dtype) -> None:
        self._shape, self._device, self._dtype = shape, device, dtype

    def at(self, timestep: float) -> Tables:
        """The constants of a timestep, which seeds them."""
        draw = torch.Generator(self._device).manual_seed(round(1000 * timestep))
        row = torch.randn(row_length(self._shape), generator=draw, device=self._device)
        return read_row((0.1 * row).to(self._dtype), self._shape)


class _Maker:
    """Draws the parts of one model, in the layout of a prepared folder."""

    def __init__(
        self,
        shape: NetworkShape,
        text_tokens: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        shared: bool,
        eight_bits: EightBitFormat | None,
    ) -> None:
        self._shape, self._text_tokens = shape, text_tokens
        self._device, self._dtype = device, dtype
        self._shared, self._eight_bits = shared, eight_bits
        self._draw = torch.Generator(device).manual_seed(_SEED)
        self._tables = _RandomTables(shape, device, dtype)
        self._sizes = shapes(empty_transformer(shape, text_tokens, None))
        layers = block_layers(shape)
        self._adapted = [layer for layer in layers if is_adapted(layer)]
        adapted = {f'{layer.name}.weight' for layer in self._adapted}
        in_blocks = {f'{layer.name}.weight' for layer in layers}
        self._common: dict[str, Tensor] = {}
        for key in (key for key in self._sizes if key not in adapted):
            self._common |= self._tensor(key, quantized=key in in_blocks)
        self._base: tuple[int, dict[str, Tensor]] | None = None

    @property
    def parameters(self) -> int:
        """Of one transformer, modulation left out."""
        return sum(math.prod(size) for size in self._sizes.values())

    def task(self, name: str, portion: Portion) -> TaskNetwork:
        """A task's networks, as far as they are in a portion."""
        rank = RANKS[name]
        with torch.device('meta'):
            lcm = LocalContinuityModule(self._shape.channels // 4)
        fill(lcm, {k: self._normal(tuple(v.shape), _SMALL) for k, v in lcm.state_dict().items()})
        conditioning = Conditioning(
            self._normal((1, self._text_tokens, self._shape.joint_width), 1.0),
            self._normal((1, self._shape.pooled_width), 1.0),
        )
        core = self._transformer(rank) if name in portion.cores else None
        sharp = self._transformer(rank) if name in portion.sharpeners else None
        return TaskNetwork(core, lcm.eval() if core else None, conditioning, sharp)

    def autoencoder(self, config: AutoencoderConfig) -> Autoencoder:
        """An autoencoder whose activations neither grow nor vanish."""
        with torch.device('meta'):
            vae = Autoencoder(config)
        tensors = {}
        for key, value in vae.state_dict().items():
            size = tuple(value.shape)
            if len(size) == 1:
                tensors[key] = self._constant(size, 1.0 if key.endswith('weight') else 0.0)
            else:
                tensors[key] = self._normal(size, 1 / math.sqrt(math.prod(size[1:])))
        fill(vae, tensors)
        return vae.eval()

    def _transformer(self, rank: int) -> InferenceTransformer:
        """One stage: whole, or as a difference from the first one where stages share a base."""
        if self._base is None or not self._shared:
            own: dict[str, Tensor] = {}
            for layer in self._adapted:
                own |= self._tensor(f'{layer.name}.weight', quantized=True)
            if self._base is None:
                self._base = rank, own
            tensors = self._common | own
        else:
            first, base = self._base
            tensors = self._common | base
            for layer in self._adapted:
                tensors |= self._difference(layer, rank + first)
        return filled(self._shape, self._text_tokens, self._tables, tensors)

    def _difference(self, layer: Layer, rank: int) -> dict[str, Tensor]:
        outputs, inputs = self._sizes[f'{layer.name}.weight']
        return {
            layer.name + DOWN: self._normal((len(layer.parts) * rank, inputs), _DEVIATION),
            layer.name + UP: self._normal((outputs, rank), _SMALL),
        }

    def _tensor(self, key: str, *, quantized: bool) -> dict[str, Tensor]:
        size = self._sizes[key]
        if key.endswith('heads.weight'):
            return {key: self._constant(size, 1.0)}
        if key == 'text':  # like the empty prompt: an end, then padding that is nearly equal
            value = self._normal((1, 1, size[2]), 1.0) + self._normal(size, _SMALL)
            value[:, :1] = self._normal((1, 1, size[2]), 1.0)
            return {key: value}
        value = self._normal(size, _DEVIATION)
        if self._eight_bits is None or not quantized:
            return {key: value}
        weight, scale = quantize_rows(value.float(), self._eight_bits)
        return {key: weight, key.removesuffix('.weight') + SCALE: scale}

    def _normal(self, size: tuple[int, ...], deviation: float) -> Tensor:
        value = torch.empty(size, dtype=self._dtype, device=self._device)
        return value.normal_(0, deviation, generator=self._draw)

    def _constant(self, size: tuple[int, ...], value: float) -> Tensor:
        return torch.full(size, value, dtype=self._dtype, device=self._device)
