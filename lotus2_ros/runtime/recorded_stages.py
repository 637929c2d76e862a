"""The stages of a frame as CUDA graphs, one set for each size of images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from lotus2_ros.model.flow import FlowStep
from lotus2_ros.model.inference.recent import Recent
from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.model.network import CORE_TIMESTEP, euler_step
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.device import computing_on
from lotus2_ros.runtime.preprocess import Size, prepare_bytes, read_picture
from lotus2_ros.runtime.recording import GraphMemory, Recording
from lotus2_ros.runtime.stages import Picture, Stages, Step
from lotus2_ros.runtime.timing import Clock, StageClock
from lotus2_ros.types import Float32Array, UInt8Array

Made = TypeVar('Made')

KEPT_SIZES = 4
"""Sizes of images whose recordings are kept; the one longest unused goes first."""


class RecordedStages(Stages):
    """Stages whose work on single images is recorded at the first image of each size.

    Bytes go from a pinned buffer to the network, and results to another one, inside the recordings.
    Several images at once run unrecorded. `recorded` in the clock's seconds says that a frame was
    slow because its size was new.

    Attributes:
        frames: memory of what runs on every frame.
    """

    runs_beside = True

    def __init__(self, model: Lotus2Model, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(model, device, dtype)
        self.frames = GraphMemory(device, urgent=True)
        self._steps = GraphMemory(device)
        self._aside = torch.cuda.Stream(device)
        tasks = len(model.tasks)
        self._encoders: Recent[tuple[Size, ...], _Upload] = Recent(KEPT_SIZES)
        self._cores: Recent[Any, Recording] = Recent(KEPT_SIZES * tasks)
        self._movers: Recent[Any, Recording] = Recent(KEPT_SIZES * tasks)
        self._decoders: Recent[Any, _Download] = Recent(KEPT_SIZES * tasks)

    def encode(self, images: Sequence[UInt8Array], sizes: list[Size], clock: StageClock) -> Tensor:
        """See `Stages`."""
        if len(images) > 1:
            return super().encode(images, sizes, clock)
        (image,) = images
        key = ((image.shape[0], image.shape[1]), *sizes)
        upload = _kept(self._encoders, key, clock, lambda: _Upload(self, image, sizes))
        with clock.stage('encode'):
            return upload(image)

    def predict(self, name: str, latent: Tensor, clock: StageClock) -> Tensor:
        """See `Stages`."""
        if len(latent) > 1:
            return super().predict(name, latent, clock)

        def record() -> Recording:
            network = self.model.tasks[name]
            fast, lcm = network.core_transformer, network.lcm
            assert lcm is not None
            constants, turns = fast.constants(CORE_TIMESTEP), fast.turns(*latent.shape[2:])

            def core(values: Tensor) -> Tensor:
                refined: Tensor = lcm(fast.run(values, constants, turns))
                return refined

            return Recording(f'the {name} core', core, [latent], self.frames)

        recording = _kept(self._cores, (name, *latent.shape), clock, record)
        with clock.stage('core'):
            predicted: Tensor = recording(latent).clone()
        return predicted

    def move(self, name: str, latent: Tensor, step: FlowStep) -> Tensor:
        """See `Stages`."""
        if len(latent) > 1:
            return super().move(name, latent, step)
        network = self.model.tasks[name]
        fast = network.sharpener_transformer
        constants = fast.constants(step.timestep)
        delta = torch.tensor(step.delta, dtype=torch.float32).to(self.device)

        def record() -> Recording:
            turns = fast.turns(*latent.shape[2:])

            def mover(values: Tensor, constants: Tensor, delta: Tensor) -> Tensor:
                return euler_step(values, fast.run(values, constants, turns), delta)

            inputs = [latent, constants, delta]
            return Recording(f'the {name} sharpener', mover, inputs, self._steps)

        key = name, *latent.shape
        return self._movers.get(key, record)(latent, constants, delta).clone()

    def begin(self, name: str, latent: Tensor, step: FlowStep, clock: Clock) -> Step:
        """See `Stages`: beside frames, whose kernels go first."""
        self._aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.inference_mode(), computing_on(self.device), torch.cuda.stream(self._aside):
            with clock.of(self).stage('sharpen'):
                moved = self.move(name, latent, step)
            ended = torch.cuda.Event()
            ended.record()
        return Step(moved, ended.query)

    def picture(self, name: str, latent: Tensor, size: Size, clock: StageClock) -> Picture:
        """See `Stages`."""
        if len(latent) > 1:
            return super().picture(name, latent, size, clock)
        key = name, *latent.shape, size
        download = _kept(self._decoders, key, clock, lambda: _Download(self, name, latent, size))
        with clock.stage('decode'):
            return download(latent)

    def forget(self) -> None:
        """Let go of all recordings and their memory."""
        self._aside.synchronize()  # a step may be under way
        for kept in (self._encoders, self._cores, self._movers, self._decoders):
            kept.clear()


def _kept(
    recent: Recent[Any, Made], key: Any, clock: StageClock, record: Callable[[], Made]
) -> Made:
    """What was recorded for a key, or is recorded now; the clock is told how long that took."""

    def timed() -> Made:
        began = time.perf_counter()
        made = record()  # returns when the device has finished it
        clock.add('recorded', time.perf_counter() - began)
        return made

    return recent.get(key, timed)


class _Upload:
    """From an image's bytes to its latent."""

    def __init__(self, stages: RecordedStages, image: UInt8Array, sizes: list[Size]) -> None:
        self._host = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        self._host.numpy()[:] = image
        self._read = torch.cuda.Event()
        model, device, dtype = stages.model, stages.device, stages.dtype

        def encode(host: Tensor) -> Tensor:
            picture = prepare_bytes(host.to(device, non_blocking=True), sizes, dtype)
            return encode_images(model.vae, picture)

        self._recording = Recording('the encoder', encode, [self._host], stages.frames)

    def __call__(self, image: UInt8Array) -> Tensor:
        self._read.synchronize()  # the last image's bytes may still be on their way
        self._host.numpy()[:] = image
        latent = self._recording().clone()
        self._read.record()
        return latent


class _Download:
    """From a latent to a task's values in the host's memory."""

    def __init__(self, stages: RecordedStages, name: str, latent: Tensor, size: Size) -> None:
        task, model = TASKS[name], stages.model

        def decode(values: Tensor) -> Tensor:
            value = read_picture(decode_latents(model.vae, values), task, size)[0]
            return value.permute(1, 2, 0).contiguous()

        self._recording = Recording(f'the {name} decoder', decode, [latent], stages.frames)

    def __call__(self, latent: Tensor) -> Picture:
        drawn = self._recording(latent).clone()[None]  # the next replay of any may overwrite it
        # Pinned memory comes from torch's own cache, and returns there with the last array of it.
        host = torch.empty(drawn.shape, dtype=torch.float32, pin_memory=True)
        host.copy_(drawn, non_blocking=True)
        written = torch.cuda.Event()
        written.record()

        def values() -> Float32Array:
            written.synchronize()
            return np.asarray(host.numpy(), dtype=np.float32)

        return Picture(values, written.query, drawn)
