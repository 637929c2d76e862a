"""The stages between an image and its prediction, run on batches of one size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lotus2_ros.model.flow import FlowStep
from lotus2_ros.model.latents import decode_latents, encode_images, pack
from lotus2_ros.model.loading import Lotus2Model
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.device import computing_on
from lotus2_ros.runtime.flying_pixels import flying_pixels
from lotus2_ros.runtime.preprocess import Size, fitted, prepare_image, read_picture
from lotus2_ros.runtime.timing import Clock, StageClock
from lotus2_ros.types import DEPTH, NORMALS, EdgeSearch, Float32Array, Prediction, UInt8Array


@dataclass(slots=True)
class CoreState:
    """One image after the core predictor: what a result is decoded from, or sharpened.

    Attributes:
        latents: task name to latent (1, 16, h, w) on the device of that task's stage.
        input_size: height and width of the image, in pixels.
        clock: times of the stages so far; an image that was computed in a batch carries the times
            of the whole batch.
        sharpen_steps: Euler steps already taken.
    """

    latents: dict[str, Tensor]
    input_size: Size
    clock: Clock
    sharpen_steps: int = 0

    def only(self, names: Sequence[str]) -> CoreState:
        """The same of some of its tasks."""
        latents = {name: self.latents[name] for name in names}
        return CoreState(latents, self.input_size, self.clock, self.sharpen_steps)


class Step(NamedTuple):
    """An Euler step that was begun.

    Attributes:
        latent: (B, 16, h, w) on the device; to be read once the step has ended.
        ended: whether it has.
    """

    latent: Tensor
    ended: Callable[[], bool]


class Picture(NamedTuple):
    """A task's values that began to be decoded.

    Attributes:
        values: gives them, (B, H, W, C) in the host's memory; waits where they are not there yet.
        ended: whether they are.
        drawn: the same on the device.
    """

    values: Callable[[], Float32Array]
    ended: Callable[[], bool]
    drawn: Tensor


class Decoding(Protocol):
    """States that began to be decoded."""

    def ended(self) -> bool:
        """Whether all values are there."""

    def result(self) -> list[Prediction]:
        """A prediction for each state; waits where they are not there yet."""


class Sharpening(ABC):
    """Stages that move latents along the sharpener's flow a step at a time."""

    @abstractmethod
    def flow_steps(self, latent: Tensor, steps: int) -> tuple[FlowStep, ...]:
        """The sharpener's steps for a latent (B, 16, h, w)."""

    @abstractmethod
    def take(self, name: str, latent: Tensor, step: FlowStep, clock: Clock) -> Tensor:
        """Move one task's latent (B, 16, h, w) along the flow, and wait until it is there."""

    def sharpen(self, states: list[CoreState], steps: int) -> list[CoreState]:
        """Sharpen a batch of states in one go."""
        clock = states[0].clock
        sharpened: list[dict[str, Tensor]] = [{} for _ in states]
        for name in states[0].latents:
            latent = torch.cat([state.latents[name] for state in states])
            for step in self.flow_steps(latent, steps):
                latent = self.take(name, latent, step, clock)
            for latents, part in zip(sharpened, latent.split(1), strict=True):
                latents[name] = part
        return [
            CoreState(latents, state.input_size, clock, steps)
            for latents, state in zip(sharpened, states, strict=True)
        ]


class Stages(Sharpening):
    """A loaded model on one device, as the stages that a frame goes through.

    Nothing is checked here, and nothing is kept from one call to the next that changes a result.

    Attributes:
        model: what is loaded, maybe not every stage of every task.
        device: where it is.
        dtype: precision of arithmetic.
        runs_beside: whether a step that was begun runs while frames do.
        sharpens_apart: whether sharpeners are on devices of their own; here never.
    """

    runs_beside = False
    sharpens_apart = False

    def __init__(self, model: Lotus2Model, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model
        self.device = device
        self.dtype = dtype

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks whose core is here, in the order in which they are computed."""
        networks = self.model.tasks.items()
        return tuple(name for name, network in networks if network.core_transformer is not None)

    @property
    def sharpened_tasks(self) -> tuple[str, ...]:
        """Tasks whose sharpener is here."""
        networks = self.model.tasks.items()
        return tuple(name for name, n in networks if n.sharpener_transformer is not None)

    @property
    def parts(self) -> tuple[Stages, ...]:
        """One for each device."""
        return (self,)

    def clock(self) -> StageClock:
        """A new clock for these stages."""
        return StageClock(self.device)

    def step(self, name: str, latent: Tensor, step: FlowStep) -> Tensor:
        """Move one task's latent (B, 16, h, w) along the flow, and wait until it is there.

        Waiting keeps a GPU's queue empty, so that a frame that comes in meanwhile is not behind
        more than one step.
        """
        with torch.inference_mode(), computing_on(self.device):
            moved = self.move(name, latent, step)
        if self.device.type == 'cuda':
            torch.cuda.current_stream(self.device).synchronize()
        return moved

    def take(self, name: str, latent: Tensor, step: FlowStep, clock: Clock) -> Tensor:
        """See `step`, timed."""
        with clock.of(self).stage('sharpen'):
            return self.step(name, latent, step)

    def begin(self, name: str, latent: Tensor, step: FlowStep, clock: Clock) -> Step:
        """Begin to move one task's latent along the flow; where `runs_beside`, it may go on."""
        moved = self.take(name, latent, step, clock)
        return Step(moved, lambda: True)

    def flow_steps(self, latent: Tensor, steps: int) -> tuple[FlowStep, ...]:
        """See `Sharpening`."""
        return self.model.schedule.steps(steps, pack(latent[:1]).shape[1])

    def core(
        self, images: Sequence[UInt8Array], sizes: list[Size], names: Sequence[str]
    ) -> list[CoreState]:
        """Encode images of one size once, and run the core predictor of each task on them."""
        clock = self.clock()
        with torch.inference_mode(), computing_on(self.device):
            latent = self.encode(images, sizes, clock)
            latents = {name: self.predict(name, latent, clock) for name in names}
        return [
            CoreState(
                {name: value[i : i + 1] for name, value in latents.items()},
                (image.shape[0], image.shape[1]),
                clock,
            )
            for i, image in enumerate(images)
        ]

    def decode(
        self, states: list[CoreState], size: Size, search: EdgeSearch | None = None
    ) -> Decoding:
        """Begin to decode states of one working size to results of an output size.

        Args:
            states: with the same tasks.
            size: of the results.
            search: for flying pixels in disparity, if that is among them; None is none.
        """
        clock = self.clock()
        pictures: dict[str, Picture] = {}
        with torch.inference_mode(), computing_on(self.device):
            for name in states[0].latents:
                latent = torch.cat([state.latents[name] for state in states])
                pictures[name] = self.picture(name, latent, size, clock)
            flying = None
            if search is not None and DEPTH in pictures:
                with clock.stage('edges'):
                    flying = _flying(pictures, search)
        return _Decoding(states, pictures, (states[0].clock.of(self), clock), flying)

    def reconstruct(self, disparity: Float32Array, sizes: list[Size]) -> Float32Array:
        """A map (H, W) of 0 to 1 through the autoencoder at the working size, and back."""
        height, width = disparity.shape
        with torch.inference_mode(), computing_on(self.device):
            picture = torch.from_numpy(disparity * 2 - 1).to(self.device)
            drawn = fitted(picture.expand(1, 3, -1, -1), sizes).to(self.dtype)
            latent = encode_images(self.model.vae, drawn.contiguous())
            value = decode_latents(self.model.vae, latent)
            decoded = read_picture(value, TASKS[DEPTH], (height, width))
        return np.asarray(decoded[0, 0].cpu().numpy())

    # What the stages are made of; called with gradients off.

    def encode(self, images: Sequence[UInt8Array], sizes: list[Size], clock: StageClock) -> Tensor:
        """Images (H, W, 3) of one size to the image's latent (B, 16, h, w)."""
        with clock.stage('preprocess'):
            prepared = [prepare_image(i, sizes, self.device, self.dtype) for i in images]
            batch = torch.cat(prepared) if len(prepared) > 1 else prepared[0]  # (B, 3, 8h, 8w)
        with clock.stage('encode'):
            return encode_images(self.model.vae, batch)

    def predict(self, name: str, latent: Tensor, clock: StageClock) -> Tensor:
        """The image's latent to a task's, both (B, 16, h, w)."""
        with clock.stage('core'):
            return self.model.tasks[name].core(latent)

    def move(self, name: str, latent: Tensor, step: FlowStep) -> Tensor:
        """One Euler step of a task's latent (B, 16, h, w)."""
        return self.model.tasks[name].sharpen(latent, step)

    def picture(self, name: str, latent: Tensor, size: Size, clock: StageClock) -> Picture:
        """Begin to turn a task's latent (B, 16, h, w) into values in the host's memory."""
        with clock.stage('decode'):
            decoded = decode_latents(self.model.vae, latent)  # (B, 3, 8h, 8w)
        with clock.stage('postprocess'):
            value = read_picture(decoded, TASKS[name], size)  # (B, C, H, W)
            drawn = value.permute(0, 2, 3, 1).contiguous()
            values: Float32Array = drawn.cpu().numpy()
        return Picture(lambda: values, lambda: True, drawn)

    def forget(self) -> None:
        """Let go of what was kept to be faster, and its memory: here nothing."""


def _flying(pictures: dict[str, Picture], search: EdgeSearch) -> Tensor:
    normals = pictures[NORMALS].drawn if NORMALS in pictures else None
    return flying_pixels(pictures[DEPTH].drawn[..., 0], normals, search)


@dataclass(frozen=True, slots=True)
class _Decoding:
    """See `Decoding`; of one device."""

    states: list[CoreState]
    pictures: dict[str, Picture]
    clocks: tuple[StageClock, StageClock]
    flying: Tensor | None

    def ended(self) -> bool:
        """See `Decoding`."""
        return all(picture.ended() for picture in self.pictures.values())

    def result(self) -> list[Prediction]:
        """See `Decoding`."""
        values = {name: picture.values() for name, picture in self.pictures.items()}
        flying = None if self.flying is None else self.flying.cpu().numpy()
        before, decoding = (clock.seconds() for clock in self.clocks)
        timings = before | decoding
        timings['total'] = sum(timings.values())
        return [
            Prediction(
                disparity=values[DEPTH][i, :, :, 0] if DEPTH in values else None,
                normals=values[NORMALS][i] if NORMALS in values else None,
                sharpen_steps=state.sharpen_steps,
                timings=dict(timings),
                flying=None if flying is None else flying[i],
            )
            for i, state in enumerate(self.states)
        ]
