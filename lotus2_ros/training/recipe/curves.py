"""The curves of a run: one line a step in log.jsonl, TensorBoard, and the progress bar."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lotus2_ros.closing import Closing
from lotus2_ros.types import UInt8Array

LOG_FILE, BOARD_FOLDER = 'log.jsonl', 'tensorboard'


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of a log. A line that a kill cut short ends it."""
    rows = []
    for line in path.read_text(encoding='utf-8').splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class Curves(Closing):
    """Writes curves; of several processes only the main one has any."""

    def __init__(self, folder: Path, *, step: int, steps: int, shown: bool) -> None:
        """Open the curves of a run.

        What an interrupted run noted after its last checkpoint is dropped: it happens again.

        Args:
            folder: of the run.
            step: steps already made.
            steps: steps in all.
            shown: show a progress bar.
        """
        self._log = folder / LOG_FILE
        rows = [row for row in read_log(self._log) if row['step'] <= step]
        part = self._log.with_suffix('.partial')
        part.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
        part.replace(self._log)
        self._board = SummaryWriter(str(folder / BOARD_FOLDER), purge_step=step + 1)  # type: ignore[no-untyped-call]
        self._bar = tqdm(
            total=steps, initial=step, unit='step', disable=not shown, dynamic_ncols=True
        )

    def close(self) -> None:
        """End the bar and the board."""
        self._bar.close()
        self._board.close()  # type: ignore[no-untyped-call]

    def step(self, step: int, figures: Mapping[str, float]) -> None:
        """Note the figures of a training step."""
        self._write({'step': step, **figures})
        self._scalars('train', step, figures)
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix(
            loss=f'{figures["loss"]:.4g}', samples_s=f'{figures["samples_per_second"]:.3g}'
        )

    def validation(self, step: int, figures: Mapping[str, float]) -> None:
        """Note accuracy."""
        self._write({'step': step, 'validation': dict(figures)})
        self._scalars('validation', step, figures)
        shown = '  '.join(f'{name} {value:.4g}' for name, value in figures.items())
        self.say(f'step {step}: {shown}')

    def picture(self, step: int, picture: UInt8Array) -> None:
        """Note a sample picture (H, W, 3)."""
        self._board.add_image('samples', np.asarray(picture), step, dataformats='HWC')  # type: ignore[no-untyped-call]
        self._board.flush()  # type: ignore[no-untyped-call]

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        if not self._bar.disable:
            self._bar.write(text)

    def _scalars(self, group: str, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._board.add_scalar(f'{group}/{name}', value, step)  # type: ignore[no-untyped-call]

    def _write(self, row: Mapping[str, object]) -> None:
        with self._log.open('a', encoding='utf-8') as file:
            file.write(json.dumps(row) + '\n')


def sync(path: Path) -> None:
    """Make a file's content durable, where it exists."""
    with contextlib.suppress(FileNotFoundError), path.open('rb') as file:
        os.fsync(file.fileno())
