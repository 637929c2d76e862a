"""Making a prepared folder from a FLUX base and Lotus-2 files."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from lotus2_ros import __version__
from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.model import prompt
from lotus2_ros.model.base import BaseTransformer, load_vae
from lotus2_ros.model.conditioning import Conditioning
from lotus2_ros.model.files import WEIGHTS_STEM, WeightFiles, read_json
from lotus2_ros.model.flow import FlowSchedule
from lotus2_ros.model.inference.autoencoder import AutoencoderConfig
from lotus2_ros.model.inference.quantization import eight_bit_format
from lotus2_ros.model.inference.skeleton import NetworkShape
from lotus2_ros.model.loading import ModelFolders, load_conditioning, load_lcm
from lotus2_ros.model.lora import LoraWeights, read_lora
from lotus2_ros.model.prepared import tables
from lotus2_ros.model.prepared.manifest import (
    LAYOUTS,
    PRECISIONS,
    FileRecord,
    Manifest,
    record,
    stage_name,
)
from lotus2_ros.model.prepared.names import SCHEDULER, SHARED, TRANSFORMER, VAE
from lotus2_ros.model.prepared.provenance import known_as, licence_note, source_records
from lotus2_ros.model.prepared.weights import WeightMaker
from lotus2_ros.model.prepared.writing import Entry, write_weights
from lotus2_ros.model.tasks import TASKS

_SPARE_BYTES = 64 << 20
_GIB = 1 << 30

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Preparation:
    """How to prepare a model.

    Attributes:
        tasks: names from the task table.
        sharpener: prepare the detail sharpeners too.
        precision: see `PRECISIONS`; in 8 bits, what is not is bfloat16.
        layout: see `LAYOUTS`.
        sizes: image sizes (height, width) whose sharpener steps get tables.
        keep_modulation: keep what makes tables for all other sizes, 6.5 GB of FLUX.
        shard_bytes: largest weight file.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    sharpener: bool = True
    precision: str = 'bfloat16'
    layout: str = 'merged'
    sizes: tuple[tuple[int, int], ...] = ((480, 640), (576, 1024), (384, 512))
    keep_modulation: bool = False
    shard_bytes: int = 4 * _GIB

    @property
    def dtype(self) -> torch.dtype:
        """Precision of arithmetic, and of all that is not in 8 bits."""
        return torch.float32 if self.precision == 'float32' else torch.bfloat16

    def check(self) -> None:
        """Refuse what cannot be prepared.

        Raises:
            SettingsError: naming the setting and what is allowed.
        """
        for name, value, allowed in (
            ('precision', self.precision, PRECISIONS),
            ('layout', self.layout, LAYOUTS),
        ):
            if value not in allowed:
                raise SettingsError(f'{name} is {value!r}; allowed: {", ".join(allowed)}')
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise SettingsError(f'tasks is {list(self.tasks)}; allowed: {", ".join(TASKS)}')
        if self.shard_bytes < 1:
            raise SettingsError(f'shard size is {self.shard_bytes} bytes; it must be positive')


def prepare(
    folders: ModelFolders,
    plan: Preparation,
    tokens: Sequence[int],
    out: Path,
    *,
    device: torch.device,
    progress: Progress | None = None,
) -> Manifest:
    """Write a prepared folder; it appears under its name only when it is whole.

    Memory holds two adapters and one layer at a time, never a model.

    Args:
        folders: where the files are; see `loading.locate`.
        plan: how.
        tokens: image tokens of each of the plan's sizes.
        out: the new folder.
        device: where to compute; the result is the same up to rounding.
        progress: told what is being done and the fraction of it.

    Raises:
        ModelFileError: a file, key or shape is wrong, `out` exists, or the disk is too small.
        SettingsError: the plan asks for what there is not.
    """
    plan.check()
    if out.exists():
        raise ModelFileError(f'{out} exists; give a new folder, or remove that one first')
    tell = progress or (lambda _what, _fraction: None)
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(BaseTransformer(folders.base / 'transformer'))
        files = stack.enter_context(WeightFiles.folder(folders.base / 'transformer'))
        job = _Job(folders, plan, base, files, device, tell)
        out.parent.mkdir(parents=True, exist_ok=True)
        job.plan_all(tokens)
        _check_space(out.parent, job.total)
        part = Path(tempfile.mkdtemp(prefix=f'.{out.name}.', dir=out.parent))
        try:
            manifest = job.write(part)
            manifest.write(part)
            part.chmod(0o755)
            part.rename(out)
        except BaseException:
            shutil.rmtree(part)
            raise
    return manifest


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        msg = f'{folder} has {free / _GIB:.1f} GiB free, {needed / _GIB:.1f} GiB are needed'
        raise ModelFileError(msg)


class _Job:
    """One preparation: first all tensors are planned, so that their size is known, then written."""

    def __init__(
        self,
        folders: ModelFolders,
        plan: Preparation,
        base: BaseTransformer,
        files: WeightFiles,
        device: torch.device,
        tell: Progress,
    ) -> None:
        self.folders, self.plan, self.device, self.tell = folders, plan, device, tell
        self.shape = NetworkShape.from_config(base.config)
        self.base, self.files = base, files
        self.names = [name for name in TASKS if name in plan.tasks]
        eight_bits = eight_bit_format(plan.precision)
        self.maker = WeightMaker(files, self.shape, plan.dtype, eight_bits, device)
        self.components: list[tuple[str, str, Callable[[], Iterator[Entry]]]] = []
        self.total = 0

    @property
    def base_stage(self) -> str:
        return stage_name(self.names[0], 'core')

    def plan_all(self, tokens: Sequence[int]) -> None:
        """Decide which tensors go where, and how many bytes that takes."""
        self.tell('prompt', 0.0)
        conditioning = load_conditioning(self.folders, self.base.config, self.device)
        self.conditioning = conditioning
        self.tell('prompt', 1.0)
        self._plan_edges(conditioning, tokens)
        self._add(SHARED, 'weights', lambda: self.maker.shared(conditioning))
        base = self._adapter(self.names[0], 'core')
        self._add(self.base_stage, 'weights', lambda: self.maker.whole(base))
        for task in self.names:
            for kind in ('core', 'sharpener') if self.plan.sharpener else ('core',):
                if stage_name(task, kind) != self.base_stage:
                    self._plan_stage(task, kind, base)

    def _plan_stage(self, task: str, kind: str, base: LoraWeights) -> None:
        def entries() -> Iterator[Entry]:
            adapter = self._adapter(task, kind)
            if self.plan.layout == 'shared':
                return self.maker.difference(adapter, base)
            return self.maker.whole(adapter)

        self._add(stage_name(task, kind), 'weights', entries)

    def _plan_edges(self, conditioning: Conditioning, tokens: Sequence[int]) -> None:
        """VAE, LCM, prompt and modulation."""
        dtype, cpu = self.plan.dtype, torch.device('cpu')
        scheduler = self.folders.base / SCHEDULER
        schedule = FlowSchedule(read_json(scheduler), scheduler)
        vae_config = self.folders.base / VAE
        vae = load_vae(vae_config.parent, cpu, dtype)
        try:
            channels = AutoencoderConfig.from_config(read_json(vae_config)).latent_channels
        except (KeyError, ValueError) as err:
            raise ModelFileError(f'{vae_config} is not FLUX like: {err}') from err
        if channels != self.base.latent_channels:
            msg = f'{vae_config}: {channels} latent channels, the transformer takes'
            raise ModelFileError(f'{msg} {self.base.latent_channels}')
        self._add_tensors('vae', WEIGHTS_STEM, vae.state_dict())
        for task in self.names:
            lcm = load_lcm(self.folders.model / TASKS[task].lcm_file, channels).to(dtype)
            self._add_tensors('.', f'{task}_lcm', lcm.state_dict())
        stored = {
            prompt.PROMPT_KEY: conditioning.prompt.float(),
            prompt.POOLED_KEY: conditioning.pooled.float(),
        }
        self._add_tensors('.', prompt.PROMPT_FILE.removesuffix('.safetensors'), stored)
        times = tables.needed_timesteps(schedule, tokens, dtype, sharpener=self.plan.sharpener)
        rows = tables.compute_rows(
            self.files,
            self.shape,
            conditioning.pooled.to(self.device, dtype),
            times,
            lambda fraction: self.tell('modulation', fraction),
        )
        stem = tables.TABLES_FILE.removesuffix('.safetensors')
        self._add_tensors('.', stem, {tables.TIMESTEPS: torch.tensor(times), tables.ROWS: rows})
        if self.plan.keep_modulation:
            self._add('modulation', 'weights', self._modulation)

    def _modulation(self) -> Iterator[Entry]:
        dtype = self.plan.dtype
        for key in tables.weight_keys(self.shape, self.files.keys()):
            size = self.files.shape(key)
            yield Entry(key, dtype, size, partial(self._rounded, key))

    def _rounded(self, key: str) -> torch.Tensor:
        return self.files.tensor(key).to(self.plan.dtype)

    def _add_tensors(self, folder: str, stem: str, tensors: dict[str, torch.Tensor]) -> None:
        entries = [
            Entry(key, value.dtype, tuple(value.shape), value.clone)
            for key, value in tensors.items()
        ]
        self._add(folder, stem, lambda: iter(entries))

    def _add(self, folder: str, stem: str, entries: Callable[[], Iterator[Entry]]) -> None:
        self.components.append((folder, stem, entries))
        self.total += sum(entry.size for entry in entries())

    def _adapter(self, task: str, kind: str) -> LoraWeights:
        names = TASKS[task]
        file = names.core_file if kind == 'core' else names.sharpener_file
        return read_lora(self.folders.model / file, self.base.targets)

    def write(self, part: Path) -> Manifest:
        """Write everything that was planned into a folder."""
        records: dict[str, FileRecord] = {}
        for source in (SCHEDULER, TRANSFORMER, VAE):
            (part / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folders.base / source, part / source)
            records[source] = record(part / source)
        written = 0

        def wrote(size: int) -> None:
            nonlocal written
            written += size
            self.tell('weights', written / self.total)

        for folder, stem, entries in self.components:
            # Those beside the manifest are small and known by name.
            limit = sys.maxsize if folder == '.' else self.plan.shard_bytes
            made = write_weights(part / folder, list(entries()), limit, wrote, stem)
            records |= {str(Path(folder) / name): about for name, about in made.items()}
        return self._manifest(records)

    def _manifest(self, records: dict[str, FileRecord]) -> Manifest:
        plan, folders = self.plan, self.folders
        return Manifest(
            name=known_as(folders.name),
            model=known_as(folders.model_name),
            base=known_as(folders.base_name),
            licence=licence_note(folders, guided=self.shape.guided),
            tasks=tuple(self.names),
            sharpener=plan.sharpener,
            precision=plan.precision,
            layout=plan.layout,
            base_stage=self.base_stage,
            parameters=self.base.parameters,
            text_tokens=self.conditioning.prompt.shape[1],
            max_side=folders.max_side,
            sizes=plan.sizes,
            keeps_modulation=plan.keep_modulation,
            versions={
                'lotus2_ros': __version__,
                **{name: version(name) for name in ('torch', 'diffusers', 'safetensors')},
            },
            sources=source_records(folders, self.names, sharpener=plan.sharpener, tell=self.tell),
            files=records,
        )
