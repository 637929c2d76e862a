from __future__ import annotations

import cv2
import numpy as np
import pytest

from lotus2_ros.ros.image_content import ImageContent, ImageContentError
from lotus2_ros.types import UInt8Array

RANDOM = np.random.default_rng(5)
SHAPE = (480, 640, 3)


def noisy(level: float, sigma: float) -> UInt8Array:
    return np.clip(RANDOM.normal(level, sigma, SHAPE), 0, 255).astype(np.uint8)


def scene(darkness: float = 1.0) -> UInt8Array:
    """Blocks of many brightnesses, with the noise of a sensor."""
    blocks = RANDOM.uniform(20, 235, (6, 8, 3)).astype(np.float32)
    picture = cv2.resize(blocks, SHAPE[1::-1], interpolation=cv2.INTER_NEAREST) / darkness
    return np.clip(picture + RANDOM.normal(0, 1.5, SHAPE), 0, 255).astype(np.uint8)


def with_light(picture: UInt8Array, level: int) -> UInt8Array:
    """A spot on 4 % of the area."""
    picture = picture.copy()
    picture[:96, :128] = level
    return picture


def check(content: ImageContent, rgb: UInt8Array, now_s: float = 0.0, **settings: float) -> str:
    """The cause of its refusal, or nothing."""
    try:
        content.check(rgb, now_s, **{'min_contrast': 4.0, 'frozen_timeout_s': 3.0, **settings})
    except ImageContentError as error:
        return error.cause if error.remedy and error.cause in str(error) else f'unclear: {error}'
    finally:
        content.follow(rgb)
    return ''


@pytest.mark.parametrize(
    ('rgb', 'cause'),
    [
        (np.zeros(SHAPE, np.uint8), 'black image'),
        (noisy(3.0, 3.0), 'black image'),
        (with_light(np.zeros(SHAPE, np.uint8), 255), 'black image'),
        (np.full(SHAPE, 255, np.uint8), 'overexposed image'),
        (noisy(256.0, 3.0), 'overexposed image'),
        (with_light(np.full(SHAPE, 255, np.uint8), 0), 'overexposed image'),
        (noisy(120.0, 1.0), 'uniform image'),
        (np.zeros((1, 1, 3), np.uint8), 'black image'),
        (scene(), ''),
        (scene(darkness=6.0), ''),
        (scene() // 8 + 220, ''),
        (noisy(120.0, 8.0), ''),
    ],
    ids=[
        'black', 'noise in the dark', 'a lamp in the dark', 'white', 'noise near white',
        'a spot on white', 'covered', 'one black pixel', 'scene', 'dark scene', 'pale scene',
        'texture',
    ],
)  # fmt: skip
def test_an_image_without_content_is_refused_by_name(rgb: UInt8Array, cause: str) -> None:
    assert check(ImageContent(), rgb) == cause
    assert check(ImageContent(), rgb, min_contrast=0.0) == ''


def test_an_image_repeated_for_too_long_is_refused_until_it_changes() -> None:
    content, picture = ImageContent(), scene()
    said = [check(content, picture, 0.1 * i) for i in range(40)]
    assert said[:31] == [''] * 31
    assert set(said[32:]) == {'frozen image'}
    changed = picture.copy()
    changed[100, 101, 2] ^= 1  # between the samples
    assert check(content, changed, 4.0) == ''
    assert check(content, changed, 6.9) == ''
    assert check(content, picture, 9.0) == ''


def test_a_change_between_the_samples_is_a_change() -> None:
    content = ImageContent()
    for i in range(100):
        picture = np.tile(np.arange(128, 256, dtype=np.uint8), 960)[:, None].repeat(3, 1)
        picture = np.ascontiguousarray(picture.reshape(240, 512, 3))
        picture[1, 1, 0] = i
        assert check(content, picture, 0.1 * i) == ''


def test_a_slow_camera_may_repeat_itself_a_few_times() -> None:
    content, picture = ImageContent(), scene()
    assert [check(content, picture, 10.0 * i) for i in range(4)] == ['', '', '', 'frozen image']


def test_zero_takes_repeated_images_for_ever_and_a_reset_forgets() -> None:
    content, picture = ImageContent(), scene()
    assert not any(check(content, picture, float(i), frozen_timeout_s=0.0) for i in range(50))
    assert check(content, picture, 50.0) == 'frozen image'
    content.reset()
    assert check(content, picture, 51.0) == ''
