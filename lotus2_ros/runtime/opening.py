"""Loading a model, prepared or not, onto the device and in the way that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from lotus2_ros.errors import DeviceError, SettingsError
from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.model import loading
from lotus2_ros.model.base import BaseTransformer
from lotus2_ros.model.inference.quantization import eight_bit_format
from lotus2_ros.model.portion import Portion
from lotus2_ros.model.prepared.folder import PreparedFolder, find_prepared
from lotus2_ros.model.prepared.loading import load as load_prepared
from lotus2_ros.runtime.acceleration import accelerate, accelerates_in, choose_acceleration
from lotus2_ros.runtime.device import (
    AUTO,
    choose_device,
    choose_precision,
    device_name,
)
from lotus2_ros.runtime.self_check import check_model

Progress = Callable[[str, float], None]


class Wanted(NamedTuple):
    """What to load and how; see `Lotus2Predictor.from_pretrained`."""

    portion: Portion
    device: str | None
    precision: str | None
    acceleration: str | None
    progress: Progress | None
    text_merging: float = 0.0


class Opened(NamedTuple):
    """A loaded model, or the portion of it that one device holds.

    Attributes:
        model: on its device.
        name: for people.
        device: where it is.
        dtype: precision of arithmetic.
        max_side: longest side in pixels that it was trained for.
        accelerated: whether it runs on the network for GPUs.
    """

    model: loading.Lotus2Model
    name: str
    device: torch.device
    dtype: torch.dtype
    max_side: int
    accelerated: bool


def open_model(model: str | Path, base: str | Path | None, wanted: Wanted) -> Opened:
    """Load a model and, where it is accelerated, check it.

    Args:
        model: 'nano', a folder, prepared or not, or a hub id.
        base: FLUX base; None or '' if the model's folder holds it.
        wanted: what, and how.

    Raises:
        ModelFileError: a file is missing, malformed or does not fit; names file and key.
        DeviceError: the device, precision or acceleration cannot be had, or memory is too small.
        SettingsError: settings contradict each other or the folder.
        SelfCheckError: the accelerated network does not compute what the plain one does.
    """
    place = choose_device(wanted.device, None)  # fails before anything is fetched or read
    prepared = find_prepared(model)
    if prepared is not None and base:
        raise SettingsError(f'{prepared} is prepared and takes no base; leave it out')
    try:
        if prepared is not None:
            opened = _open_prepared(PreparedFolder(prepared), wanted)
        else:
            opened = _open_unprepared(model, base or None, wanted)
        return made_ready(opened, wanted.progress, wanted.text_merging)
    except torch.OutOfMemoryError as err:
        cores, sharpeners = map(', '.join, wanted.portion)
        msg = (
            f'{device_name(place)} has too little free memory to load {model} with'
            f' cores: {cores or "none"}; sharpeners: {sharpeners or "none"}: {err}'
        )
        raise DeviceError(msg) from err


def made_ready(opened: Opened, progress: Progress | None, text_merging: float) -> Opened:
    """Accelerate and check a loaded model, where it is to be accelerated.

    Raises:
        DeviceError: see `accelerate`.
        SettingsError: text is to be merged, which only the accelerated network does.
        SelfCheckError: see `check_model`.
    """
    if text_merging > 0 and not opened.accelerated:
        msg = f'text_merging is {text_merging}, but {opened.name} is not accelerated'
        raise SettingsError(f'{msg}; set it to 0, or acceleration to on')
    if opened.accelerated:
        if progress is not None:
            progress('self-check', 0.0)
        accelerate(opened.model, opened.device, text_merging)
        check_model(opened.model, opened.device, opened.dtype)
    return opened


def _open_unprepared(model: str | Path, base: str | Path | None, wanted: Wanted) -> Opened:
    portion = wanted.portion
    folders = loading.locate(model, base, portion.tasks, sharpener=bool(portion.sharpeners))
    with BaseTransformer(folders.base / 'transformer') as transformer:
        place = choose_device(wanted.device, transformer.parameters)
        if place.type == 'cpu':
            keep_freed_memory()
        dtype = choose_precision(wanted.precision, place)
        fast = accelerates_in(wanted.precision, wanted.acceleration, place)
        loaded = loading.load(
            folders,
            transformer,
            portion,
            device=place,
            dtype=dtype,
            eight_bits=eight_bit_format(wanted.precision),
            progress=wanted.progress,
        )
    return Opened(loaded, folders.name, place, dtype, folders.max_side, fast)


def _open_prepared(folder: PreparedFolder, wanted: Wanted) -> Opened:
    """A prepared folder has its precision already."""
    manifest = folder.manifest
    made = manifest.precision
    if wanted.precision not in {None, '', AUTO, made}:
        msg = f'precision is {wanted.precision!r}, but {folder.path} was prepared in {made}'
        raise SettingsError(f'{msg}; leave it at auto, or prepare the model again')
    place = choose_device(wanted.device, manifest.parameters)
    if place.type == 'cpu':
        keep_freed_memory()
    dtype = choose_precision(made, place)
    eight_bits = eight_bit_format(made)
    fast, _ = choose_acceleration(wanted.acceleration, place, eight_bits=eight_bits)
    loaded = load_prepared(
        folder,
        wanted.portion,
        device=place,
        eight_bits=fast,
        progress=wanted.progress,
    )
    return Opened(loaded, manifest.name, place, dtype, manifest.max_side, fast)
