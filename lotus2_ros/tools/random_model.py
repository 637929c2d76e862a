"""Write a model of random weights, in the layout of the published files, to measure with.

FLUX.1-dev is gated and its licence is not everyone's; speed and memory need its shape alone. What
such a model predicts means nothing. The same seed gives the same files on the same device.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.model.files import WEIGHTS_STEM
from lotus2_ros.model.flow import SCHEDULER_CLASS
from lotus2_ros.model.lcm import LocalContinuityModule
from lotus2_ros.model.loading import ABOUT_FILE
from lotus2_ros.model.lora import PREFIX, target_modules
from lotus2_ros.model.prepared.writing import Entry, write_weights
from lotus2_ros.model.prompt import POOLED_KEY, PROMPT_FILE, PROMPT_KEY, TEXT_TOKENS
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.tools.json_files import write_json
from lotus2_ros.tools.progress import progress_bars

RANKS = {'depth': 128, 'normals': 256}
"""Of the published adapters."""

_GIB = 1 << 30
_SHARD = 8 * _GIB
_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument('--out', type=Path, required=True, help='new folder; 25 to 28 GB')
    parser.add_argument(
        '--tasks', nargs='+', default=list(TASKS), choices=TASKS, metavar='TASK',
        help='whose adapters to write (default: both)',
    )  # fmt: skip
    parser.add_argument('--device', default='cpu', help='where to draw (default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    """Write a model of FLUX.1-dev's shape.

    Returns:
        0.

    Raises:
        Lotus2Error: the folder exists, the disk is too small or the device is not there.
    """
    from lotus2_ros.runtime.device import choose_device
    from lotus2_ros.training.recipe.random_base import FLUX_TRANSFORMER, FLUX_VAE

    device = choose_device(args.device, None)
    transformer = {**FLUX_TRANSFORMER, 'guidance_embeds': True}
    with progress_bars() as tell:
        write_random_model(
            args.out.expanduser(),
            transformer,
            FLUX_VAE,
            {name: RANKS[name] for name in args.tasks},
            text_tokens=TEXT_TOKENS,
            device=device,
            progress=partial(tell, 'weights'),
        )
    print(f'{args.out}: random weights of the shape of FLUX.1-dev, tasks {" ".join(args.tasks)}')
    return 0


def write_random_model(
    out: Path,
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    ranks: Mapping[str, int],
    *,
    text_tokens: int,
    device: torch.device,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write all files of a model, in bfloat16, one tensor in memory at a time.

    Args:
        out: new folder.
        transformer: arguments of FluxTransformer2DModel.
        vae: arguments of AutoencoderKL.
        ranks: task to its adapters' rank.
        text_tokens: length of the prompt.
        device: where weights are drawn.
        progress: told the fraction done.

    Raises:
        ModelFileError: the folder exists or the disk is too small.
        SettingsError: no task is named.
    """
    if not ranks:
        raise SettingsError(f'tasks is empty; allowed: {", ".join(TASKS)}')
    if out.exists():
        raise ModelFileError(f'{out} exists; give a new folder, or remove that one first')
    out.parent.mkdir(parents=True, exist_ok=True)
    plan = _plan(transformer, vae, ranks, text_tokens, _Draw(device))
    total = sum(entry.size for _, _, entries in plan for entry in entries)
    free = shutil.disk_usage(out.parent).free
    if free < total:
        msg = f'{out.parent} has {free / _GIB:.1f} GiB free, {total / _GIB:.1f} GiB are needed'
        raise ModelFileError(msg)
    part = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
    written = 0

    def wrote(size: int) -> None:
        nonlocal written
        written += size
        if progress is not None:
            progress(written / total)

    try:
        for folder, stem, entries in plan:
            write_weights(part / folder, entries, _SHARD, wrote, stem)
        _write_configs(part, transformer, vae)
        part.chmod(0o755)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part)
        raise


class _Draw:
    """Random weights on a device, from a generator of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._generator = torch.Generator(device).manual_seed(_SEED)

    def __call__(self, key: str, shape: tuple[int, ...]) -> Tensor:
        """Keeps activations of order one, norms near one; biases are small."""
        values = torch.randn(shape, generator=self._generator, device=self._device)
        if len(shape) > 1:
            values /= math.sqrt(math.prod(shape[1:]))
        else:
            values *= 0.02
            values += 1.0 if key.endswith('weight') else 0.0
        return values.bfloat16()

    def entry(self, key: str, shape: Sequence[int]) -> Entry:
        """A tensor to be drawn when it is written."""
        size = tuple(shape)
        return Entry(key, torch.bfloat16, size, partial(self, key, size))


def _plan(
    transformer: Mapping[str, Any],
    vae: Mapping[str, Any],
    ranks: Mapping[str, int],
    text_tokens: int,
    draw: _Draw,
) -> list[tuple[str, str, list[Entry]]]:
    """Folder, stem and tensors of every weight file."""
    from diffusers import AutoencoderKL, FluxTransformer2DModel

    kinds: tuple[Any, Any] = (FluxTransformer2DModel, AutoencoderKL)
    with torch.device('meta'):
        networks = [kind(**config) for kind, config in zip(kinds, (transformer, vae), strict=True)]
        lcm = LocalContinuityModule(vae['latent_channels'])
    plan = [
        (name, WEIGHTS_STEM, [draw.entry(key, v.shape) for key, v in net.state_dict().items()])
        for name, net in zip(('transformer', 'vae'), networks, strict=True)
    ]
    prompt = [
        draw.entry(PROMPT_KEY, (1, text_tokens, transformer['joint_attention_dim'])),
        draw.entry(POOLED_KEY, (1, transformer['pooled_projection_dim'])),
    ]
    plan.append(('.', _stem(PROMPT_FILE), prompt))
    targets = target_modules(networks[0])
    for task, rank in ranks.items():
        for file in (TASKS[task].core_file, TASKS[task].sharpener_file):
            plan.append(('.', _stem(file), _adapter(targets, rank, draw)))
        weights = [draw.entry(key, value.shape) for key, value in lcm.state_dict().items()]
        plan.append(('.', _stem(TASKS[task].lcm_file), weights))
    return plan


def _adapter(targets: dict[str, tuple[int, int]], rank: int, draw: _Draw) -> list[Entry]:
    return [
        draw.entry(f'{PREFIX}{name}.lora_{half}.weight', shape)
        for name, (outputs, inputs) in targets.items()
        for half, shape in (('A', (rank, inputs)), ('B', (outputs, rank)))
    ]


def _write_configs(out: Path, transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
    from lotus2_ros.training.scheduler import SCHEDULER_CONFIG

    files = {
        'transformer/config.json': {'_class_name': 'FluxTransformer2DModel', **transformer},
        'vae/config.json': {'_class_name': 'AutoencoderKL', **vae},
        'scheduler/scheduler_config.json': {'_class_name': SCHEDULER_CLASS, **SCHEDULER_CONFIG},
        ABOUT_FILE: {'name': 'random weights'},
    }
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(exist_ok=True)
        write_json(path, content)


def _stem(file: str) -> str:
    return file.removesuffix('.safetensors')
