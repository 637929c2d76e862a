"""The FLUX base: transformer and VAE built on the meta device and filled strictly by key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lotus2_ros.closing import Closing
from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.files import WeightFiles, read_json
from lotus2_ros.model.latents import PATCH
from lotus2_ros.model.lora import LoraWeights, merge, target_modules

VAE_FACTOR = 8

ShapesByKey = dict[str, tuple[int, ...]]


def _build(kind: Any, folder: Path) -> Any:
    """A module of the folder's configuration whose weights take no memory yet."""
    path = folder / 'config.json'
    config = read_json(path)
    if config.get('_class_name') != kind.__name__:
        msg = f'{path}: _class_name is {config.get("_class_name")!r}; expected {kind.__name__}'
        raise ModelFileError(msg)
    try:
        with torch.device('meta'):
            module = kind.from_config(config)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError) as err:
        raise ModelFileError(f'{path} makes no {kind.__name__}: {err}') from err
    return module.eval().requires_grad_(requires_grad=False)


def _shapes(module: nn.Module) -> ShapesByKey:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def _fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    module.load_state_dict(dict(tensors), strict=True, assign=True)
    module.requires_grad_(requires_grad=False)


def load_vae(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the base's `AutoencoderKL`.

    Args:
        folder: the `vae` folder.
        device: where to.
        dtype: precision of weights and arithmetic.

    Raises:
        ModelFileError: a file, key or shape is wrong, or the VAE does not reduce by 8.
    """
    from diffusers import AutoencoderKL  # seconds, which prepared models do without

    vae = _build(AutoencoderKL, folder)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    if factor != VAE_FACTOR:
        raise ModelFileError(f'{folder}: this VAE reduces by {factor}; FLUX reduces by 8')
    with WeightFiles.folder(folder) as files:
        files.check(_shapes(vae))
        _fill(vae, {key: files.tensor(key).to(device, dtype) for key in files.keys()})  # noqa: SIM118
    return vae


class BaseTransformer(Closing):
    """The base's `FluxTransformer2DModel`, from which each stage's transformer is made.

    The tensors that no adapter touches (modulation, norms, embedders, single blocks' MLPs) are
    loaded once and shared by all transformers made from one base.
    """

    def __init__(self, folder: Path) -> None:
        """Open the `transformer` folder and check its keys and shapes.

        Raises:
            ModelFileError: a file, key or shape is wrong.
        """
        from diffusers import FluxTransformer2DModel  # as above

        self._kind: Any = FluxTransformer2DModel
        self._folder = folder
        skeleton = _build(self._kind, folder)
        self.config: Any = skeleton.config
        self._shapes = _shapes(skeleton)
        self.targets = target_modules(skeleton)
        self._shared: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        self._files = WeightFiles.folder(folder)
        try:
            self._files.check(self._shapes)
        except ModelFileError:
            self._files.close()
            raise

    @property
    def parameters(self) -> int:
        """Number of parameters of one transformer."""
        return sum(torch.Size(shape).numel() for shape in self._shapes.values())

    @property
    def keys(self) -> list[str]:
        """Of all tensors."""
        return list(self._shapes)

    @property
    def files(self) -> WeightFiles:
        """The weights' files, their keys and shapes checked."""
        return self._files

    @property
    def latent_channels(self) -> int:
        """Channels of the unpacked latent."""
        return int(self.config.in_channels) // PATCH**2

    def close(self) -> None:
        """Unmap the files."""
        self._files.close()
        self._shared = {}

    def merged(
        self,
        adapter: LoraWeights,
        device: torch.device,
        dtype: torch.dtype,
        progress: Callable[[float], None] | None = None,
    ) -> Any:
        """Make a transformer with an adapter folded in, in float32, then rounded once.

        Args:
            adapter: checked against `targets`.
            device: where to.
            dtype: precision of weights and arithmetic.
            progress: told the fraction done.

        Raises:
            ModelFileError: a tensor cannot be read.
        """
        tensors: dict[str, Tensor] = {}
        for done, key in enumerate(self._shapes, start=1):
            pair = adapter.pairs.get(key.removesuffix('.weight'))
            if pair is not None:
                tensors[key] = merge(self._files.tensor(key).to(device), pair).to(dtype)
            else:
                tensors[key] = self._read(key, device, dtype)
            if progress is not None:
                progress(done / len(self._shapes))
        transformer = _build(self._kind, self._folder)
        _fill(transformer, tensors)
        return transformer

    def parts(self, keys: Iterable[str], device: torch.device, dtype: torch.dtype) -> Any:
        """Make a transformer that has some of its tensors; the others take no memory.

        Args:
            keys: of the tensors that it has.
            device: where to.
            dtype: precision of weights and arithmetic.

        Raises:
            ModelFileError: a tensor cannot be read.
        """
        transformer = _build(self._kind, self._folder)
        tensors = {key: self._read(key, device, dtype) for key in keys}
        # Not strict, since most keys are left out on purpose; those that are there were checked.
        transformer.load_state_dict(tensors, strict=False, assign=True)
        return transformer.requires_grad_(requires_grad=False)

    def _read(self, key: str, device: torch.device, dtype: torch.dtype) -> Tensor:
        """A tensor that no adapter touches."""
        place = (key, device, dtype)
        if place not in self._shared:
            self._shared[place] = self._files.tensor(key).to(device, dtype)
        return self._shared[place]


def load_fitting_vae(
    base: Path, transformer: BaseTransformer, device: torch.device, dtype: torch.dtype
) -> Any:
    """Load a base's VAE, see `load_vae`, for its transformer.

    Raises:
        ModelFileError: a file, key or shape is wrong, or the two do not fit.
    """
    vae = load_vae(base / 'vae', device, dtype)
    if vae.config.latent_channels != transformer.latent_channels:
        msg = (
            f'{base}: the VAE has {vae.config.latent_channels} latent channels, the transformer'
            f' takes {transformer.latent_channels}'
        )
        raise ModelFileError(msg)
    return vae
