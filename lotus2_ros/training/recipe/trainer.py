"""A training run: from settings to the published files, resumable at any step."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from lotus2_ros.photographs import write_picture
from lotus2_ros.training.recipe.build import check_settings, find_model, make_base, make_stage
from lotus2_ros.training.recipe.checkpoints import (
    STATE_FILE,
    Checkpoint,
    CheckpointFolder,
    adam_tensors,
    restore,
)
from lotus2_ros.training.recipe.config import FREE_TO_CHANGE, RecipeSettings
from lotus2_ros.training.recipe.curves import LOG_FILE, Curves, sync
from lotus2_ros.training.recipe.datasets import TrainingData, open_data
from lotus2_ros.training.recipe.errors import TrainingError
from lotus2_ros.training.recipe.export import export_core, export_sharpener
from lotus2_ros.training.recipe.pictures import sample_sheet
from lotus2_ros.training.recipe.processes import Accelerator, make_accelerator
from lotus2_ros.training.recipe.settings_files import as_mapping, flat_values
from lotus2_ros.training.recipe.stages import CoreStage, SharpenerStage
from lotus2_ros.training.recipe.stepper import Stepper
from lotus2_ros.training.recipe.validation import measure_name, validate

CONFIG_FILE, MODEL_FOLDER, CHECKPOINT_FOLDER = 'config.yaml', 'model', 'checkpoints'
PICTURE_FOLDER = 'pictures'


class Trainer:
    """One run in one folder. Made anew in the same folder it goes on from the last checkpoint.

    The folder holds config.yaml, log.jsonl, tensorboard/, pictures/, checkpoints/ and, in the end,
    model/ with the published files.
    """

    def __init__(
        self, stage: str, settings: RecipeSettings, out: Path, *, shown: bool = True
    ) -> None:
        """Load everything and find the last checkpoint.

        Args:
            stage: 'core' or 'sharpener'.
            settings: of the run.
            out: its folder.
            shown: show a progress bar.

        Raises:
            Lotus2Error: a child of it for settings, devices, model files, data or checkpoints that
                cannot be used; says which and why.
        """
        check_settings(stage, settings)
        self.settings = settings
        self.out = out
        self.accelerator: Accelerator = make_accelerator(settings)
        self._shown = shown and self.is_main
        self._checkpoints = CheckpointFolder(out / CHECKPOINT_FOLDER, settings.checkpoints.keep)
        self._about = {
            'stage': stage,
            'devices': self.accelerator.num_processes,
            'settings': as_mapping(settings),
        }
        found = self._last_checkpoint()
        self.data: TrainingData = open_data(settings, self.accelerator)
        # One fetches the base and computes the prompt's embeddings, the others find them.
        with self.accelerator.main_process_first():
            base = make_base(settings, self.accelerator.device)
        self.stage = make_stage(stage, base, settings, out)
        self._stepper = Stepper(self.stage, settings, self.accelerator)
        self.step = 0
        if found is not None:
            restore(found, self._stepper.adam, self._stepper.parameters)
            self.step = found.step
        self._stop = False

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return bool(self.accelerator.is_main_process)

    @property
    def model_folder(self) -> Path:
        """Where the published files go."""
        return self.out / MODEL_FOLDER

    def _last_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to go on from, once it is known to be of the same training."""
        steps = self._checkpoints.steps()
        if not steps:
            return None
        found = self._checkpoints.load(steps[-1])
        free: tuple[str, ...] = FREE_TO_CHANGE
        if self.settings.optimiser.schedule != 'constant':
            free = tuple(name for name in free if name != 'steps')
        before = {**_kept(found.about['settings'], free), 'stage': found.about['stage']}
        now = {**_kept(self._about['settings'], free), 'stage': self._about['stage']}
        before['devices'], now['devices'] = found.about['devices'], self._about['devices']
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            name = changed[0]
            msg = (
                f'{self.out} holds step {found.step} of a training with {name} ='
                f' {before.get(name)!r}, now {now[name]!r}'
                f'{f" (and {len(changed) - 1} more differ)" if changed[1:] else ""}: it cannot go'
                ' on the same way. Take the former settings, or another --out'
            )
            raise TrainingError(msg)
        return found

    def run(self) -> bool:
        """Train to the end, or until SIGINT or SIGTERM asks to stop, which loses nothing.

        Returns:
            True when all steps are made; the model is written then.

        Raises:
            TrainingError: the loss is no longer finite, or the disk refuses.
        """
        if self.is_main:
            self.out.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(as_mapping(self.settings), sort_keys=False)
            (self.out / CONFIG_FILE).write_text(text, encoding='utf-8')
        curves: Any = contextlib.nullcontext()
        if self.is_main:
            total = self.settings.steps
            curves = Curves(self.out, step=self.step, steps=total, shown=self._shown)
        with curves as board, self._stopping():
            self._train(board)
        if self.step < self.settings.steps:
            return False
        self.export()
        return True

    def _train(self, board: Curves | None) -> None:
        settings = self.settings
        if self.step >= settings.steps:
            return
        batches = self.data.batches(self.step * self._stepper.accumulation, settings.workers)
        with contextlib.closing(batches):
            while self.step < settings.steps:
                begun = time.perf_counter()
                figures = self._stepper.step(self.step, batches, stop=self._stop)
                self.step += 1
                if board is not None:
                    rate = settings.batch.total / (time.perf_counter() - begun)
                    row = {'loss': figures.loss, 'norm': figures.norm, 'lr': figures.rate}
                    board.step(self.step, {**row, 'samples_per_second': rate})
                last = figures.stop or self.step == settings.steps
                self._look(board)
                self._keep(board, last=last)
                if last:
                    return

    def _look(self, board: Curves | None) -> None:
        """Sample pictures, where they are due."""
        about = self.settings.pictures
        if board is None or not (about.every and _due(self.step, about.every, self.settings.steps)):
            return
        batch = self.data.samples()
        sheet = sample_sheet(self.stage, batch, about.count, self.settings.validation.sharpen_steps)
        folder = self.out / PICTURE_FOLDER
        folder.mkdir(exist_ok=True)
        write_picture(folder / f'step-{self.step:08d}.png', sheet)
        board.picture(self.step, sheet)

    def _keep(self, board: Curves | None, *, last: bool) -> None:
        """Validation where it is due, and a checkpoint after it."""
        settings = self.settings
        metric = None
        if self.data.validation and _due(self.step, settings.validation.every, settings.steps):
            figures = validate(self.stage, self.data.validation, settings, self.accelerator)
            metric = figures[measure_name(self.stage, settings)]
            if board is not None:
                board.validation(self.step, figures)
        if not (last or metric is not None or self.step % settings.checkpoints.every == 0):
            return
        self.stage.flush()
        if self.is_main:
            sync(self.out / LOG_FILE)
            parameters = self._stepper.parameters
            self._checkpoints.save(
                Checkpoint(
                    step=self.step,
                    weights={name: value.detach() for name, value in parameters.items()},
                    adam=adam_tensors(self._stepper.adam, parameters),
                    metric=metric,
                    about=self._about,
                )
            )
        self.accelerator.wait_for_everyone()

    def export(self, folder: Path | None = None) -> Path:
        """Write the published files; the folder is `model` in the run's folder by default."""
        goal = folder or self.model_folder
        if self.is_main:
            if isinstance(self.stage, CoreStage):
                export_core(goal, self.stage, self.settings)
            else:
                assert isinstance(self.stage, SharpenerStage)
                core = find_model(self.settings.core, ())
                export_sharpener(goal, self.stage, core, self.settings)
            run = {'stage': self.stage.name, 'step': self.step, 'bad_samples': self.data.bad()}
            (self.out / 'run.json').write_text(json.dumps(run, indent=2) + '\n', encoding='utf-8')
        self.accelerator.wait_for_everyone()
        return goal

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Let SIGINT and SIGTERM end the run after the step at hand."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread only
            return

        def ask(number: int, _frame: FrameType | None) -> None:
            if self._stop and number == signal.SIGINT:
                raise KeyboardInterrupt  # asked twice: at once
            self._stop = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _due(step: int, every: int, steps: int) -> bool:
    """Every so many steps, and at the end."""
    return step == steps or (every > 0 and step % every == 0)


def _kept(settings: dict[str, Any], free: tuple[str, ...]) -> dict[str, Any]:
    """Settings by dotted key, without those that may change."""
    flat = flat_values(settings, STATE_FILE)
    return {
        key: value
        for key, value in flat.items()
        if not any(key == name or key.startswith(f'{name}.') for name in free)
    }
