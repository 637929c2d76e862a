"""The predictor: one loaded model, images in, predictions out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, overload

import torch

from lotus2_ros.errors import SettingsError
from lotus2_ros.model.flow import MAX_STEPS
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.acceleration import OFF, ON
from lotus2_ros.runtime.asked import check_max_side, check_tasks, chosen_size
from lotus2_ros.runtime.device import device_name
from lotus2_ros.runtime.opening import Opened, Wanted, open_model
from lotus2_ros.runtime.placement import place
from lotus2_ros.runtime.preprocess import Size, check_image, working_sizes
from lotus2_ros.runtime.recorded_stages import RecordedStages
from lotus2_ros.runtime.sharpening import SharpenJob
from lotus2_ros.runtime.split_stages import SplitStages
from lotus2_ros.runtime.stages import CoreState, Stages
from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import (
    DEPTH,
    NORMALS,
    AnyArray,
    EdgeSearch,
    Float32Array,
    Prediction,
    UInt8Array,
)


class Lotus2Predictor:
    """Depth and normals from single images. Make one with `from_pretrained`.

    Deterministic: the same image gives the same bytes, whatever ran before.
    """

    def __init__(self, opened: Sequence[Opened], *, max_side: int, sharpener: bool) -> None:
        """Take what was loaded.

        Args:
            opened: one for each device, the first with a core.
            max_side: see `from_pretrained`.
            sharpener: whether the sharpeners are there.
        """
        first = opened[0]
        parts = [_stages(one) for one in opened]
        self._stages = parts[0] if len(parts) == 1 else SplitStages(parts)
        self._name = first.name
        self._model_max_side = first.max_side
        self._max_side = max_side
        self._sharpener = sharpener
        self._accelerated = first.accelerated

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = 'nano',
        *,
        tasks: Sequence[str] = (DEPTH, NORMALS),
        base: str | Path | None = None,
        device: str | None = None,
        normals_device: str | None = None,
        sharpener_device: str | None = None,
        precision: str | None = None,
        acceleration: str | None = None,
        text_merging: float = 0.0,
        sharpener: bool = True,
        max_side: int = 0,
        cpu_threads: int = 0,
        progress: Callable[[str, float], None] | None = None,
    ) -> Self:
        """Load a model.

        Args:
            model: 'nano', a folder, prepared or not, or a hub id.
            tasks: which to load; each takes memory of its own.
            base: FLUX base, a folder or a hub id; None or '' if the model's folder holds it.
            device: 'cpu', 'cuda', 'cuda:N'; None or 'auto' chooses, see `choose_device`.
            normals_device: another device, 'cpu', 'cuda', 'cuda:N', for normals; None or '' is
                `device`.
            sharpener_device: likewise for the sharpeners of all tasks; None or '' is each task's.
            precision: 'float32', 'bfloat16', 'fp8' or 'int8'; None or 'auto' chooses, see
                `choose_precision`.
            acceleration: 'on', 'off', 'auto' or None, the default, see `choose_acceleration`. On,
                the network for GPUs is held against the plain one before it is used.
            text_merging: with acceleration, compute text tokens once whose embeddings differ by
                this share of their norm at most; 0 merges none. Above 1e-6 it is lossy.
            sharpener: load the detail sharpeners too.
            max_side: longest side in pixels that the network sees; 0 is the model's own limit.
            cpu_threads: threads of torch on the CPU; 0 leaves them as they are. This holds for
                the whole process, not only for this predictor.
            progress: told a loading stage's name and the fraction of it that is done.

        Raises:
            ModelFileError: a file is missing, malformed or does not fit; names file and key.
            DeviceError: a device or precision cannot be had, or its memory is too small.
            SettingsError: unknown tasks, a number out of range, 8 bits without acceleration, or
                a device for what is not loaded.
            SelfCheckError: the accelerated network does not compute what the plain one does.
        """
        names = check_tasks(tasks, tuple(TASKS))
        if not names:
            raise SettingsError(f'tasks is empty; allowed: {", ".join(TASKS)}')
        check_max_side(max_side)
        if cpu_threads < 0:
            raise SettingsError(f'cpu_threads is {cpu_threads}; allowed: 0 or more')
        if cpu_threads:
            torch.set_num_threads(cpu_threads)
        if text_merging < 0:
            raise SettingsError(f'text_merging is {text_merging}; allowed: 0 and more')
        places = place(
            names,
            sharpener=sharpener,
            device=device,
            normals_device=normals_device,
            sharpener_device=sharpener_device,
        )
        opened = [
            open_model(
                model,
                base,
                Wanted(portion, where, precision, acceleration, progress, text_merging),
            )
            for where, portion in places
        ]
        return cls(opened, max_side=max_side, sharpener=sharpener)

    @classmethod
    def from_settings(
        cls,
        settings: ModelSettings,
        *,
        sharpener: bool,
        progress: Callable[[str, float], None] | None = None,
    ) -> Self:
        """Load the model that settings name, see `from_pretrained`.

        Args:
            settings: `load_sharpener` and `sharpen_stepping` are the caller's affair.
            sharpener: load the detail sharpeners; without them `sharpener_device` means nothing.
            progress: see `from_pretrained`.
        """
        return cls.from_pretrained(
            settings.model,
            tasks=settings.tasks,
            base=settings.base,
            device=settings.device,
            normals_device=settings.normals_device,
            sharpener_device=settings.sharpener_device if sharpener else '',
            precision=settings.precision,
            acceleration=settings.acceleration,
            text_merging=settings.text_merging,
            sharpener=sharpener,
            max_side=settings.max_side,
            cpu_threads=settings.cpu_threads,
            progress=progress,
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the loaded tasks, in the order in which they are computed."""
        return self._stages.tasks

    @property
    def device(self) -> torch.device:
        """Where the first core is."""
        return self._stages.parts[0].device

    @property
    def uses_gpu(self) -> bool:
        """Whether any of it is on a GPU."""
        return bool(self._gpus)

    @property
    def _gpus(self) -> list[torch.device]:
        return [part.device for part in self._stages.parts if part.device.type == 'cuda']

    @property
    def sharpens_apart(self) -> bool:
        """Whether sharpeners are on devices that have no core, so that no frame waits for them."""
        return self._stages.sharpens_apart

    @property
    def runs_beside(self) -> bool:
        """Whether sharpening steps can run beside frames: on a GPU, with acceleration."""
        return self._stages.runs_beside

    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON data; sizes in pixels and bytes."""
        first, *others = self._stages.parts
        told = {
            'model': self._name,
            'device': device_name(first.device),
            'precision': first.model.weights or str(first.dtype).removeprefix('torch.'),
            'acceleration': ON if self._accelerated else OFF,
            'text_tokens': first.model.text_tokens,
            'tasks': list(self.tasks),
            'parameters': first.model.parameters,
            'max_side': self._max_side or self._model_max_side,
            'gpu_memory_bytes': sum(torch.cuda.memory_allocated(gpu) for gpu in self._gpus),
            'sharpener': self._sharpener,
        }
        if others:
            told['other_devices'] = '; '.join(
                f'{device_name(part.device)}: {_held(part)}' for part in others
            )
        return told

    def free_memory(self) -> None:
        """Give back what torch keeps for later, after states and jobs have been dropped."""
        self._stages.forget()
        gc.collect()
        for gpu in self._gpus:
            with torch.cuda.device(gpu):
                torch.cuda.empty_cache()

    @overload
    def predict(
        self,
        rgb: UInt8Array,
        *,
        sharpen_steps: int = 0,
        tasks: Sequence[str] | None = None,
        max_side: int | None = None,
        output_size: Size | None = None,
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        rgb: Sequence[UInt8Array],
        *,
        sharpen_steps: int = 0,
        tasks: Sequence[str] | None = None,
        max_side: int | None = None,
        output_size: Size | None = None,
    ) -> list[Prediction]: ...

    def predict(
        self,
        rgb: UInt8Array | Sequence[UInt8Array],
        *,
        sharpen_steps: int = 0,
        tasks: Sequence[str] | None = None,
        max_side: int | None = None,
        output_size: Size | None = None,
    ) -> Prediction | list[Prediction]:
        """Predict from one image, or from a list, whose images of one size run as one batch.

        Args:
            rgb: (H, W, 3) uint8, or a list of such.
            sharpen_steps: Euler steps of the detail sharpener, 0 to 10; 0 is the core alone.
            tasks: which of the loaded tasks; None is all.
            max_side: longest side the network sees, in pixels; 0 is the model's own limit, None
                what was given when loading.
            output_size: height and width of the result; None is the image's own.

        Returns:
            A prediction, or a list of them in the order of the images.

        Raises:
            ImageError: an image has the wrong type or layout, or is too small.
            SettingsError: a task is not loaded, sharpening is not possible, or a number is out
                of range.
        """
        single = not isinstance(rgb, list | tuple)
        images: Sequence[UInt8Array] = [rgb] if single else rgb  # type: ignore[list-item,assignment]
        names = self._check_request(tasks, sharpen_steps)
        batches: dict[tuple[Size, ...], list[int]] = {}
        for index, image in enumerate(images):
            # Alike in size and resizing: such images go through as one batch.
            key = (check_image(image), *self._working_sizes(image, max_side))
            batches.setdefault(key, []).append(index)
        results: dict[int, Prediction] = {}
        for (_, *sizes), members in batches.items():
            states = self._stages.core([images[i] for i in members], sizes, names)
            if sharpen_steps:
                states = self._stages.sharpen(states, sharpen_steps)
            size = chosen_size(output_size, states[0].input_size)
            results.update(zip(members, self._stages.decode(states, size).result(), strict=True))
        if self.uses_gpu:  # many of them may be kept for long
            results = {index: result.copied() for index, result in results.items()}
        return results[0] if single else [results[i] for i in range(len(images))]

    def run_core(
        self, rgb: UInt8Array, tasks: Sequence[str] | None = None, max_side: int | None = None
    ) -> CoreState:
        """Run the core predictor on one image (H, W, 3) uint8 and keep its latents.

        The image is copied: its memory may be reused once this returns.

        Raises:
            ImageError: see `predict`.
            SettingsError: see `predict`.
        """
        names = self._check_request(tasks, 0)
        check_image(rgb)
        return self._stages.core([rgb], self._working_sizes(rgb, max_side), names)[0]

    def finish(
        self,
        state: CoreState,
        output_size: Size | None = None,
        tasks: Sequence[str] | None = None,
        search: EdgeSearch | None = None,
    ) -> Prediction:
        """Decode a state, which may be decoded again, or sharpened, afterwards.

        With a GPU the arrays may lie in pinned memory: copy those that are kept for long.

        Args:
            state: see `run_core`.
            output_size: height and width of the result; None is the image's own.
            tasks: which of the state's tasks; None is all.
            search: for pixels that fly, in disparity; None is none.

        Raises:
            SettingsError: the state does not hold a task.
        """
        if tasks is not None:
            state = state.only(check_tasks(tasks, tuple(state.latents)))
        size = chosen_size(output_size, state.input_size)
        return self._stages.decode([state], size, search).result()[0]

    def sharpen(
        self,
        state: CoreState,
        steps: int,
        tasks: Sequence[str] | None = None,
        *,
        beside: bool = False,
    ) -> SharpenJob:
        """Prepare sharpening a core state, one step at a time; computes nothing yet.

        Args:
            state: of the core predictor; it is left as it is.
            steps: Euler steps, 1 to 10.
            tasks: which of the state's tasks; None is all.
            beside: steps run beside frames, at a lower priority, see `runs_beside`. Where
                `sharpens_apart`, they do anyway.

        Raises:
            SettingsError: the sharpener is not loaded, steps or a task are not possible, or steps
                cannot run beside frames.
        """
        names = check_tasks(tuple(state.latents) if tasks is None else tasks, tuple(state.latents))
        if steps < 1:
            raise SettingsError(f'sharpen_steps is {steps}; allowed: 1 to {MAX_STEPS}')
        self._check_request(names, steps)
        if beside and not self.runs_beside:
            raise SettingsError('sharpening runs beside frames on a GPU with acceleration only')
        beside = beside or self.sharpens_apart
        return SharpenJob(self._stages, state, steps, names, beside=beside)

    def reconstruct(self, disparity: Float32Array, max_side: int | None = None) -> Float32Array:
        """What the autoencoder makes of a disparity map: no prediction can be sharper.

        Args:
            disparity: (H, W) float32 of 0 to 1, as predictions are.
            max_side: see `predict`.

        Raises:
            ImageError: it is too small.
        """
        return self._stages.reconstruct(disparity, self._working_sizes(disparity, max_side))

    def _working_sizes(self, image: AnyArray, max_side: int | None) -> list[Size]:
        check_max_side(max_side)
        limit = self._max_side if max_side is None else max_side
        return working_sizes((image.shape[0], image.shape[1]), limit or self._model_max_side)

    def _check_request(self, tasks: Sequence[str] | None, steps: int) -> tuple[str, ...]:
        if not 0 <= steps <= MAX_STEPS:
            raise SettingsError(f'sharpen_steps is {steps}; allowed: 0 to {MAX_STEPS}')
        if steps and not self._sharpener:
            msg = 'the detail sharpener is not loaded; load the model with it to sharpen'
            raise SettingsError(msg)
        return self.tasks if tasks is None else check_tasks(tasks, self.tasks)


def _stages(opened: Opened) -> Stages:
    recorded = opened.accelerated and opened.device.type == 'cuda'
    kind = RecordedStages if recorded else Stages
    return kind(opened.model, opened.device, opened.dtype)


def _held(part: Stages) -> str:
    """What a part holds, for people."""
    cores = [f'{name} core' for name in part.tasks]
    return ', '.join(cores + [f'{name} sharpener' for name in part.sharpened_tasks])
