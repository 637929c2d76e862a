"""How one frame's prediction relates to the next one's, and disparity that does not flicker."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.geometry.scale.frame_alignment import FrameAligner, in_one_light
from lotus2_ros.geometry.scale.steady import Steadier
from lotus2_ros.geometry.scale.transition import NoTransition, Transition


def blurred(rng, shape, sigma):
    values = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), sigma)
    return (values - values.min()) / np.ptp(values)


def panorama(seed, width=1200, height=240):
    """A wide smooth disparity with objects in front, and a picture of it."""
    rng = np.random.default_rng(seed)
    disparity = 0.15 + 0.4 * blurred(rng, (height, width), 40.0)
    disparity += np.linspace(0.0, 0.3, height, dtype=np.float32)[:, None]
    grey = 60 + 120 * blurred(rng, (height, width), 4.0)
    for _ in range(14):
        x, y = rng.integers(0, width - 60), rng.integers(0, height - 60)
        w, h = rng.integers(20, 60, 2)
        disparity[y : y + h, x : x + w] = rng.uniform(0.4, 0.9)
        grey[y : y + h, x : x + w] += rng.uniform(-50, 50)
    return disparity.astype(np.float32), np.clip(grey, 0, 255).astype(np.uint8)


def spoilt(disparity, rng):
    """As the network gives it: another affine map in each frame, and some noise."""
    gain, offset = np.exp(rng.normal(0, 0.15)), rng.normal(0, 0.05)
    noise = 0.002 * rng.normal(size=disparity.shape)
    return (gain * disparity + offset + noise).astype(np.float32), gain, offset


def flicker(frames):
    """Mean standard deviation over time of what belongs to one place."""
    return float(np.std(np.stack(frames), axis=0).mean())


@pytest.mark.parametrize('seed', range(6))
def test_a_still_picture_flickers_at_most_a_third_as_much(seed):
    rng = np.random.default_rng(seed)
    still = panorama(seed)[0][:, :320]
    aligner, steadier = FrameAligner(), Steadier()
    raw, steady = [], []
    for _ in range(40):
        d = spoilt(still, rng)[0]
        raw.append(d)
        steady.append(steadier.update(aligner.update(d)).apply(d))
    assert flicker(steady) < flicker(raw) / 3


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('speed', [2, 8])
def test_a_panning_picture_flickers_at_most_a_third_as_much(seed, speed):
    rng = np.random.default_rng(seed)
    disparity, grey = panorama(seed)
    aligner, steadier = FrameAligner(), Steadier()
    raw, steady = [], []
    frames = 30
    for i in range(frames):
        window = slice(i * speed, i * speed + 320)
        d = spoilt(disparity[:, window], rng)[0]
        exposure = rng.uniform(0.7, 1.3)
        picture = np.clip(exposure * grey[:, window], 0, 255).astype(np.uint8)
        out = steadier.update(aligner.update(d, picture)).apply(d)
        # What is in view in all frames, at its place in the world.
        common = slice((frames - 1 - i) * speed, 320 - i * speed)
        raw.append(d[:, common])
        steady.append(out[:, common])
    assert flicker(steady) < flicker(raw) / 3


@pytest.mark.parametrize('seed', range(5))
def test_the_map_is_found_though_a_third_of_the_picture_moves_by_itself(seed):
    rng = np.random.default_rng(seed)
    before = panorama(seed)[0][:, :320]
    after = before.copy()
    after[:, 200:] = np.roll(before, 70, axis=1)[:, 200:]
    aligner = FrameAligner()
    aligner.update(before)
    found = aligner.update((1.4 * after - 0.1).astype(np.float32))
    assert isinstance(found, Transition)
    assert found.scale == pytest.approx(1.4, rel=0.03)
    assert found.shift == pytest.approx(-0.1, abs=0.02)
    assert rng is not None


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('step', [0, 4])
@pytest.mark.parametrize('exposure', [0.3, 0.5, 2.0])
def test_a_change_of_light_is_no_motion(seed, step, exposure):
    disparity, grey = panorama(seed)
    grey = (60 + 0.25 * grey.astype(np.float32)).astype(np.uint8)  # none is over twice as bright
    aligner = FrameAligner()
    aligner.update(disparity[:, :320], grey[:, :320])
    window = slice(step, step + 320)
    lit = (exposure * grey[:, window]).astype(np.uint8)
    found = aligner.update((1.2 * disparity[:, window] + 0.02).astype(np.float32), lit)
    assert isinstance(found, Transition)
    assert found.moved == pytest.approx(step / 320, abs=0.001)
    assert found.scale == pytest.approx(1.2, rel=0.01)
    assert found.shift == pytest.approx(0.02, abs=0.005)


@given(
    level=st.integers(0, 200),
    contrast=st.integers(0, 55),
    gain=st.floats(0.05, 1.0),
    shift=st.integers(0, 20),
)
def test_pictures_that_differ_in_light_alone_become_alike(level, contrast, gain, shift):
    rng = np.random.default_rng(level)
    one = (level + contrast * rng.random((24, 32))).astype(np.uint8)
    other = (gain * one + shift).astype(np.uint8)
    before, now = in_one_light(one, other)
    assert before.dtype == now.dtype == np.uint8
    assert before.shape == now.shape == one.shape
    backwards = in_one_light(other, one)
    assert np.array_equal(backwards[0], now)
    assert np.array_equal(backwards[1], before)
    if contrast * gain > 8 and gain > 0.2:  # the darker one still has levels
        difference = before.astype(float) - now
        assert difference.std() < 0.15 * contrast


def test_motion_makes_the_map_less_certain():
    disparity, grey = panorama(1)

    def certainty(step):
        aligner = FrameAligner()
        aligner.update(disparity[:, :320], grey[:, :320])
        found = aligner.update(disparity[:, step : step + 320], grey[:, step : step + 320])
        assert isinstance(found, Transition)
        return found.covariance[0, 0], found.moved

    assert certainty(16)[0] > 10 * certainty(0)[0]
    assert certainty(0)[1] == 0.0
    assert certainty(16)[1] == pytest.approx(16 / 320, rel=0.1)


def test_a_cut_is_told_and_the_next_frame_taken_as_it_is():
    aligner, steadier = FrameAligner(), Steadier()
    one, other = panorama(2), panorama(7)
    steadier.update(aligner.update(one[0][:, :320], one[1][:, :320]))
    doubled = 2.0 * one[0][:, :320]
    assert steadier.update(aligner.update(doubled, one[1][:, :320])).gain == pytest.approx(
        0.5, rel=0.02
    )
    cut = aligner.update(1.0 - other[0][:, 600:920], other[1][:, 600:920])
    assert cut == NoTransition('picture changed')
    assert steadier.update(cut) == (1.0, 0.0)


@pytest.mark.parametrize(
    ('second', 'reason'),
    [
        (np.full((240, 320), 0.5, np.float32), 'too little relief'),
        (np.full((240, 320), np.nan, np.float32), 'too little relief'),
        (np.zeros((240, 320), np.float32), 'too little relief'),
        (np.zeros((100, 320), np.float32), 'picture of another size'),
    ],
)
def test_what_cannot_be_related_has_a_reason_and_passes(second, reason):
    aligner, good = FrameAligner(), panorama(3)[0][:, :320]
    assert aligner.update(good) == NoTransition('first frame')
    assert aligner.update(second) == NoTransition(reason)
    aligner.update(good)
    assert isinstance(aligner.update(good), Transition)
    aligner.reset()
    assert aligner.update(good) == NoTransition('first frame')


def test_the_steady_map_takes_a_change_back_and_forgets_in_the_long_run():
    steadier = Steadier()
    change = Transition(2.0, 0.3, np.zeros((2, 2)))
    mapped = steadier.update(change)
    d = np.array([[0.2, 0.7]], np.float32)
    np.testing.assert_allclose(mapped.apply((2.0 * d + 0.3).astype(np.float32)), d, atol=0.02)
    for _ in range(600):
        mapped = steadier.update(Transition(1.0, 0.0, np.zeros((2, 2))))
    np.testing.assert_allclose(mapped, (1.0, 0.0), atol=0.01)
    steadier.update(change)
    steadier.reset()
    assert steadier.update(NoTransition('first frame')).apply(d) is d


def test_scale_and_shift_follow_the_steady_disparity():
    mapped = Steadier().update(Transition(2.0, 0.3, np.zeros((2, 2))))
    a, b = mapped.scale(1.5, 0.2)
    d = np.float32(0.6)
    assert a * mapped.apply(np.array([[d]]))[0, 0] + b == pytest.approx(1.5 * d + 0.2, rel=1e-5)


def pan(seed, speed, frames):
    """Disparity under a new affine map each time, and pictures, of a camera that pans."""
    rng = np.random.default_rng(seed)
    disparity, picture = panorama(seed)
    for number in range(frames):
        window = slice(number * speed, number * speed + 320)
        gain, offset = rng.uniform(0.7, 1.3), rng.uniform(-0.1, 0.1)
        yield (gain * disparity[:, window] + offset).astype(np.float32), picture[:, window].copy()


@pytest.mark.parametrize('scale', [None, (1.5, 0.2)])
@pytest.mark.parametrize('speed', [0, 7])
def test_what_was_prepared_gives_the_same_map(speed, scale):
    plain, prepared = FrameAligner(), FrameAligner()
    for number, (disparity, picture) in enumerate(pan(5, speed, 6)):
        carried = prepared.carry(picture, scale)
        assert (carried is None) == (number == 0)
        one = plain.update(disparity, picture, scale)
        other = prepared.update(disparity, picture, scale, carried)
        if isinstance(one, NoTransition):
            assert other == one
        else:
            assert (one.scale, one.shift, one.moved) == (other.scale, other.shift, other.moved)
            np.testing.assert_array_equal(one.covariance, other.covariance)


def test_what_was_prepared_for_another_frame_picture_or_scale_is_not_used():
    frames = list(pan(6, 5, 4))
    scale = (1.2, 0.1)

    def last(carried_of):
        aligner = FrameAligner()
        for disparity, picture in frames[:2]:
            aligner.update(disparity, picture, scale)
        carried = carried_of(aligner)
        aligner.update(*frames[2], scale)
        return aligner.update(*frames[3], scale, carried)

    expected = last(lambda _: None)
    assert isinstance(expected, Transition)
    for wrong in (
        lambda aligner: aligner.carry(frames[3][1], scale),  # another frame was between
        lambda aligner: aligner.carry(frames[2][1], scale),
        lambda aligner: aligner.carry(frames[3][1], None),
    ):
        found = last(wrong)
        assert (found.scale, found.shift) == (expected.scale, expected.shift)
