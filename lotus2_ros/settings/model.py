"""What is loaded, where it runs and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings.base import Settings, setting
from lotus2_ros.types import NORMALS, TASKS

DEFAULT_MAX_SIDE = 1024
"""Longest side in pixels the released model is run at; a model folder may name a smaller one."""

AUTO_CPU_PARAMETER_LIMIT = 100_000_000
"""`device: auto` runs models up to this size on the CPU; larger ones must be asked for."""

AUTO, BETWEEN, BESIDE = 'auto', 'between', 'beside'
"""Where sharpening steps run: between frames or beside them."""

CPU_THREAD_ENVIRONMENT = {'GOMP_SPINCOUNT': '5000'}
"""Put into the environment of what runs the model, before torch loads, where the user has not.

The model's CPU threads then wait for each other asleep. Spinning, they take the cores from camera,
node and listeners, and on a busy machine a frame takes many times as long.
"""


@dataclass(frozen=True)
class ModelSettings(Settings):
    """What is loaded, where it runs and how: all that the model's process needs to start."""

    model: str = setting(
        'nano', 'Model: nano (bundled), a folder, or a hub id such as jingheya/Lotus-2', live=False
    )
    base: str = setting(
        '', 'FLUX base: a folder or hub id; empty if the model folder holds it', live=False
    )
    tasks: tuple[str, ...] = setting(
        TASKS, 'Tasks to load; each takes memory of its own', choices=TASKS, live=False
    )
    device: str = setting(
        'auto',
        'Device: cuda, cuda:N, cpu, or auto (a GPU if present; the CPU only for a small model)',
        live=False,
    )
    normals_device: str = setting(
        '', 'Another device for normals, such as cuda:1; empty is device', live=False
    )
    sharpener_device: str = setting(
        '',
        'Another device for the sharpeners, such as cuda:1, so that no frame waits for them; empty'
        " is each task's own",
        live=False,
    )
    precision: str = setting(
        'auto',
        'Precision of weights and arithmetic; auto is bfloat16 on a GPU, float32 on a CPU, or what'
        ' the model was prepared in; fp8 and int8 need acceleration',
        choices=('auto', 'float32', 'bfloat16', 'fp8', 'int8'),
        live=False,
    )
    acceleration: str = setting(
        'auto',
        'The network for GPUs, checked against the plain one at each start; auto is on where there'
        ' are a GPU of compute capability 8.0 (fp8: 8.9) and Triton',
        choices=('auto', 'off', 'on'),
        live=False,
    )
    text_merging: float = setting(
        0.0,
        'Experiment, with acceleration: text tokens whose embeddings differ by at most this share'
        ' of their norm are computed once; 0 merges none, above 1e-6 it costs accuracy',
        minimum=0.0,
        maximum=2.0,
        live=False,
    )
    load_sharpener: bool = setting(
        True, 'Load the detail sharpener too; without it sharpening is refused', live=False
    )
    sharpen_stepping: str = setting(
        AUTO,
        'Sharpening steps run between frames, one at a time, or beside them at a lower priority,'
        ' which frames wait less for; auto is beside on a GPU with acceleration, else between',
        choices=(AUTO, BETWEEN, BESIDE),
        live=False,
    )
    cpu_threads: int = setting(
        0, 'CPU threads of the model; 0 is all cores', minimum=0, maximum=1024, live=False
    )
    max_side: int = setting(
        0,
        "Longest side the model sees; larger images are reduced; 0 is the model's own limit",
        unit='px',
        minimum=0,
        maximum=4096,
    )

    def _validate_together(self) -> None:
        super()._validate_together()
        if not self.model:
            raise SettingsError('model is empty; give nano, a folder or a hub id')
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise SettingsError(f'tasks is {list(self.tasks)}; name each wanted task once')
        check_places(
            self.tasks,
            sharpener=self.load_sharpener,
            normals_device=self.normals_device,
            sharpener_device=self.sharpener_device,
        )
        if 0 < self.max_side < 32:
            raise SettingsError(f'max_side is {self.max_side}; allowed: 0, or 32 to 4096 px')


def check_places(
    tasks: Sequence[str],
    *,
    sharpener: bool,
    normals_device: str | None,
    sharpener_device: str | None,
) -> None:
    """See that devices are named only for what is loaded.

    Raises:
        SettingsError: one is not.
    """
    if normals_device and NORMALS not in tasks:
        raise SettingsError(
            f'normals_device is {normals_device}, but tasks has no {NORMALS}; leave it empty, or'
            ' add the task'
        )
    if sharpener_device and not sharpener:
        raise SettingsError(
            f'sharpener_device is {sharpener_device}, but the sharpener is not loaded; leave it'
            ' empty, or set load_sharpener'
        )
