"""The model's process on a GPU; the rest of the suite needs none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recorder import Recorder, make_client, wait_gone

from lotus2_ros.runtime import Lotus2Predictor
from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import TASKS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')

FAULT = """
import sys, torch
from lotus2_ros.worker.faults import classify
try:
    {action}
    torch.cuda.synchronize()
except BaseException as error:
    print(classify(error))
"""
OUT_OF_BOUNDS = "torch.zeros(3, device='cuda')[torch.tensor([5], device='cuda')]"
TOO_MUCH = "torch.empty(1 << 50, dtype=torch.uint8, device='cuda')"


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_frames_on_the_gpu_a_kill_and_a_recovery(
    tiny_model: Path, photo: NDArray[np.uint8], precision: str
) -> None:
    settings = ModelSettings(model=str(tiny_model), device='cuda', precision=precision)
    recorder = Recorder()
    client = make_client(settings, recorder, load_timeout_s=170.0)
    client.configure(sharpen_rate_hz=20.0, sharpen_steps=3)
    client.start()
    try:
        recorder.wait_state('ready', 180)
        assert client.info['device'].startswith('cuda')
        assert client.info['precision'] == precision
        predictor = Lotus2Predictor.from_pretrained(
            str(tiny_model), device='cuda', precision=precision
        )
        expected = predictor.predict(photo)
        assert client.submit(photo, tasks=TASKS, sharp_tasks=TASKS)
        recorder.wait(lambda: bool(recorder.core()))
        first = recorder.core()[0]
        assert first.disparity.tobytes() == expected.disparity.tobytes()
        assert first.normals.tobytes() == expected.normals.tobytes()
        recorder.wait(lambda: bool(recorder.sharp()))

        pid = client.pid
        os.kill(pid, signal.SIGKILL)
        recorder.wait_state('recovering')
        recorder.wait_state('ready', 180)
        recorder.forget()
        assert client.submit(photo, tasks=TASKS)
        recorder.wait(lambda: bool(recorder.core()))
        assert recorder.core()[0].disparity.tobytes() == expected.disparity.tobytes()
        pid = client.pid
    finally:
        client.stop()
    assert wait_gone(pid)


def test_sharpening_beside_frames_gives_the_bytes_of_sharpening_alone(
    tiny_model: Path, photo: NDArray[np.uint8]
) -> None:
    pytest.importorskip('triton')
    settings = ModelSettings(
        model=str(tiny_model), device='cuda', acceleration='on', sharpen_stepping='beside'
    )
    recorder = Recorder()
    client = make_client(settings, recorder, load_timeout_s=170.0)
    client.configure(sharpen_rate_hz=20.0, sharpen_steps=10)
    client.start()
    try:
        recorder.wait_state('ready', 180)
        predictor = Lotus2Predictor.from_pretrained(
            str(tiny_model), device='cuda', acceleration='on'
        )
        core = predictor.predict(photo)
        sharp = predictor.predict(photo, sharpen_steps=10)
        while len(recorder.sharp()) < 3:
            count = len(recorder.core())
            assert client.submit(photo, tasks=TASKS, sharp_tasks=TASKS)
            recorder.wait(lambda count=count: len(recorder.core()) > count)
        for results, expected in ((recorder.core(), core), (recorder.sharp(), sharp)):
            for result in results:
                assert result.disparity.tobytes() == expected.disparity.tobytes()
                assert result.normals.tobytes() == expected.normals.tobytes()
    finally:
        client.stop()


@pytest.mark.parametrize(('action', 'fault'), [(OUT_OF_BOUNDS, 'sticky'), (TOO_MUCH, 'memory')])
def test_real_cuda_errors_are_told_apart(action: str, fault: str) -> None:
    done = subprocess.run(
        [sys.executable, '-c', FAULT.format(action=action)], capture_output=True, text=True
    )
    assert done.stdout.strip() == fault, done.stderr
