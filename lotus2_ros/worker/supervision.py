"""Keeping a worker alive: load it, watch it, replace it within a budget, end it.

Only the monotonic clock is used: a step of the wall clock must not kill a healthy worker.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import select
import threading
import time
from dataclasses import dataclass
from typing import Any

from lotus2_ros.errors import WorkerError
from lotus2_ros.settings import ModelSettings
from lotus2_ros.worker.host_memory import anonymous_bytes
from lotus2_ros.worker.listener import WorkerListener, WorkerState
from lotus2_ros.worker.memory_watch import MemoryWatch
from lotus2_ros.worker.messages import (
    Configure,
    Fatal,
    Info,
    Load,
    LoadFailed,
    Progress,
    Ready,
)
from lotus2_ros.worker.process import WorkerProcess
from lotus2_ros.worker.restart_budget import RestartBudget
from lotus2_ros.worker.session import Session, Tally

_IDLE_CHECK_S = 1.0
_EXIT_GRACE_S = 1.0
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the supervisor is; see `WorkerClient`."""

    load_timeout_s: float
    frame_timeout_s: float
    max_restarts: int
    max_growth_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Loss:
    """Why a worker is no more, and whether a new one would fare any better."""

    reason: str
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """A consistent picture of the worker's life."""

    state: WorkerState = 'stopped'
    reason: str = ''
    stage: str = ''
    fraction: float = 0.0
    info: dict[str, Any] = dataclasses.field(default_factory=dict)
    pid: int | None = None
    restarts: int = 0


class Supervisor:
    """One thread that owns the worker process from `start` to `stop`, and receives from it."""

    def __init__(
        self,
        settings: ModelSettings,
        listener: WorkerListener,
        limits: Limits,
        sharpening: Configure,
        streams: int = 1,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._limits = limits
        self._sharpening = sharpening
        self._streams = streams
        self.tally = Tally()
        self._lock = threading.Lock()
        self._status = Status()
        self._process: WorkerProcess | None = None
        self._session: Session | None = None
        self._ready_since_s: float | None = None
        self._counters_when_ready = self.tally.counters
        self._service_time_s = 0.0
        self._grace_s = _EXIT_GRACE_S
        self._stopping = threading.Event()
        self._wake = -1
        self._thread = threading.Thread(target=self._run, name='lotus2-worker-client', daemon=True)

    def start(self) -> None:
        """Start the thread, which starts the worker."""
        self._status = Status(state='loading', stage='starting')
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the worker and the thread.

        Raises:
            WorkerError: called on the thread itself, or a callback holds it up.
        """
        if threading.current_thread() is self._thread:
            raise WorkerError('the worker cannot be stopped from a listener')
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._grace_s = min(_EXIT_GRACE_S, timeout_s / 4)
            if not self._stopping.is_set():
                self._stopping.set()
                os.eventfd_write(self._wake, 1)
        self._thread.join(timeout_s * 0.75)
        if self._thread.is_alive():
            with self._lock:
                if self._process is not None:
                    self._process.kill()
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            raise WorkerError(
                'the worker was killed, but has not ended yet, or a listener has not returned'
            )

    @property
    def status(self) -> Status:
        """The worker's life as it is now."""
        with self._lock:
            return self._status

    @property
    def session(self) -> Session | None:
        """The session with a ready worker; None while there is none."""
        with self._lock:
            return self._session if self._status.state == 'ready' else None

    def configure(self, sharpening: Configure) -> None:
        """Use these options now and after every restart."""
        with self._lock:
            self._sharpening = sharpening
            session = self._session
        if session is not None:
            session.send_if_alive(sharpening)

    def _run(self) -> None:
        try:
            self._supervise()
        except Exception as err:
            _LOGGER.exception('defect in the worker supervision')
            self._change(state='failed', reason=f'defect in the worker supervision: {err!r}')
            self._stopping.wait()
        finally:
            with self._lock:
                self._stopping.set()
                os.close(self._wake)
            self._change(state='stopped', reason='')

    def _supervise(self) -> None:
        self._tell()
        budget = RestartBudget(self._limits.max_restarts)
        while not self._stopping.is_set():
            loss = self._run_worker()
            if loss is None:
                return
            if loss.permanent:
                self._change(state='failed', reason=loss.reason)
                self._stopping.wait()
                return
            delay_s = budget.next_delay_s(self._service_time_s)
            if delay_s is None:
                reason = f'{loss.reason}; given up after {self._status.restarts} restarts'
                self._change(state='failed', reason=reason)
                self._stopping.wait()
                return
            self._change(state='recovering', reason=loss.reason, stage='waiting', fraction=0.0)
            if self._stopping.wait(delay_s):
                return
            self._update(restarts=self._status.restarts + 1, stage='starting')

    def _run_worker(self) -> _Loss | None:
        """One worker from birth to death; None if it was stopped on purpose."""
        try:
            process = WorkerProcess()
        except WorkerError as err:
            return _Loss(str(err))
        session = Session(process, self._settings, self._listener, self.tally, self._streams)
        cause = 'worker lost'
        try:
            with self._lock:
                self._process = process
                self._status = dataclasses.replace(self._status, pid=process.pid)
                # Under the lock, so that no newer option overtakes the load or is overwritten.
                process.channel.send(Load(dataclasses.asdict(self._settings)))
                process.channel.send(self._sharpening)
                self._session = session
            loss = self._receive(process, session)
            if loss is None:
                cause = 'stopped'
        except WorkerError as err:
            loss = _Loss(self._death(process, str(err)))
        finally:
            self._end_service()
            process.end(self._grace_s)
            session.close(cause)
        return loss

    def _end_service(self) -> None:
        with self._lock:
            self._process, self._session = None, None
            if self._ready_since_s is not None:
                if not self._only_failed():
                    self._service_time_s += time.monotonic() - self._ready_since_s
                self._ready_since_s = None
            self._status = dataclasses.replace(self._status, pid=None, info={})

    def _only_failed(self) -> bool:
        """Whether the worker had frames to work on, and not one result: that is no service."""
        before, now = self._counters_when_ready, self.tally.counters
        return now.errors > before.errors and now.results == before.results

    def _receive(self, process: WorkerProcess, session: Session) -> _Loss | None:
        """Handle messages until the worker is lost or to be stopped."""
        load_deadline_s = time.monotonic() + self._limits.load_timeout_s
        memory = MemoryWatch(self._limits.max_growth_bytes)
        poll = select.poll()
        poll.register(process.channel, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        fatal = ''
        while True:
            deadline_s = self._deadline_s(session, load_deadline_s)
            left_s = _IDLE_CHECK_S if deadline_s is None else deadline_s - time.monotonic()
            events = poll.poll(min(max(left_s, 0.0), _IDLE_CHECK_S) * 1000)
            if self._stopping.is_set():
                return None
            if not events:
                if deadline_s is not None and time.monotonic() >= deadline_s:
                    return _Loss(self._late())
                continue
            messages = process.channel.receive()
            if messages is None:
                return _Loss(self._death(process, fatal))
            for message in messages:
                if isinstance(message, LoadFailed):
                    return _Loss(f'{message.kind}: {message.message}', permanent=True)
                if isinstance(message, Fatal):
                    fatal = message.message
                elif isinstance(message, Ready | Info):
                    used = anonymous_bytes(process.pid)
                    self._described(message, used)
                    excess = memory.exceeded(used)
                    if excess:
                        return _Loss(excess)
                elif isinstance(message, Progress):
                    self._update(stage=message.stage, fraction=message.fraction)
                else:
                    session.handle(message)

    def _deadline_s(self, session: Session, load_deadline_s: float) -> float | None:
        if self._ready_since_s is None:
            return load_deadline_s
        busy_since_s = session.busy_since_s
        return None if busy_since_s is None else busy_since_s + self._limits.frame_timeout_s

    def _late(self) -> str:
        if self._ready_since_s is None:
            stage = self._status.stage
            return f'loading took longer than {self._limits.load_timeout_s:g} s (stage: {stage})'
        return f'no result within {self._limits.frame_timeout_s:g} s: the worker hangs'

    def _death(self, process: WorkerProcess, said: str) -> str:
        process.wait(_EXIT_GRACE_S)
        when = 'while loading ' if self._ready_since_s is None else ''
        reason = f'the worker process was lost {when}({process.exit_reason})'
        return f'{reason}: {said}' if said else reason

    def _described(self, message: Ready | Info, used_bytes: int | None) -> None:
        info = {**message.info, 'worker_memory_bytes': used_bytes or 0}
        if isinstance(message, Info):
            self._update(info=info)
            return
        self._ready_since_s = time.monotonic()
        self._counters_when_ready = self.tally.counters
        self._change(state='ready', reason='', info=info, stage='ready', fraction=1.0)

    def _update(self, **changes: Any) -> None:
        with self._lock:
            self._status = dataclasses.replace(self._status, **changes)

    def _change(self, **changes: Any) -> None:
        self._update(**changes)
        self._tell()

    def _tell(self) -> None:
        status = self._status
        try:
            self._listener.on_state(status.state, status.reason)
        except Exception:
            _LOGGER.exception('the listener failed in on_state')
