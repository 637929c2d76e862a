"""A prepared folder as it is read: its parts by name, straight onto a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.files import WEIGHTS_STEM, WeightFiles, read_json
from lotus2_ros.model.flow import FlowSchedule
from lotus2_ros.model.inference.autoencoder import Autoencoder, AutoencoderConfig
from lotus2_ros.model.inference.low_rank import DOWN, UP
from lotus2_ros.model.inference.quantization import SCALE, eight_bit_format
from lotus2_ros.model.inference.skeleton import NetworkShape, empty_transformer, shapes
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.prepared.manifest import Manifest, check_lengths
from lotus2_ros.model.prepared.names import (
    SCHEDULER,
    SHARED,
    TRANSFORMER,
    VAE,
    block_layers,
    is_adapted,
)
from lotus2_ros.model.prepared.tables import PreparedModulation
from lotus2_ros.model.prepared.writing import WEIGHTS
from lotus2_ros.model.prompt import PROMPT_FILE, read_conditioning
from lotus2_ros.types import PREPARED_FILE


def find_prepared(model: str | Path) -> Path | None:
    """The folder that a model's name means if it holds a prepared model, else None."""
    folder = Path(model).expanduser()
    return folder.resolve() if (folder / PREPARED_FILE).is_file() and str(model) else None


class PreparedFolder:
    """The parts of a prepared model.

    What several stages share is read once for each device and handed out again: the same tensors.

    Attributes:
        path: of the folder.
        manifest: see `Manifest`.
        shape: of the transformer.
    """

    def __init__(self, path: Path) -> None:
        """Read the manifest and see that every file is there at its length.

        Raises:
            ModelFileError: it is damaged; naming the file.
        """
        self.path = path
        self.manifest = Manifest.read(path)
        check_lengths(path, self.manifest)
        config = path / TRANSFORMER
        try:
            self.shape = NetworkShape.from_config(read_json(config))
        except (KeyError, TypeError, ValueError) as err:
            raise ModelFileError(f'{config} makes no transformer: {err!r}') from err
        self._expected = shapes(empty_transformer(self.shape, self.manifest.text_tokens, None))
        self._eight_bits = eight_bit_format(self.manifest.precision)
        self._in_blocks = {f'{layer.name}.weight' for layer in block_layers(self.shape)}
        self._shared: dict[tuple[str, torch.device], dict[str, Tensor]] = {}

    @property
    def dtype(self) -> torch.dtype:
        """Precision of arithmetic, and of all that is not in 8 bits."""
        return torch.float32 if self.manifest.precision == 'float32' else torch.bfloat16

    def stage(
        self, name: str, device: torch.device, progress: Callable[[float], None] | None = None
    ) -> dict[str, Tensor]:
        """Everything that one stage's transformer holds, as it is stored.

        Keys are those of an InferenceTransformer's state. Where weights are in 8 bits there is a
        `<layer>.weight_scale` (out,) float32 beside the `<layer>.weight`; where the stage is stored
        as a difference, `<layer>.down` (G * R, in) and `<layer>.up` (out, R) beside the base
        stage's weight; see `LowRankLinear`.

        Args:
            name: one of the manifest's stages.
            device: where to.
            progress: told the fraction done.

        Raises:
            ModelFileError: no such stage, or a file, key or shape is wrong.
        """
        manifest = self.manifest
        if name not in manifest.stages:
            known = ', '.join(manifest.stages)
            raise ModelFileError(f'{self.path} holds no {name}; it holds {known}')
        tell = progress or (lambda _fraction: None)
        different = manifest.layout == 'shared' and name != manifest.base_stage
        parts = [SHARED, manifest.base_stage, name] if different else [SHARED, name]
        tensors: dict[str, Tensor] = {}
        for index, part in enumerate(parts):

            def forward(fraction: float, index: int = index) -> None:
                tell((index + fraction) / len(parts))

            tensors |= self._component(part, device, forward)
        return tensors

    def release(self) -> None:
        """Let go of what was kept for stages to come."""
        self._shared = {}

    def vae(self, device: torch.device) -> Autoencoder:
        """The autoencoder.

        Raises:
            ModelFileError: a file, key or shape is wrong.
        """
        config = self.path / VAE
        try:
            with torch.device('meta'):
                vae = Autoencoder(AutoencoderConfig.from_config(read_json(config)))
        except (KeyError, TypeError, ValueError) as err:
            raise ModelFileError(f'{config} makes no autoencoder: {err!r}') from err
        with WeightFiles.folder(config.parent, WEIGHTS_STEM) as files:
            _fill(vae, files, device)
        return vae

    def lcm(self, task: str, device: torch.device) -> LocalContinuityModule:
        """A task's local continuity module.

        Raises:
            ModelFileError: a file, key or shape is wrong.
        """
        with torch.device('meta'):
            lcm = LocalContinuityModule(self.shape.channels // 4)
        with WeightFiles.single(self.path / f'{task}_lcm.safetensors') as files:
            _fill(lcm, files, device)
        return lcm

    def conditioning(self, device: torch.device) -> Conditioning:
        """The prompt's embeddings, in the precision of arithmetic.

        Raises:
            ModelFileError: a file, key or shape is wrong.
        """
        path = self.path / PROMPT_FILE
        stored = read_conditioning(path, self.shape.joint_width, self.shape.pooled_width)
        return stored.to(device, self.dtype)

    def modulation(self, device: torch.device) -> PreparedModulation:
        """The constants of each timestep.

        Raises:
            ModelFileError: a file, key or shape is wrong.
        """
        pooled = self.conditioning(device).pooled
        return PreparedModulation(self.path, self.shape, pooled)

    def schedule(self) -> FlowSchedule:
        """The sharpener's steps.

        Raises:
            ModelFileError: the file is wrong.
        """
        path = self.path / SCHEDULER
        return FlowSchedule(read_json(path), path)

    def _component(
        self, name: str, device: torch.device, tell: Callable[[float], None]
    ) -> dict[str, Tensor]:
        kept = self._shared.get((name, device))
        if kept is not None:
            return kept
        tensors = {}
        with WeightFiles.folder(self.path / name, WEIGHTS) as files:
            expected = self._shapes(name, files)
            files.check(expected)
            for done, key in enumerate(expected, start=1):
                tensors[key] = files.stored(key, device)
                self._check_precision(files.path(key), key, tensors[key])
                tell(done / len(expected))
        if name in {SHARED, self.manifest.base_stage}:
            self._shared[name, device] = tensors
        return tensors

    def _shapes(self, name: str, files: WeightFiles) -> dict[str, tuple[int, ...]]:
        """Keys and shapes that a component must have."""
        layers = {layer.name: is_adapted(layer) for layer in block_layers(self.shape)}
        adapted = {f'{layer}.weight' for layer, yes in layers.items() if yes}
        manifest = self.manifest
        if name != SHARED and manifest.layout == 'shared' and name != manifest.base_stage:
            return self._factor_shapes(files)
        chosen = set(self._expected) - adapted if name == SHARED else adapted
        shapes = {key: self._expected[key] for key in self._expected if key in chosen}
        if self._eight_bits is not None:
            weights = [layer for layer in layers if f'{layer}.weight' in shapes]
            shapes |= {layer + SCALE: shapes[f'{layer}.weight'][:1] for layer in weights}
        return shapes

    def _factor_shapes(self, files: WeightFiles) -> dict[str, tuple[int, ...]]:
        """Of a difference, whose rank its files tell."""
        first = next((key for key in sorted(files.keys()) if key.endswith(UP)), None)
        rank = files.shape(first)[-1] if first is not None and files.shape(first) else 0
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in filter(is_adapted, block_layers(self.shape)):
            outputs, inputs = self._expected[f'{layer.name}.weight']
            shapes[layer.name + DOWN] = len(layer.parts) * rank, inputs
            shapes[layer.name + UP] = outputs, rank
        return shapes

    def _check_precision(self, path: Path, key: str, tensor: Tensor) -> None:
        expected = self.dtype
        if key.endswith(SCALE):
            expected = torch.float32
        elif self._eight_bits is not None and key in self._in_blocks:
            expected = self._eight_bits.dtype
        if tensor.dtype != expected:
            raise ModelFileError(f'{path}: {key} is {tensor.dtype}; expected {expected}')


def _fill(module: Any, files: WeightFiles, device: torch.device) -> None:
    files.check(shapes(module))
    tensors = {key: files.stored(key, device) for key in files.keys()}  # noqa: SIM118
    module.load_state_dict(tensors, strict=True, assign=True)
    module.eval().requires_grad_(requires_grad=False)
