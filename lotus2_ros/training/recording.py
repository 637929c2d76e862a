"""Training steps recorded as CUDA graphs: a small model's step is mostly launching kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lotus2_ros.training.optimiser import Optimiser

_WARMUP = 3

Figures = dict[str, Tensor]


class Recording:
    """A function of nothing that touches only tensors which stay where they are.

    It runs as it stands a few times, then it is recorded and replayed.
    """

    def __init__(self, function: Callable[[], Any], *, enabled: bool) -> None:
        """Make a recording.

        Args:
            function: what is to be done.
            enabled: record; otherwise the function simply runs each time.
        """
        self._function = function
        self._enabled = enabled
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Any = None

    def __call__(self) -> Any:
        """Do it; what is returned is overwritten by the next call."""
        if not self._enabled:
            return self._function()
        self._calls += 1
        if self._calls <= _WARMUP:
            return self._beside()
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, such as the one that watches NCCL, may use the GPU meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode='thread_local'):
                self._result = self._function()
        self._graph.replay()
        return self._result

    def _beside(self) -> Any:
        """Run on a side stream, as recording wants its warm-up."""
        main = torch.cuda.current_stream()
        side = torch.cuda.Stream()
        side.wait_stream(main)
        with torch.cuda.stream(side):
            result = self._function()
        main.wait_stream(side)
        return result


class Descent:
    """The second half of every step: clipping, update and average, recorded once for all."""

    def __init__(self, optimiser: Optimiser, *, enabled: bool) -> None:
        """Make a descent.

        Args:
            optimiser: whose step it is.
            enabled: record it.
        """
        self.optimiser = optimiser
        self.enabled = enabled
        self._descend = Recording(optimiser.descend, enabled=enabled)

    def __call__(self) -> Tensor:
        """Exchange gradients and step; returns the gradient's norm."""
        self.optimiser.exchange()
        norm: Tensor = self._descend()
        return norm


class RecordedStep:
    """A training step: losses and gradients recorded, then the optimiser's descent."""

    def __init__(self, losses: Callable[[], tuple[Tensor, Figures]], descent: Descent) -> None:
        """Make a step.

        Args:
            losses: computes the loss and figures to report from tensors that stay where they are.
            descent: the step's second half.
        """
        self._losses = losses
        self._descent = descent
        self._gradients = Recording(self._back_propagate, enabled=descent.enabled)

    def _back_propagate(self) -> Figures:
        self._descent.optimiser.clear()
        loss, figures = self._losses()
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in figures.items()}

    def __call__(self) -> Figures:
        """Make one step; the figures returned are overwritten by the next."""
        optimiser = self._descent.optimiser
        optimiser.before()
        figures = self._gradients()
        figures = {**figures, 'norm': self._descent()}
        optimiser.after()
        return figures
