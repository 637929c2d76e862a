"""The `camera_player` node: pictures, a video or a webcam as a camera with CameraInfo."""

from __future__ import annotations

import array
import sys
from contextlib import ExitStack

import cv2
import numpy as np
import rclpy
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from lotus2_ros.errors import ImageError, Lotus2Error
from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.ros.messages import image_message
from lotus2_ros.ros.parameters import ParameterBridge
from lotus2_ros.ros.publishing import publish
from lotus2_ros.ros.qos import output_qos, overridable
from lotus2_ros.ros.signals import POLL_S, init
from lotus2_ros.ros.sources import Frame, open_source
from lotus2_ros.settings import PlayerSettings
from lotus2_ros.types import UInt8Array

_LAST_FRAME_WAIT = Duration(seconds=2.0)
"""How long the end of a single pass waits for reliable subscribers to have taken the last frame."""


class CameraPlayer(Node):
    """Publishes `image` or `image/compressed`, and `camera_info` with the same stamp.

    Publishers are reliable, so reliable and best-effort subscribers both match.

    Attributes:
        done: completed when nothing more will be published; its exception is a failed source.
        published: frames published so far.

    Raises:
        Lotus2Error: a parameter or the source cannot be used.
    """

    def __init__(self) -> None:
        super().__init__('camera_player')
        self.done: Future = Future()
        self.published = 0
        self._opened = ExitStack()  # first: rclpy destroys nodes, too, that were never complete
        bridge = ParameterBridge(
            self, PlayerSettings, locked=lambda: True, changed=lambda _before, _after: None
        )
        self._settings = bridge.settings
        self._source = open_source(self._settings.source, self.get_logger().warning)
        self._opened.callback(self._source.close)
        self._compressed = self._settings.image_transport == 'compressed'
        # The suffix comes after remapping, as in image_transport: image:=/a gives /a/compressed.
        topic = self.resolve_topic_name('image')
        kind = CompressedImage if self._compressed else Image
        self._images = self._publisher(kind, f'{topic}/compressed' if self._compressed else topic)
        self._infos = (
            self._publisher(CameraInfo, 'camera_info') if self._settings.camera_info else None
        )
        self._frame: Frame | None = None
        self._shown = 0
        # A steady clock: the pace of a camera does not follow simulated time, its stamps do.
        self._timer = self.create_timer(
            1.0 / self._settings.rate_hz, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self.get_logger().info(
            f'playing {self._settings.source} on {self._images.topic_name} at '
            f'{self._settings.rate_hz:g} Hz'
        )

    @property
    def skipped(self) -> int:
        """Pictures that could not be read."""
        return self._source.skipped

    def destroy_node(self) -> None:
        """Give back the source, then the node."""
        self._opened.close()
        super().destroy_node()

    def _publisher(self, kind: type, topic: str) -> Publisher:
        return self.create_publisher(
            kind, topic, output_qos(), qos_overriding_options=overridable()
        )

    def _tick(self) -> None:
        if self.done.done():
            return
        try:
            frame = self._next_frame()
        except Lotus2Error as error:
            self.done.set_exception(error)
            return
        if frame is None:
            self._finish()
            return
        self._publish(frame)

    def _next_frame(self) -> Frame | None:
        """The frame to show now, at the published size; None at the end."""
        if self._frame is not None and self._shown < self._settings.hold_frames:
            self._shown += 1
            return self._frame
        frame = self._source.read()
        if frame is None and self._settings.loop and self._source.rewind():
            frame = self._source.read()
        if frame is None:
            return None
        self._frame, self._shown = self._sized(frame), 1
        return self._frame

    def _sized(self, frame: Frame) -> Frame:
        """The frame at the size asked for, with its camera, known or assumed."""
        height, width = frame.rgb.shape[:2]
        camera = frame.intrinsics or Intrinsics.from_hfov(self._settings.hfov_deg, width, height)
        size = output_size(width, height, self._settings)
        if size == (width, height):
            return Frame(frame.rgb, camera)
        shrinks = size[0] < width
        rgb = cv2.resize(
            frame.rgb, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        return Frame(np.asarray(rgb, dtype=np.uint8), camera.scaled(*size))

    def _publish(self, frame: Frame) -> None:
        header = Header(frame_id=self._settings.frame_id)
        if self._compressed:
            message = jpeg_message(frame.rgb, self._settings.jpeg_quality, header)
        else:
            message = image_message(frame.rgb, 'rgb8', header)
        header.stamp = self.get_clock().now().to_msg()  # packing took time that is no camera's
        # CameraInfo first: it is small, and a subscriber that has it can use the image at once.
        if self._infos is not None and frame.intrinsics is not None:
            self._infos.publish(camera_info_message(frame.intrinsics, header))
        publish(self._images, message)
        self.published += 1

    def _finish(self) -> None:
        self._timer.cancel()
        for publisher in (self._infos, self._images):
            if publisher is not None and not publisher.wait_for_all_acked(_LAST_FRAME_WAIT):
                self.get_logger().warning(
                    f'{publisher.topic_name}: a subscriber has not confirmed the last frame'
                )
        self.get_logger().info(
            f'the end: {self.published} frames published, {self.skipped} pictures skipped'
        )
        self.done.set_result(None)


def output_size(width: int, height: int, settings: PlayerSettings) -> tuple[int, int]:
    """Published (width, height) of a source image; one side alone keeps the aspect ratio."""
    if settings.width and settings.height:
        return settings.width, settings.height
    if settings.width:
        return settings.width, max(1, round(height * settings.width / width))
    if settings.height:
        return max(1, round(width * settings.height / height)), settings.height
    return width, height


def jpeg_message(rgb: UInt8Array, quality: int, header: Header) -> CompressedImage:
    """A CompressedImage in the format string of compressed_image_transport.

    Raises:
        ImageError: the image cannot be encoded.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(f'an image of {rgb.shape[1]}x{rgb.shape[0]} px cannot be a JPEG')
    message = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8')
    message.data = array.array('B', data.tobytes())
    return message


def camera_info_message(camera: Intrinsics, header: Header) -> CameraInfo:
    """CameraInfo of an undistorted, rectified pinhole camera."""
    message = CameraInfo(
        header=header, width=camera.width, height=camera.height, distortion_model='plumb_bob'
    )
    message.d = [0.0] * 5
    message.k = camera.matrix.reshape(-1).tolist()
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = camera.projection.reshape(-1).tolist()
    return message


def main(args: list[str] | None = None) -> int:
    """Play until the end, a signal, or a failure of the source.

    Returns:
        0 at the end or after a signal, 1 for parameters or a source that cannot be used.
    """
    keep_freed_memory()
    stop = init(args)
    player: CameraPlayer | None = None
    executor = SingleThreadedExecutor()
    try:
        player = CameraPlayer()
        executor.add_node(player)
        while stop.signal is None and not player.done.done():
            executor.spin_once(timeout_sec=POLL_S)
        if player.done.done():
            player.done.result()
    except Lotus2Error as error:
        rclpy.logging.get_logger('camera_player').fatal(str(error))
        return 1
    finally:
        executor.shutdown()
        if player is not None:
            player.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
