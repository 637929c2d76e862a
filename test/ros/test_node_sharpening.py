"""Two rates: the core on every image, the sharpener now and then, never mixed."""

from __future__ import annotations

import threading
import time

import numpy as np
from rig import Rig, image_of, picture, pixels, wait_until


class Camera:
    """Sends pictures at a rate until told to stop."""

    def __init__(self, rig: Rig, rate: float) -> None:
        self.stamps: list[object] = []
        self._rig, self._rate = rig, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Camera:
        self._rig.publisher('/image', type(image_of(picture())))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1 / self._rate):
            self.stamps.append(self._rig.send(image_of(picture(seed=len(self.stamps)))))


def test_a_request_sharpens_the_next_image_and_keeps_its_stamp(rig: Rig) -> None:
    rig.listen('depth/disparity', 'sharp/depth/disparity', 'sharp/depth/image')
    answer = rig.sharpen()
    assert answer.success, answer.message
    assert '2 steps' in answer.message
    core = rig.frame(picture(), 'depth/disparity')
    sharp = rig.get('sharp/depth/disparity', core.header.stamp)
    assert sharp.header == core.header
    assert not np.array_equal(pixels(sharp), pixels(core))
    rig.get('sharp/depth/image', core.header.stamp)
    assert len(rig.of('depth/disparity')) == 1, 'a sharp result never goes to the core topics'
    rig.frame(picture(seed=1), 'depth/disparity')
    time.sleep(0.3)
    assert len(rig.of('sharp/depth/disparity')) == 1, 'one request is one sharpened image'


def test_a_request_without_a_subscriber_is_refused(rig: Rig) -> None:
    rig.listen('depth/image')
    answer = rig.sharpen()
    assert not answer.success
    assert 'nobody subscribes' in answer.message


def test_the_sharpener_alone_costs_no_core_results(rig: Rig) -> None:
    rig.listen('sharp/normals/image')
    before = rig.node.session.client.counters.accepted
    rig.send(image_of(picture()))
    wait_until(lambda: rig.counts().get('nothing subscribed'), what='the image is left alone')
    assert rig.node.session.client.counters.accepted == before
    assert rig.sharpen().success
    rig.frame(picture(), 'sharp/normals/image')


def test_the_core_keeps_its_pace_while_the_sharpener_runs(rig: Rig) -> None:
    rig.listen('depth/disparity', 'sharp/depth/disparity')
    assert rig.set(sharpen_rate_hz=4.0, sharpen_steps=10) == (True, '')
    rate = 8.0
    with Camera(rig, rate) as camera:
        wait_until(lambda: len(rig.of('sharp/depth/disparity')) >= 4, 30.0, 'sharpened results')
    core, sharp = rig.of('depth/disparity'), rig.of('sharp/depth/disparity')
    # Every image has its core result, but for the few that a busy machine may cost.
    assert len(core) >= 0.7 * len(camera.stamps)
    core_stamps = [m.header.stamp for m in core]
    for message in sharp:
        assert message.header.stamp in camera.stamps
        assert message.header.stamp in core_stamps
    sharp_stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in sharp]
    assert sharp_stamps == sorted(set(sharp_stamps))
    values = rig.status()[2]
    assert values['sharpening'] == '10 steps at 4 Hz'
    assert float(values['sharp result rate [Hz]']) > 0


def test_the_rate_can_be_turned_off_while_running(rig: Rig) -> None:
    rig.listen('depth/disparity', 'sharp/depth/disparity')
    assert rig.set(sharpen_rate_hz=20.0) == (True, '')
    with Camera(rig, 8.0):
        wait_until(lambda: len(rig.of('sharp/depth/disparity')) >= 2, what='sharpened results')
        assert rig.set(sharpen_rate_hz=0.0) == (True, '')
        time.sleep(0.7)  # what is under way may still come
        count = len(rig.of('sharp/depth/disparity'))
        time.sleep(0.7)
        assert len(rig.of('sharp/depth/disparity')) == count


def test_more_steps_give_another_result(rig: Rig) -> None:
    rig.listen('sharp/depth/disparity')
    results = []
    for steps in (1, 10):
        assert rig.set(sharpen_steps=steps) == (True, '')
        assert rig.sharpen().success
        results.append(pixels(rig.frame(picture(seed=4))))
    assert not np.array_equal(*results)
