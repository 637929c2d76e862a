"""One of several processes that train together: makes a step, and the first writes its gradient."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from recipe_runs import part_of_batch
from safetensors.torch import save_file

from lotus2_ros.training.recipe.build import make_base, make_stage
from lotus2_ros.training.recipe.processes import make_accelerator
from lotus2_ros.training.recipe.settings_files import load_settings
from lotus2_ros.training.recipe.stepper import Stepper


def kept(set_to_none: bool = True) -> None:
    """In place of Adam's `zero_grad`: the gradient is looked at after the step."""
    assert set_to_none


def one_step(stage_name: str, changes: list[str], folder: Path) -> None:
    """Write the gradients by name, and the loss."""
    torch.set_num_threads(1)
    settings = load_settings(changes=changes)
    accelerator = make_accelerator(settings)
    rank, count = accelerator.process_index, accelerator.num_processes
    stage = make_stage(stage_name, make_base(settings, accelerator.device), settings, folder)
    stepper = Stepper(stage, settings, accelerator)
    stepper.adam.zero_grad = kept
    parts = range(rank * stepper.accumulation, (rank + 1) * stepper.accumulation)
    batches = [part_of_batch(part, count * stepper.accumulation) for part in parts]
    figures = stepper.step(0, iter(batches))
    if accelerator.is_main_process:
        gradients = {n: v.grad.contiguous() for n, v in stepper.parameters.items()}
        save_file(gradients, folder / 'gradients.safetensors', metadata={'n': str(count)})
        (folder / 'loss.txt').write_text(repr(figures.loss))
    accelerator.wait_for_everyone()


if __name__ == '__main__':
    one_step(sys.argv[1], sys.argv[3:], Path(sys.argv[2]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
