"""A function of tensors recorded as a CUDA graph: replayed, it costs the host one call."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lotus2_ros.errors import SelfCheckError

_WARM_UPS = 2
"""The first call may compile kernels and take workspaces, which a recording must not."""

TOLERANCE = 1e-3
"""Largest relative difference of the first replay to the function itself."""


class GraphMemory:
    """Memory and stream that some recordings share.

    Those that share must be replayed one after the other, on one stream: what one leaves behind in
    its intermediate tensors, the next overwrites, and so it is with the workspaces of matrix
    products, which belong to the stream that was recorded.
    """

    def __init__(self, device: torch.device, *, urgent: bool = False) -> None:
        """Take a stream, on which recordings are made; its priority is that of their kernels.

        Args:
            device: a GPU.
            urgent: their kernels go before those of other recordings that run meanwhile.
        """
        self.device = device
        with torch.cuda.device(device):
            self.pool = torch.cuda.graph_pool_handle()
            lowest, highest = torch.cuda.current_stream(device).priority_range()
            self.stream = torch.cuda.Stream(device, priority=highest if urgent else lowest)


class Recording:
    """A function of tensors of fixed shapes, ready to be replayed."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        memory: GraphMemory,
    ) -> None:
        """Run the function, record it, and see that the recording computes the same.

        Args:
            name: for people.
            function: of as many tensors as there are inputs; whatever else it reads must stay
                where it is as long as the function lives.
            inputs: of the shapes and types that it will see, with values to check it on. Pinned
                tensors of the host are not copied: the function reads them where they are.
            memory: which this recording shares with others.

        Raises:
            SelfCheckError: the recording computes something else.
        """
        with torch.cuda.device(memory.device):
            held = tuple(x if x.is_pinned() else x.clone() for x in inputs)
            self._inputs = tuple(x for x in held if not x.is_pinned())
            self._reads = function, held  # must live as long as the graph
            memory.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(memory.stream):
                for _ in range(_WARM_UPS):
                    expected = function(*held).clone()
            memory.stream.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # A collection while recording could free another graph, which ends the recording.
            gc.collect()
            with torch.cuda.graph(self._graph, pool=memory.pool, stream=memory.stream):
                self.output = function(*held)
            self._check(name, expected)
            torch.cuda.empty_cache()  # what only the warm-up needed

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Replay on the current stream.

        Args:
            inputs: new values, of those that are not pinned.

        Returns:
            The recording's own result: the next replay overwrites it.
        """
        for goal, value in zip(self._inputs, inputs, strict=True):
            goal.copy_(value)
        self._graph.replay()
        return self.output

    def _check(self, name: str, expected: Tensor) -> None:
        self._graph.replay()
        torch.cuda.current_stream().synchronize()
        norm = torch.linalg.vector_norm(expected.double())
        error = float(torch.linalg.vector_norm(self.output.double() - expected.double()) / norm)
        if not (error <= TOLERANCE or (float(norm) == 0 and not self.output.any())):
            msg = (
                f'self-check: {name}, recorded as a CUDA graph, differs from itself unrecorded by'
                f' {error:.3g} of its norm; {TOLERANCE:g} is allowed. Its results cannot be'
                ' trusted: set acceleration to off'
            )
            raise SelfCheckError(msg)
