from __future__ import annotations

import pytest
import torch

from lotus2_ros.errors import DeviceError, ImageError, SettingsError
from lotus2_ros.worker.faults import classify


def test_memory_that_the_cpu_allocator_cannot_get_is_a_matter_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert classify(caught.value) == 'memory'


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'),
        RuntimeError('CUDA error: out of memory'),
        RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate'),
        MemoryError(),
    ],
)
def test_lack_of_memory_may_be_tried_again(error: Exception) -> None:
    assert classify(error) == 'memory'


@pytest.mark.parametrize(
    'text',
    [
        'CUDA error: an illegal memory access was encountered',
        'CUDA error: device-side assert triggered',
        'CUDA error: unspecified launch failure',
        'cuDNN error: CUDNN_STATUS_EXECUTION_FAILED',
        'CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasSgemm',
        'CUDA error: something nobody has seen yet',
    ],
)
def test_every_other_device_error_ends_the_process(text: str) -> None:
    assert classify(RuntimeError(text)) == 'sticky'
    assert classify(torch.AcceleratorError(text)) == 'sticky'


@pytest.mark.parametrize(
    'error', [ImageError('CUDA in a file name'), SettingsError('x'), ValueError('CUDA'), KeyError()]
)
def test_other_errors_concern_their_frame_alone(error: Exception) -> None:
    assert classify(error) == 'frame'


def test_an_error_of_ours_is_judged_by_its_cause() -> None:
    error = DeviceError('too little memory')
    error.__cause__ = torch.OutOfMemoryError('CUDA out of memory')
    assert classify(error) == 'memory'
