"""Transformers with weights in 8 bits, made from FLUX's files and Lotus-2's while they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import Tensor

from lotus2_ros.model.base import BaseTransformer
from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.inference.modulation import Modulation
from lotus2_ros.model.inference.quantization import EightBitFormat
from lotus2_ros.model.inference.skeleton import NetworkShape, filled
from lotus2_ros.model.inference.transformer import InferenceTransformer
from lotus2_ros.model.lora import read_lora
from lotus2_ros.model.prepared.tables import weight_keys
from lotus2_ros.model.prepared.weights import WeightMaker
from lotus2_ros.model.prepared.writing import Entry

Progress = Callable[[str, float], None]


class EightBitStages:
    """Makes each stage's transformer with the tensors that a folder prepared so would hold.

    An adapter is folded in in float32 and the sum is rounded once; memory holds one layer in
    float32, never a network.
    """

    def __init__(
        self,
        base: BaseTransformer,
        conditioning: Conditioning,
        tell: Progress,
        kind: EightBitFormat,
    ) -> None:
        """Take the base.

        Args:
            base: opened.
            conditioning: on the device and in the precision of arithmetic.
            tell: told a stage's name and the fraction of it that is done.
            kind: format of the blocks' weights.
        """
        self.base, self.conditioning, self._tell = base, conditioning, tell
        device, dtype = conditioning.prompt.device, conditioning.prompt.dtype
        self._shape = NetworkShape.from_config(base.config)
        keys = weight_keys(self._shape, base.keys)
        self._modulation = Modulation(base.parts(keys, device, dtype), conditioning)
        self._maker = WeightMaker(base.files, self._shape, dtype, kind, device)
        self._shared: dict[str, Tensor] = {}

    def transformer(self, adapter_file: Path, stage: str) -> InferenceTransformer:
        """A transformer with an adapter folded in; a stage is told about by its name.

        Raises:
            ModelFileError: the adapter does not fit, or a tensor cannot be read.
        """
        adapter = read_lora(adapter_file, self.base.targets)
        if not self._shared:
            self._shared = self._made(self._maker.shared(self.conditioning), stage, 0.0)
        tensors = self._shared | self._made(self._maker.whole(adapter), stage, 0.5)
        tokens = self.conditioning.prompt.shape[1]
        return filled(self._shape, tokens, self._modulation, tensors)

    def fold(self, timesteps: Sequence[float]) -> None:
        """Let go of the modulation's weights, since only these timesteps will be asked for."""
        self._modulation.fold(timesteps)

    def _made(self, planned: Iterable[Entry], stage: str, began: float) -> dict[str, Tensor]:
        entries, tensors = list(planned), {}
        device = self.conditioning.prompt.device
        for done, entry in enumerate(entries, start=1):
            tensors[entry.key] = entry.make().to(device)
            self._tell(stage, began + 0.5 * done / len(entries))
        return tensors
