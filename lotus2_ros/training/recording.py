"""Training steps recorded as CUDA graphs: a small model's step is mostly launching kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lotus2_ros.training.optimiser import Optimiser
from lotus2_ros.training.scenes import Sample

_WARMUP = 3


class RecordedStep:
    """A step on batches of one shape: made as it stands a few times, then recorded and replayed."""

    def __init__(
        self,
        step: Callable[[Sample], dict[str, Tensor]],
        optimiser: Optimiser,
        *,
        enabled: bool,
    ) -> None:
        """Make a step.

        Args:
            step: computes losses and calls the optimiser's `descend`; must touch only tensors that
                stay where they are.
            optimiser: whose schedule frames the step.
            enabled: record, where the data are on a GPU.
        """
        self._step = step
        self._optimiser = optimiser
        self._enabled = enabled
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: Sample | None = None
        self._figures: dict[str, Tensor] = {}

    def __call__(self, sample: Sample) -> dict[str, Tensor]:
        """Make one step; the figures returned are overwritten by the next."""
        self._optimiser.before()
        if not (self._enabled and sample.image.is_cuda):
            self._figures = self._step(sample)
        elif self._calls < _WARMUP:
            self._figures = self._beside(sample)
        else:
            self._replay(sample)
        self._calls += 1
        self._optimiser.after()
        return self._figures

    def _beside(self, sample: Sample) -> dict[str, Tensor]:
        """Step on a side stream, as recording wants its warm-up."""
        main = torch.cuda.current_stream()
        side = torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            figures = self._step(sample)
        main.wait_stream(side)
        return figures

    def _replay(self, sample: Sample) -> None:
        if self._graph is None:
            self._inputs = Sample(
                sample.image.clone(),
                sample.disparity.clone(),
                sample.normals.clone(),
                sample.sky.clone(),
            )
            # Gradients of the warm-up must not be added to inside the recording.
            self._optimiser.adam.zero_grad(set_to_none=True)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._figures = self._step(self._inputs)
        assert self._inputs is not None
        self._inputs.image.copy_(sample.image)
        self._inputs.disparity.copy_(sample.disparity)
        self._inputs.normals.copy_(sample.normals)
        self._inputs.sky.copy_(sample.sky)
        self._graph.replay()
