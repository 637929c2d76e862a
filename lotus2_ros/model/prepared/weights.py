"""What the weight files of a prepared folder hold, computed from FLUX's files tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.files import WeightFiles
from lotus2_ros.model.inference.quantization import SCALE, EightBitFormat, quantize_rows
from lotus2_ros.model.inference.skeleton import NetworkShape
from lotus2_ros.model.lora import LoraWeights, merge
from lotus2_ros.model.prepared.names import EDGES, Layer, block_layers, head_norms, is_adapted
from lotus2_ros.model.prepared.writing import Entry


@dataclass(slots=True)
class WeightMaker:
    """Plans the tensors of each component; they are read and computed when they are written.

    Attributes:
        files: FLUX's transformer.
        shape: its sizes.
        dtype: precision of what is not in 8 bits.
        eight_bits: format of the blocks' weights; None if they are in that precision too.
        device: where to compute.
    """

    files: WeightFiles
    shape: NetworkShape
    dtype: torch.dtype
    eight_bits: EightBitFormat | None
    device: torch.device
    _scales: dict[str, Tensor] = field(default_factory=dict)

    def shared(self, conditioning: Conditioning) -> Iterator[Entry]:
        """What no adapter touches: edges, norms, biases, the single blocks' feed forward, text."""
        length, width = conditioning.prompt.shape[1], self.shape.width
        yield Entry('text', self.dtype, (1, length, width), lambda: self._text(conditioning))
        for name in EDGES:
            for key in (f'{name}.weight', f'{name}.bias'):
                yield self._joined(key, (key,))
        for key, norms in head_norms(self.shape).items():
            size = 2, 1, self.shape.head_width
            yield Entry(key, self.dtype, size, partial(self._norms, norms))
        for layer in block_layers(self.shape):
            yield self._joined(f'{layer.name}.bias', [f'{part}.bias' for part in layer.parts])
            if not is_adapted(layer):
                yield from self._weight(layer, None)

    def whole(self, adapter: LoraWeights) -> Iterator[Entry]:
        """A stage's adapted layers, the adapter folded in."""
        for layer in self._adapted_layers():
            yield from self._weight(layer, adapter)

    def difference(self, adapter: LoraWeights, base: LoraWeights) -> Iterator[Entry]:
        """A stage's adapted layers as differences from those of a base stage.

        (W + B A) - (W + B0 A0) = [B, -B0] [A; A0], each factor rounded once.
        """
        rank = adapter.rank + base.rank
        for layer in self._adapted_layers():
            outputs, inputs = self._size(layer)
            size = len(layer.parts) * rank, inputs
            make = partial(self._down, layer, adapter, base)
            yield Entry(f'{layer.name}.down', self.dtype, size, make)
            make = partial(self._up, layer, adapter, base)
            yield Entry(f'{layer.name}.up', self.dtype, (outputs, rank), make)

    def _down(self, layer: Layer, adapter: LoraWeights, base: LoraWeights) -> Tensor:
        halves = [side.pairs[part][0] for part in layer.parts for side in (adapter, base)]
        return torch.cat([half.to(self.dtype) for half in halves])

    def _up(self, layer: Layer, adapter: LoraWeights, base: LoraWeights) -> Tensor:
        halves = [
            torch.cat([adapter.pairs[part][1].float(), -base.pairs[part][1].float()], 1)
            for part in layer.parts
        ]
        return torch.cat(halves).to(self.dtype)

    def _norms(self, layers: tuple[str, ...]) -> Tensor:
        return torch.stack([self._read(f'{n}.weight') for n in layers])[:, None].to(self.dtype)

    def _adapted_layers(self) -> Iterator[Layer]:
        return filter(is_adapted, block_layers(self.shape))

    def _size(self, layer: Layer) -> tuple[int, int]:
        shapes = [self.files.shape(f'{part}.weight') for part in layer.parts]
        return sum(shape[0] for shape in shapes), shapes[0][1]

    def _weight(self, layer: Layer, adapter: LoraWeights | None) -> Iterator[Entry]:
        key, size = f'{layer.name}.weight', self._size(layer)
        kind = self.eight_bits
        if kind is None:
            yield Entry(key, self.dtype, size, lambda: self._fold(layer, adapter).to(self.dtype))
            return
        yield Entry(key, kind.dtype, size, lambda: self._quantize(layer, adapter, kind))
        scale = layer.name + SCALE
        yield Entry(scale, torch.float32, size[:1], lambda: self._scales.pop(layer.name))

    def _quantize(self, layer: Layer, adapter: LoraWeights | None, kind: EightBitFormat) -> Tensor:
        weight, self._scales[layer.name] = quantize_rows(self._fold(layer, adapter), kind)
        return weight

    def _fold(self, layer: Layer, adapter: LoraWeights | None) -> Tensor:
        """A layer's weight (out, in) in float32."""
        weights = [self._read(f'{part}.weight') for part in layer.parts]
        if adapter is not None:
            pairs = [adapter.pairs[part] for part in layer.parts]
            weights = [merge(w, pair) for w, pair in zip(weights, pairs, strict=True)]
        return torch.cat([weight.float() for weight in weights])

    def _joined(self, key: str, parts: list[str] | tuple[str, ...]) -> Entry:
        shapes = [self.files.shape(part) for part in parts]
        size = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        return Entry(
            key,
            self.dtype,
            size,
            lambda: torch.cat([self._read(part) for part in parts]).to(self.dtype),
        )

    def _text(self, conditioning: Conditioning) -> Tensor:
        """The prompt as the blocks take it (1, L, D): computed in the precision they run in."""
        weight, bias = (
            self._read(f'context_embedder.{name}').to(self.dtype) for name in ('weight', 'bias')
        )
        return F.linear(conditioning.prompt.to(self.device, self.dtype), weight, bias)

    def _read(self, key: str) -> Tensor:
        return self.files.tensor(key).to(self.device)
