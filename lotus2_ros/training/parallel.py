"""Several processes, one GPU each, that train one model: who they are and how they agree."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The processes of a training run.

    Attributes:
        rank: which one this is; rank 0 reports and writes.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def own_device(device: torch.device) -> torch.device:
        """The GPU torchrun means this process to use, made current; a named device is kept."""
        if device.type != 'cuda' or device.index is not None:
            return device
        own = torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
        torch.cuda.set_device(own)
        return own

    @classmethod
    def joined(cls, device: torch.device) -> Processes:
        """The processes that torchrun started, or this one alone.

        Args:
            device: of this process; decides how they talk.
        """
        count = int(os.environ.get('WORLD_SIZE', '1'))
        if count == 1:
            return cls()
        if not dist.is_initialized():
            # Two backends: gradients go by NCCL, the schedule's few numbers never touch a GPU.
            dist.init_process_group('cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo')
        return cls(dist.get_rank(), count)

    @property
    def first(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    def average(self, values: Tensor) -> None:
        """Replace a tensor by its mean over the processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
            values.div_(self.count)

    def agree(self, *values: float) -> tuple[float, ...]:
        """The first process's numbers, on every process; no GPU waits for it."""
        if self.count == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(shared, 0)
        return tuple(shared.tolist())
