"""Stages of one model on several devices, each task's stage where it was loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from lotus2_ros.model.flow import FlowStep
from lotus2_ros.model.tasks import TASKS
from lotus2_ros.runtime.preprocess import Size
from lotus2_ros.runtime.stages import CoreState, Decoding, Sharpening, Stages, Step
from lotus2_ros.runtime.timing import Clock, StageClock
from lotus2_ros.types import EdgeSearch, Float32Array, Prediction, UInt8Array


class SplitStages(Sharpening):
    """What `Stages` does, by parts that are on devices of their own.

    Every device has an autoencoder: it encodes the images of its own cores and decodes what its
    own stages made. So nothing but a latent ever goes from one device to another, and only to be
    sharpened. On GPUs, work is given to all devices before any is waited for.

    Attributes:
        sharpens_apart: whether no device with a sharpener has a core. No frame then waits for
            sharpening: neither for a step nor for its decoding.
    """

    def __init__(self, parts: Sequence[Stages]) -> None:
        """Put the parts together.

        Args:
            parts: with one core for every task, and at most one sharpener.
        """
        self.parts = tuple(parts)
        cores = {name: part for part in parts for name in part.tasks}
        self._cores = {name: cores[name] for name in TASKS if name in cores}
        self._sharpeners = {name: part for part in parts for name in part.sharpened_tasks}
        with_core = set(self._cores.values())
        self.sharpens_apart = with_core.isdisjoint(self._sharpeners.values())

    @property
    def runs_beside(self) -> bool:
        """Whether a step that was begun runs while frames do, whatever the task."""
        sharpeners = self._sharpeners.values()
        return bool(sharpeners) and all(part.runs_beside for part in sharpeners)

    @property
    def tasks(self) -> tuple[str, ...]:
        """See `Stages`."""
        return tuple(self._cores)

    def clock(self) -> Clock:
        """See `Stages`."""
        return _SplitClock({part: part.clock() for part in self.parts})

    def core(
        self, images: Sequence[UInt8Array], sizes: list[Size], names: Sequence[str]
    ) -> list[CoreState]:
        """See `Stages`."""
        states = {
            part: part.core(images, sizes, own)
            for part, own in _by_part(names, self._cores).items()
        }
        clocks = {part: found[0].clock.of(part) for part, found in states.items()}
        clock = _SplitClock({part: clocks.get(part) or part.clock() for part in self.parts})
        merged = []
        for i, image in enumerate(images):
            latents = {k: v for found in states.values() for k, v in found[i].latents.items()}
            ordered = {name: latents[name] for name in names}
            merged.append(CoreState(ordered, (image.shape[0], image.shape[1]), clock))
        return merged

    def flow_steps(self, latent: Tensor, steps: int) -> tuple[FlowStep, ...]:
        """See `Stages`."""
        return self.parts[0].flow_steps(latent, steps)

    def take(self, name: str, latent: Tensor, step: FlowStep, clock: Clock) -> Tensor:
        """See `Stages`; the latent may be on any device."""
        part = self._sharpeners[name]
        return part.take(name, _brought(latent, part), step, clock)

    def begin(self, name: str, latent: Tensor, step: FlowStep, clock: Clock) -> Step:
        """See `Stages`; the latent may be on any device."""
        part = self._sharpeners[name]
        return part.begin(name, _brought(latent, part), step, clock)

    def decode(
        self, states: list[CoreState], size: Size, search: EdgeSearch | None = None
    ) -> Decoding:
        """See `Stages`; there is no search where it would need what two devices hold."""
        places = self._sharpeners if states[0].sharpen_steps else self._cores
        parts = _by_part(states[0].latents, places)
        begun = {
            part: part.decode(
                [state.only(names) for state in states], size, search if len(parts) == 1 else None
            )
            for part, names in parts.items()
        }
        clocks = {part: states[0].clock.of(part) for part in self.parts}
        return _SplitDecoding(begun, clocks, set(self._cores.values()))

    def reconstruct(self, disparity: Float32Array, sizes: list[Size]) -> Float32Array:
        """See `Stages`."""
        return self.parts[0].reconstruct(disparity, sizes)

    def forget(self) -> None:
        """See `Stages`."""
        for part in self.parts:
            part.forget()


def _by_part(names: Iterable[str], places: dict[str, Stages]) -> dict[Stages, list[str]]:
    grouped: dict[Stages, list[str]] = {}
    for name in names:
        grouped.setdefault(places[name], []).append(name)
    return grouped


@dataclass(frozen=True, slots=True)
class _SplitClock:
    """A clock for each part."""

    clocks: dict[Stages, StageClock]

    def of(self, part: Stages) -> StageClock:
        """See `Clock`."""
        return self.clocks[part]


def _told(times: dict[Stages, dict[str, float]]) -> dict[str, float]:
    """Times of all parts, the first one's under the stages' own names."""
    totals: dict[str, float] = {}
    for index, (part, seconds) in enumerate(times.items()):
        for stage, value in seconds.items():
            name = f'{stage} on {part.device}' if index else stage
            totals[name] = totals.get(name, 0.0) + value
    return totals


def _brought(latent: Tensor, part: Stages) -> Tensor:
    """A latent on a part's device and in its precision; the host does not wait for the copy."""
    return latent.to(part.device, part.dtype, non_blocking=True)


class _SplitDecoding:
    """See `Decoding`; on several devices."""

    def __init__(
        self,
        begun: dict[Stages, Decoding],
        before: dict[Stages, StageClock],
        with_core: set[Stages],
    ) -> None:
        self._begun, self._before, self._with_core = begun, before, with_core

    def ended(self) -> bool:
        """See `Decoding`."""
        return all(decoding.ended() for decoding in self._begun.values())

    def result(self) -> list[Prediction]:
        """See `Decoding`; devices work side by side, so `total` is that of the longest.

        To it is added that of the longest sharpener that is apart, which begins when the core has
        ended.
        """
        found = {part: decoding.result() for part, decoding in self._begun.items()}
        times = {part: clock.seconds() for part, clock in self._before.items()} | {
            part: {k: s for k, s in results[0].timings.items() if k != 'total'}
            for part, results in found.items()
        }
        totals = {part: sum(seconds.values()) for part, seconds in times.items()}
        with_core = max((totals[p] for p in totals if p in self._with_core), default=0.0)
        apart = max((totals[p] for p in totals if p not in self._with_core), default=0.0)
        timings = _told(times) | {'total': with_core + apart}
        merged = []
        for alike in zip(*found.values(), strict=True):
            first, *others = alike
            for other in others:
                first = replace(
                    first,
                    disparity=first.disparity if other.disparity is None else other.disparity,
                    normals=first.normals if other.normals is None else other.normals,
                )
            merged.append(replace(first, timings=dict(timings)))
        return merged
