"""All that lives from configure to cleanup: the worker and the cameras that share it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node

from lotus2_ros.ros.products import Frame
from lotus2_ros.ros.session import Session
from lotus2_ros.ros.transforms import Transforms
from lotus2_ros.settings import NodeSettings
from lotus2_ros.worker.client import WorkerClient, WorkerResult, WorkerState


class Cameras:
    """Made by a configure transition, closed by cleanup; used on the executor's thread.

    As the worker client's listener it hands everything to the camera that it belongs to, on the
    client's receiver thread.

    Args:
        node: for topics, clock and logger.
        settings: gives the settings of a camera as they are now; of no camera in particular for ''.
        worker_changed: told of the worker's states; called on the receiver thread.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[str], NodeSettings],
        worker_changed: Callable[[Cameras, WorkerState, str], None],
    ) -> None:
        now = settings('')
        names = now.cameras or ('',)
        self.was_ready = False
        self._worker_changed = worker_changed
        self._next_to_sharpen = 0
        self.client = WorkerClient(
            now.model_settings(),
            listener=self,
            load_timeout_s=now.load_timeout_s,
            frame_timeout_s=now.frame_timeout_s,
            max_restarts=now.max_worker_restarts,
            max_growth_bytes=now.max_worker_growth_mib << 20,
            streams=len(names),
        )
        # Images come on a thread for each camera, and the client takes one at a time.
        submitting = threading.Lock()
        # One for all: each more would cost as much of the executor's thread again.
        self._transforms = Transforms(node)
        self.sessions = tuple(
            Session(
                node,
                partial(settings, name),
                self.client,
                self._transforms,
                submitting=submitting,
                name=name,
                stream=stream,
            )
            for stream, name in enumerate(names)
        )
        self.apply(now)

    def start(self) -> None:
        """Start the worker; returns at once, the model loads in the background."""
        self.client.start()

    def apply(self, settings: NodeSettings) -> None:
        """Pass on the settings that the worker follows by itself."""
        self.client.configure(
            sharpen_rate_hz=settings.sharpen_rate_hz, sharpen_steps=settings.sharpen_steps
        )
        for session in self.sessions:
            session.apply()

    def activate(self) -> None:
        """Take images and publish results."""
        for session in self.sessions:
            session.activate()

    def deactivate(self) -> None:
        """Take no image and publish nothing, not even what is under way."""
        for session in self.sessions:
            session.deactivate()

    def time_jumped(self) -> None:
        """Forget all that belongs to the time before."""
        self._transforms.clear()
        for session in self.sessions:
            session.time_jumped()

    def sharpen(self) -> str:
        """Sharpen the next image of one camera, another one each time.

        Returns:
            Why none will be; empty if one will.
        """
        count = len(self.sessions)
        refusals = []
        for turn in range(count):
            number = (self._next_to_sharpen + turn) % count
            refusal = self.sessions[number].sharpen_refusal()
            if not refusal:
                self._next_to_sharpen = number + 1
                return ''
            refusals.append(refusal)
        return '; '.join(refusals)

    def close(self) -> None:
        """End the worker and all topics; nothing is left, in whatever state this was."""
        self.deactivate()
        try:
            self.client.stop()
        finally:
            for session in self.sessions:
                session.close()
            self._transforms.close()

    def on_result(self, result: WorkerResult) -> None:
        """Publish it on its camera's topics."""
        self._of(result.context).delivery.on_result(result)

    def on_state(self, state: WorkerState, reason: str) -> None:
        """Pass it on."""
        self._worker_changed(self, state, reason)

    def on_dropped(self, context: Any, cause: str) -> None:
        """Count it for its camera."""
        self._of(context).delivery.on_dropped(context, cause)

    def on_frame_error(self, context: Any, message: str) -> None:
        """Count and log it for its camera; the worker lives on."""
        self._of(context).delivery.on_frame_error(context, message)

    def _of(self, frame: Frame) -> Session:
        return self.sessions[frame.stream]
