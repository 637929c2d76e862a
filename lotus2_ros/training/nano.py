"""The whole recipe in order: textures, autoencoder, decoder, core, sharpener, export."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lotus2_ros.model.latents import decode_latents, encode_images
from lotus2_ros.training.core_stage import train_core
from lotus2_ros.training.decoder_stage import train_decoder
from lotus2_ros.training.export import export_model
from lotus2_ros.training.network import TwoStageNetwork, build_vae
from lotus2_ros.training.optimiser import Clock, Optimiser
from lotus2_ros.training.parallel import Processes
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.run import TrainingRun
from lotus2_ros.training.scenes import SceneSource, render
from lotus2_ros.training.settings import Optimisation, TrainingSettings
from lotus2_ros.training.sharpener_stage import train_sharpener
from lotus2_ros.training.start import start_from
from lotus2_ros.training.state import RunState
from lotus2_ros.training.textures import (
    TRAINING_PHOTOGRAPHS,
    build_pyramid,
    load_photographs,
)
from lotus2_ros.training.vae_stage import measure_latents, train_vae

STAGES = ('vae', 'decoder', 'core', 'sharpener')
_TRAIN = {
    'vae': train_vae,
    'decoder': train_decoder,
    'core': train_core,
    'sharpener': train_sharpener,
}
_DECODER = 'vae.decoder.'
"""Before the names of the decoder's parameters, which the core's stage may train along."""


class NanoTraining:
    """A run of the recipe that can stop at any step and go on later."""

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        device: torch.device | str,
        *,
        start: Path | None = None,
        photographs: Path | None = None,
        whole: bool = True,
        say: Callable[[str], None] = print,
    ) -> None:
        """Prepare textures, networks and the state of an earlier run.

        Args:
            settings: the recipe.
            folder: holds `state.pt` and `log.jsonl`; made if missing.
            device: to train on. Under torchrun each process takes a GPU of its own.
            start: model folder to begin from, unless the folder holds a state; default from
                nothing.
            photographs: folder with the photographs, if not where the packages keep them.
            whole: keep averages and the optimiser's moments in the state file; without them it is
                a sixth of the size and a stage resumes with a warm-up.
            say: takes a line of progress.
        """
        self.settings = settings
        self.folder = folder
        self.device = Processes.own_device(torch.device(device))
        self.processes = Processes.joined(self.device)
        self._say = say if self.processes.first else lambda _line: None
        self._photographs = photographs
        self._whole = whole
        self._begun = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        # TF32 keeps ten bits of mantissa in matrix products, enough for training.
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        # cuDNN's attention gave non-finite gradients in bfloat16.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.state = RunState.load(folder / 'state.pt', self.device)
        self.state.runs += 1
        self._build(start)

    def _build(self, start: Path | None) -> None:
        settings, device = self.settings, self.device
        # A resumed run goes on with textures and scenes that no earlier run has seen, and no two
        # processes see the same.
        seed = settings.seed + 1000 * self.state.runs + 100_000 * self.processes.rank
        draws = Draws(torch.Generator(device).manual_seed(seed))
        images = load_photographs(TRAINING_PHOTOGRAPHS, self._photographs)
        textures = build_pyramid(images, draws, settings.textures)
        with torch.random.fork_rng():
            # diffusers initialises from the global state; it is put back after.
            torch.manual_seed(settings.seed)
            vae = build_vae(settings.architecture).to(device)
            network = TwoStageNetwork(settings.architecture, device)
        if start is not None and self.state.vae is None:
            self.state.scaling = start_from(start, network, vae)
        if device.type == 'cuda':
            vae.to(memory_format=torch.channels_last)
        renderer: Any = render
        encode: Any = encode_images
        decode: Any = decode_latents
        if settings.compiled:
            torch._dynamo.config.recompile_limit = 64
            renderer = torch.compile(render, dynamic=False)
            encode = torch.compile(encode_images, dynamic=False)
            decode = torch.compile(decode_latents, dynamic=False)
            network.compile_blocks()
        stream = torch.Generator(device).manual_seed(seed + 1)
        source = SceneSource(textures, stream, renderer=renderer)
        self.bench = TrainingRun(
            settings, network, vae, source, draws, encode, decode, self._report
        )
        if self.state.vae is not None:
            vae.load_state_dict(self.state.vae)
        if self.state.scaling is not None:
            self._set_scaling(*self.state.scaling)
        if self.state.network is not None:
            network.load_state_dict(self.state.network)

    @property
    def vae(self) -> Any:
        """The autoencoder in training."""
        return self.bench.vae

    @property
    def network(self) -> TwoStageNetwork:
        """The two-stage network in training."""
        return self.bench.network

    def _set_scaling(self, scaling: float, shift: float) -> None:
        self.vae.register_to_config(scaling_factor=scaling, shift_factor=shift)

    def run(self, seconds: float = float('inf'), *, last_stage: str = STAGES[-1]) -> bool:
        """Go on with the stages for a while.

        Args:
            seconds: stop after this much time since the run was prepared.
            last_stage: stop after this stage.

        Returns:
            True if all stages up to the last one are finished.
        """
        for stage in STAGES[: STAGES.index(last_stage) + 1]:
            (left,) = self.processes.agree(seconds - (time.monotonic() - self._begun))
            if left <= 0 or not self._run_stage(stage, left):
                return False
        return True

    def _run_stage(self, stage: str, left: float) -> bool:
        parameters, settings = self._trained(stage)
        if settings.seconds <= 0 or (stage in self.state.stages and self._over(stage, settings)):
            return True
        for module in (self.vae, self.network):
            module.requires_grad_(False)
        for value in parameters.values():
            value.requires_grad_(True)
        clock = Clock(settings, agree=self.processes.agree)
        optimiser = Optimiser(parameters, clock, self.processes)
        self.state.restore(stage, optimiser)
        self._say(f'{stage}: {sum(v.numel() for v in parameters.values()) / 1e6:.2f} M parameters')
        _TRAIN[stage](self.bench, optimiser, until=left)
        over = clock.progress >= 1
        if over:
            optimiser.load_average()
        optimiser.release()
        if over and stage == 'vae':
            self.state.scaling = self.processes.agree(*measure_latents(self.bench))  # type: ignore[assignment]
            self._set_scaling(*self.state.scaling)  # type: ignore[misc]
        self.state.record(stage, optimiser, whole=self._whole and not over)
        self._record_weights()
        return over

    def _trained(self, stage: str) -> tuple[dict[str, nn.Parameter], Optimisation]:
        if stage == 'vae':
            return dict(self.vae.named_parameters()), self.settings.vae
        decoder = {_DECODER + k: v for k, v in self.vae.decoder.named_parameters()}
        if stage == 'decoder':
            return decoder, self.settings.decoder
        if stage == 'core':
            along = decoder if self.settings.decoder_with_core else {}
            return {**self.network.core_parameters(), **along}, self.settings.core
        return self.network.sharpener_parameters(), self.settings.sharpener

    def _over(self, stage: str, settings: Optimisation) -> bool:
        done = self.state.stages[stage]
        return done.seconds >= settings.seconds or done.steps >= settings.steps

    def _record_weights(self) -> None:
        self.state.vae = self.vae.state_dict()
        weights = self.network.state_dict()
        self.state.network = weights if self._whole else {k: v.half() for k, v in weights.items()}
        if self.processes.first:
            self.state.save(self.folder / 'state.pt')

    def export(self, folder: Path) -> None:
        """Write the model folder; a stage that is not over is written with its average, if kept."""
        modules = {'': self.network, _DECODER: self.vae.decoder}
        current = {
            prefix: {k: v.clone() for k, v in module.state_dict().items()}
            for prefix, module in modules.items()
        }
        for stage in ('decoder', 'core'):
            unfinished = self.state.stages.get(stage)
            if unfinished is not None and unfinished.average is not None:
                for prefix, module in modules.items():
                    module.load_state_dict(
                        {**current[prefix], **_under(prefix, unfinished.average)}
                    )
        export_model(folder, self.network, self.vae, self.settings.architecture)
        for prefix, module in modules.items():
            module.load_state_dict(current[prefix])

    def _report(self, stage: str, step: int, figures: dict[str, float]) -> None:
        if not all(math.isfinite(value) for value in figures.values()):
            raise FloatingPointError(f'{stage} is no longer finite at step {step}: {figures}')
        if not self.processes.first:
            return
        seconds = time.monotonic() - self._begun
        with (self.folder / 'log.jsonl').open('a') as file:
            row = {'stage': stage, 'step': step, 'seconds': round(seconds, 2), **figures}
            file.write(json.dumps(row) + '\n')
        if step % 500 == 0 or step == 100:
            shown = ' '.join(f'{name} {value:.4g}' for name, value in figures.items())
            self._say(f'[{seconds:6.1f} s] {stage} {step}: {shown}')


def _under(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """The network's values, or the decoder's without the prefix of their names."""
    if prefix:
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    return {k: v for k, v in values.items() if not k.startswith(_DECODER)}
