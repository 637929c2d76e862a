"""From an image message to a frame committed to the worker; everything that can be dropped is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from lotus2_ros.errors import ImageError, WorkerError
from lotus2_ros.ros.camera import Camera, CameraTracker
from lotus2_ros.ros.codecs import decode_image, image_size
from lotus2_ros.ros.compressed import compressed_size, decode_compressed
from lotus2_ros.ros.edge_search import edge_search
from lotus2_ros.ros.image_content import ImageContent, ImageContentError
from lotus2_ros.ros.monitor import Monitor
from lotus2_ros.ros.pictures import colors_of, grey_of, picture_size
from lotus2_ros.ros.plan import POINTS, Plan, make_plan
from lotus2_ros.ros.problems import ProblemLog
from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.scale import ScaleKeeper
from lotus2_ros.ros.stamps import STAMP_REMEDY, StampGate
from lotus2_ros.ros.taking import TakenImage
from lotus2_ros.settings import NodeSettings
from lotus2_ros.types import TASKS, UInt8Array
from lotus2_ros.worker.client import WorkerClient


@dataclass(frozen=True)
class Wanted:
    """Topics that somebody subscribes to, of both sets."""

    core: frozenset[str]
    sharp: frozenset[str]


class Intake:
    """Takes images on a thread of their own; everything else is called on the executor's.

    Args:
        client: the worker.
        submitting: held while an image goes to the worker, by all that share it.
        stream: of the images in the worker.
        monitor: counts and times.
        tracker: the camera.
        settings: gives the settings as they are now.
        wanted: gives the subscribed topics.
        now_ns: the node's clock.
        simulated: tells whether that clock is simulated time.
        clock_reset: told that the camera's clock was set back.
        scale: told which frames the model works on.
        log: takes one line about an image that cannot be used.
    """

    def __init__(
        self,
        client: WorkerClient,
        *,
        submitting: threading.Lock,
        stream: int,
        monitor: Monitor,
        tracker: CameraTracker,
        settings: Callable[[], NodeSettings],
        wanted: Callable[[], Wanted],
        now_ns: Callable[[], int],
        simulated: Callable[[], bool],
        clock_reset: Callable[[], Any],
        scale: ScaleKeeper,
        log: Callable[[str], Any],
    ) -> None:
        self._client = client
        self._submitting = submitting
        self._stream = stream
        self._monitor = monitor
        self._tracker = tracker
        self._settings = settings
        self._wanted = wanted
        self._now_ns = now_ns
        self._simulated = simulated
        self._clock_reset = clock_reset
        self._scale = scale
        self._problems = ProblemLog(log)
        self._gate = StampGate()
        self._content = ImageContent()
        self._sharpen_requested = False
        self._sharp_submitted = float('-inf')
        self.epoch = 0
        self.camera: Camera | None = None
        self.camera_problem = ''
        self.image_size: tuple[int, int] | None = None

    def restart(self) -> None:
        """Forget what came before: results under way are not published, any stamp is new."""
        with self._submitting:
            self.epoch += 1
            self._gate.reset()
            self._content.reset()

    def plans(self, wanted: Wanted) -> tuple[Plan, Plan]:
        """What is delivered of the core and of a sharpened result, for the last known camera."""
        settings = self._settings()
        no_camera = '' if self.camera else self.camera_problem or 'no image has come yet'
        return (
            make_plan(wanted.core, settings, no_camera),
            make_plan(wanted.sharp, settings, no_camera),
        )

    def request_sharpen(self) -> bool:
        """Sharpen the next possible frame; False unless the worker is ready."""
        self._sharpen_requested = self._client.request_sharpen()
        return self._sharpen_requested

    def take(self, message: Image | TakenImage | CompressedImage) -> None:
        """Submit an image, or drop and count it; of its data nothing is kept."""
        received = time.monotonic()
        with self._submitting:
            self._take(message, received)

    def _take(self, message: Image | TakenImage | CompressedImage, received: float) -> None:
        self._monitor.event('input')
        cause = self._stamp_problem(message)
        if cause:
            self._monitor.count(cause)
            self._report(f'{cause}: {STAMP_REMEDY[cause]}')
            return
        try:
            dropped = self._submit(message, received)
        except ImageContentError as error:
            self._monitor.count(error.cause)
            self._report(str(error), error.remedy)
            return
        except ImageError as error:
            self._monitor.count('bad image')
            self._report(f'bad image: {error}')
            return
        except WorkerError as error:
            self._monitor.count('no shared memory')
            self._report(f'no shared memory: {error}', 'free memory, or use smaller images')
            return
        self._monitor.input_problem('')
        if dropped:
            self._monitor.count(dropped)

    def _stamp_problem(self, message: Image | TakenImage | CompressedImage) -> str | None:
        stamp = message.header.stamp
        resets = self._gate.clock_resets
        cause = self._gate.reject(
            stamp.sec,
            stamp.nanosec,
            now_ns=self._now_ns(),
            max_age_s=self._settings().max_image_age_s,
        )
        if self._gate.clock_resets != resets:
            self._monitor.count('camera clock reset')
            self.epoch += 1  # results of the time before would come out between the new ones
            self._clock_reset()
        return cause

    def _report(self, text: str, remedy: str = '') -> None:
        self._monitor.input_problem(text, remedy)
        self._problems.report(text)

    def _submit(self, message: Image | TakenImage | CompressedImage, received: float) -> str | None:
        settings = self._settings()
        compressed = isinstance(message, CompressedImage)
        height, width = compressed_size(message) if compressed else image_size(message)
        self._look_at_camera(width, height, message.header.frame_id, settings)
        self.image_size = (width, height)
        core, sharp = self.plans(self._wanted())
        if not core.tasks and not self._sharp_due(sharp, settings):
            return 'nothing subscribed'
        view = self._client.begin_frame(height, width, self._stream)
        if view is None:
            return 'worker busy' if self._client.state == 'ready' else 'model not ready'
        raw = np.empty_like(view) if self._rectifier else view
        if compressed:
            decode_compressed(message, raw)
        else:
            decode_image(message, raw)
        self._content.check(
            raw,
            received,
            min_contrast=settings.min_contrast,
            # A simulated camera has no noise: it repeats itself while nothing moves.
            frozen_timeout_s=0.0 if self._simulated() else settings.frozen_timeout_s,
        )
        try:
            if self._rectifier:
                np.copyto(view, self._rectifier.apply(raw))
            self._monitor.durations([('decode', time.monotonic() - received)])
            return self._commit(message.header, received, view, settings, core, sharp)
        finally:
            self._content.follow(raw)

    def _commit(
        self,
        header: Header,
        received: float,
        view: UInt8Array,
        settings: NodeSettings,
        core: Plan,
        sharp: Plan,
    ) -> str | None:
        """Send the view to the worker; until the next is begun, it may still be read."""
        height, width = view.shape[:2]
        size = _output_size(height, width, settings.output_scale)
        colors = _wanted_colors(core, sharp, settings)
        frame = Frame(
            header=header,
            settings=settings,
            core=core,
            sharp=sharp,
            camera=self.camera,
            rgb=colors,
            epoch=self.epoch,
            received=received,
            stream=self._stream,
            picture=self._picture(view, size, settings),
            search=edge_search(
                settings,
                core,
                self.camera,
                size,
                shift=self._scale.expected_shift(settings),
                device=str(self._client.info.get('device', '')),
            ),
            size=size,
        )
        wanted_tasks = {*core.tasks, *sharp.tasks}
        if not core.tasks:
            self._client.request_sharpen()
        accepted = False
        self._scale.coming(frame)  # its result may be here before the next line
        try:
            accepted = self._client.commit_frame(
                tasks=tuple(task for task in TASKS if task in wanted_tasks),
                sharp_tasks=sharp.tasks,
                max_side=settings.max_side,
                output_size=size,
                search=frame.search,
                context=frame,
            )
        finally:
            if not accepted:
                self._scale.answered(frame)
        if not accepted:
            return 'worker lost'
        if colors is not None:
            _give_colors(colors, view, size)
        self._sharpen_requested = False
        self._scale.sent()
        return None

    @property
    def _rectifier(self) -> Any:
        return self.camera.rectifier if self.camera else None

    def _look_at_camera(
        self, width: int, height: int, frame_id: str, settings: NodeSettings
    ) -> None:
        self.camera, self.camera_problem = self._tracker.camera(
            width,
            height,
            frame_id,
            rectified=settings.input_rectified,
            fallback_hfov_deg=settings.fallback_hfov_deg,
        )

    def _sharp_due(self, sharp: Plan, settings: NodeSettings) -> bool:
        """Whether a frame that only the sharpener wants is worth the core's work."""
        if not sharp.tasks:
            return False
        now = time.monotonic()
        rate = settings.sharpen_rate_hz
        due = self._sharpen_requested or (rate > 0 and now - self._sharp_submitted >= 1 / rate)
        if due:
            self._sharp_submitted = now
        return due

    def _picture(
        self, view: UInt8Array, size: tuple[int, int], settings: NodeSettings
    ) -> UInt8Array | None:
        references = settings.references()
        if not references and not settings.steady:
            return None
        height, width = size
        return grey_of(view, picture_size(references, width, height))


def _wanted_colors(core: Plan, sharp: Plan, settings: NodeSettings) -> Future[UInt8Array] | None:
    if not settings.cloud_color or POINTS not in core.deliver | sharp.deliver:
        return None
    return Future()


def _give_colors(colors: Future[UInt8Array], view: UInt8Array, size: tuple[int, int]) -> None:
    """Keep an image (H, W, 3) at the size (h, w) of the results: the next one overwrites it."""
    try:
        kept = colors_of(view, size[::-1])
    except Exception as error:  # whoever waits for them must hear of it
        colors.set_exception(error)
        raise
    colors.set_result(kept)


def _output_size(height: int, width: int, scale: float) -> tuple[int, int]:
    return max(1, round(height * scale)), max(1, round(width * scale))
