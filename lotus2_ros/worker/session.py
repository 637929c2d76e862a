"""The conversation about frames with one worker process, from its spawn to its death."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from typing import Any

from lotus2_ros.errors import WorkerError
from lotus2_ros.settings import ModelSettings
from lotus2_ros.types import DEPTH, NORMALS, EdgeSearch, UInt8Array
from lotus2_ros.worker.ledger import FrameLedger
from lotus2_ros.worker.listener import WorkerCounters, WorkerListener, WorkerResult
from lotus2_ros.worker.messages import (
    Frame,
    FrameFailed,
    Message,
    ReleaseResult,
    Replaced,
    Result,
    Retired,
    RingReleased,
    UseRing,
)
from lotus2_ros.worker.process import WorkerProcess

_LOGGER = logging.getLogger(__name__)


class Tally:
    """Counters over all sessions of a client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters = WorkerCounters()

    def add(self, name: str) -> None:
        """Count one more of `name`, a field of `WorkerCounters`."""
        with self._lock:
            more = {name: getattr(self._counters, name) + 1}
            self._counters = dataclasses.replace(self._counters, **more)

    @property
    def counters(self) -> WorkerCounters:
        """The counts so far."""
        with self._lock:
            return self._counters


class Session:
    """Frames out, results in. `handle` and `close` belong to the receiver thread."""

    def __init__(
        self,
        process: WorkerProcess,
        settings: ModelSettings,
        listener: WorkerListener,
        tally: Tally,
        streams: int = 1,
    ) -> None:
        self._channel = process.channel
        self._listener = listener
        self._tally = tally
        self._lock = threading.Lock()
        channels = (DEPTH in settings.tasks) + 3 * (NORMALS in settings.tasks)
        self._ledger = FrameLedger(channels, streams)
        self._closed = False

    def send_if_alive(self, message: Message) -> bool:
        """Send; False if the worker is being lost, of which the receiver thread learns itself."""
        try:
            with self._lock:
                if self._closed:
                    return False
                self._channel.send(message)
        except WorkerError as err:
            _LOGGER.warning('the worker did not take %s: %s', type(message).__name__, err)
            return False
        return True

    def begin_frame(self, height: int, width: int, stream: int) -> UInt8Array | None:
        """See `WorkerClient.begin_frame`."""
        with self._lock:
            if self._closed:
                return None
            grown = self._ledger.grow(height, width)
            if grown is not None:
                ring, descriptor = grown
                try:
                    layout = dataclasses.asdict(ring.layout)
                    self._channel.send(UseRing(ring=ring.number, **layout), descriptor)
                except WorkerError as err:
                    _LOGGER.warning('the worker did not take a larger ring: %s', err)
                    return None
                finally:
                    os.close(descriptor)
            return self._ledger.begin(height, width, stream)

    def commit_frame(
        self,
        *,
        tasks: tuple[str, ...],
        sharp_tasks: tuple[str, ...],
        max_side: int,
        output_size: tuple[int, int] | None,
        search: EdgeSearch | None,
        context: Any,
    ) -> bool:
        """See `WorkerClient.commit_frame`; arguments are checked already."""
        with self._lock:
            if self._closed:
                return False
            entry = self._ledger.commit(context, time.monotonic())
            height, width = output_size or (entry.height, entry.width)
            message = Frame(
                sequence=entry.sequence,
                stream=entry.stream,
                ring=entry.ring,
                slot=entry.slot,
                height=entry.height,
                width=entry.width,
                tasks=tasks,
                sharp_tasks=sharp_tasks,
                max_side=max_side,
                output_height=height,
                output_width=width,
                search=search or (),
            )
            try:
                self._channel.send(message)
            except WorkerError as err:
                _LOGGER.warning('the worker did not take a frame: %s', err)
                self._ledger.answer(entry.sequence)
                self._ledger.retire(entry.sequence)
                return False
        self._tally.add('accepted')
        return True

    @property
    def busy_since_s(self) -> float | None:
        """Since when the worker owes an answer without having finished anything."""
        with self._lock:
            return self._ledger.busy_since_s

    def handle(self, message: Message) -> None:
        """Act on one message about frames.

        Raises:
            WorkerError: the worker contradicts the book or speaks out of turn.
        """
        match message:
            case Result():
                self._handle_result(message)
            case Replaced():
                with self._lock:
                    context = self._ledger.answer(message.sequence).context
                    self._ledger.retire(message.sequence)
                self._tally.add('replaced')
                self._drop(context, 'replaced')
            case FrameFailed():
                self._handle_failure(message)
            case Retired():
                with self._lock:
                    self._ledger.retire(message.sequence)
            case RingReleased():
                with self._lock:
                    self._ledger.release_ring(message.ring)
            case _:
                raise WorkerError(f'the worker sent a {type(message).__name__} out of turn')

    def _handle_result(self, message: Result) -> None:
        with self._lock:
            if message.sharp:
                entry = self._ledger.frame(message.sequence)
            else:
                entry = self._ledger.answer(message.sequence)
            ring = self._ledger.ring(message.ring)
        views = ring.result(
            message.slot,
            message.height,
            message.width,
            disparity=message.disparity,
            normals=message.normals,
            flying=message.flying,
        )
        for view in views:
            if view is not None:
                view.flags.writeable = False
        self._tally.add('sharp_results' if message.sharp else 'results')
        timings = {**message.timings, 'total': time.monotonic() - entry.sent_s}
        result = WorkerResult(*views, message.sharp, message.sharpen_steps, timings, entry.context)
        try:
            self._listener.on_result(result)
        except Exception:
            _LOGGER.exception('the listener failed in on_result')
        with self._lock:
            # A slow listener is not the worker's fault.
            self._ledger.progress(time.monotonic())
        self.send_if_alive(ReleaseResult(ring=message.ring, slot=message.slot))

    def _handle_failure(self, message: FrameFailed) -> None:
        with self._lock:
            if message.sharp:
                entry = self._ledger.frame(message.sequence)
            else:
                entry = self._ledger.answer(message.sequence)
            self._ledger.progress(time.monotonic())
        self._tally.add('errors')
        try:
            self._listener.on_frame_error(entry.context, message.message)
        except Exception:
            _LOGGER.exception('the listener failed in on_frame_error')

    def _drop(self, context: Any, cause: str) -> None:
        try:
            self._listener.on_dropped(context, cause)
        except Exception:
            _LOGGER.exception('the listener failed in on_dropped')

    def close(self, cause: str) -> None:
        """Report every frame without an answer as dropped; take no more."""
        with self._lock:
            self._closed = True
            waiting = self._ledger.waiting()
        for entry in waiting:
            self._tally.add('lost')
            self._drop(entry.context, cause)
