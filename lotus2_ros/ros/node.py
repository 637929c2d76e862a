"""The managed node: lifecycle, parameters, services and diagnostics around a `Session`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy import get_rmw_implementation_identifier
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from std_srvs.srv import Trigger

from lotus2_ros.errors import WorkerError
from lotus2_ros.ros.cameras import Cameras
from lotus2_ros.ros.diagnostics import diagnostic_array
from lotus2_ros.ros.graph import namesakes_of, publishers_of
from lotus2_ros.ros.health import Health
from lotus2_ros.ros.model_folder import check_model_folder
from lotus2_ros.ros.parameters import ParameterBridge
from lotus2_ros.ros.plan import NEEDS_SCALE, needs_pose
from lotus2_ros.ros.problems import ProblemLog
from lotus2_ros.ros.session import Session
from lotus2_ros.ros.shared_memory import shared_memory_problem
from lotus2_ros.ros.transitions import (
    TransitioningNode,
    refuse_illegal_transitions,
    transition,
)
from lotus2_ros.settings import NodeSettings
from lotus2_ros.worker.client import WorkerState

SUCCESS = TransitionCallbackReturn.SUCCESS


class DepthNode(TransitioningNode):
    """Images in; disparity, depth, normals and clouds out.

    Attributes:
        exit_code: set when the process should end; None while it should go on.

    Raises:
        SettingsError: a parameter given at start is unknown, of a wrong type or out of range.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            kwargs.pop('node_name', 'depth_node'), allow_undeclared_parameters=True, **kwargs
        )
        refuse_illegal_transitions(self)
        self.lifecycle = 'unconfigured'
        self.fault = ''
        self.exit_code: int | None = None
        self._host_problem = ('', '')
        self._cameras: Cameras | None = None
        self._posted: deque[Callable[[], None]] = deque()
        self._post_guard = self.create_guard_condition(self._run_posted)
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
            ),
            post_callback=self._on_time_jump,
        )
        self._bridge = ParameterBridge(
            self,
            NodeSettings,
            locked=lambda: self._cameras is not None,
            changed=self._settings_changed,
        )
        # rclpy ties a severity to the line that logs: each wrapper has to be a line of its own.
        self._withheld_log = ProblemLog(lambda text: self.get_logger().warning(text))
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer: Timer = self._diagnostics_timer()
        self._sharpen_service = self.create_service(Trigger, '~/sharpen', self._on_sharpen)
        if self.settings.autostart:
            self.post(self._autostart)

    @property
    def settings(self) -> NodeSettings:
        """The settings as they are now."""
        return self._bridge.settings

    @property
    def sessions(self) -> tuple[Session, ...]:
        """One for each camera, from configure to cleanup; else none."""
        return self._cameras.sessions if self._cameras else ()

    @property
    def session(self) -> Session | None:
        """That of the only camera, or of the first one; None while unconfigured."""
        return self.sessions[0] if self.sessions else None

    def post(self, work: Callable[[], None]) -> None:
        """Run something on the executor's thread, soon; may be called from any thread."""
        self._posted.append(work)
        self._post_guard.trigger()

    # Lifecycle

    @transition('inactive')
    def on_configure(self, _state: LifecycleState) -> None:
        """Check what is cheap to check, open the topics and start the worker."""
        self.fault = ''
        self._host_problem = shared_memory_problem(get_rmw_implementation_identifier())
        if self._host_problem[0]:
            self.get_logger().warning('; '.join(self._host_problem))
        check_model_folder(self.settings.model, self.settings.base)
        cameras = Cameras(self, self._bridge.of, self._on_worker)
        try:
            cameras.start()
        except BaseException:
            cameras.close()
            raise
        self._cameras = cameras

    @transition('active')
    def on_activate(self, _state: LifecycleState) -> None:
        """Let images in and results out; legal while the model still loads."""
        self._configured.activate()

    @transition('inactive')
    def on_deactivate(self, _state: LifecycleState) -> None:
        """Let nothing in and nothing out; the model stays loaded."""
        self._configured.deactivate()

    @transition('unconfigured')
    def on_cleanup(self, _state: LifecycleState) -> None:
        """End the worker: all its memory is given back."""
        self._close_cameras()

    @transition('finalized')
    def on_shutdown(self, _state: LifecycleState) -> None:
        """End the worker, from whatever state."""
        self._close_cameras()

    @transition('unconfigured')
    def on_error(self, _state: LifecycleState) -> None:
        """After an exception in a transition: back to the beginning, with nothing left over."""
        self._close_cameras()

    def destroy_node(self) -> None:
        """End the worker, then the node."""
        self._close_cameras()
        self._jump_handle.unregister()
        super().destroy_node()

    @property
    def _configured(self) -> Cameras:
        if self._cameras is None:
            raise RuntimeError('the node is not configured')
        return self._cameras

    def _close_cameras(self) -> None:
        cameras, self._cameras = self._cameras, None
        if cameras is not None:
            try:
                cameras.close()
            except WorkerError as error:
                # The process is gone even then: the transition has done what it is for.
                self.get_logger().error(str(error))

    def _autostart(self) -> None:
        if self.lifecycle == 'unconfigured' and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _run_posted(self) -> None:
        while self._posted:
            self._posted.popleft()()

    # The worker

    def _on_worker(self, cameras: Cameras, state: WorkerState, reason: str) -> None:
        self.post(lambda: self._worker_changed(cameras, state, reason))

    def _worker_changed(self, cameras: Cameras, state: WorkerState, reason: str) -> None:
        if cameras is not self._cameras:
            return  # of a worker that is gone
        logger = self.get_logger()
        if state == 'ready':
            cameras.was_ready = True
            info = cameras.client.info
            logger.info(f'the model is ready: {", ".join(f"{k} {v}" for k, v in info.items())}')
        elif state == 'recovering':
            logger.error(f'the worker was lost and is being replaced: {reason}')
        elif state == 'failed':
            self._give_up(cameras, reason)

    def _give_up(self, cameras: Cameras, reason: str) -> None:
        """Go back to unconfigured; end the process if this was a working worker that was lost."""
        lost = cameras.was_ready or cameras.client.restarts > 0
        self.get_logger().error(f'the model cannot run: {reason}')
        if self.lifecycle == 'active':
            self.trigger_deactivate()
        if self.lifecycle == 'inactive':
            self.trigger_cleanup()
        self.fault = reason
        if lost:
            self.exit_code = 1

    # Parameters, time, services, diagnostics

    def _settings_changed(self, before: NodeSettings, after: NodeSettings) -> None:
        if self._cameras is not None:
            self._cameras.apply(after)
        if before.diagnostics_rate_hz != after.diagnostics_rate_hz:
            self.destroy_timer(self._timer)
            self._timer = self._diagnostics_timer()

    def _on_time_jump(self, _jump: Any) -> None:
        self.get_logger().warning(
            'ROS time jumped back: forgetting what belongs to the time before'
        )
        if self._cameras is not None:
            self._cameras.time_jumped()

    def _on_sharpen(self, _request: Trigger.Request, response: Trigger.Response) -> Any:
        refusal = self._sharpen_refusal()
        response.success = not refusal
        steps = self.settings.sharpen_steps
        response.message = refusal or f'the next image is sharpened with {steps} steps'
        return response

    def _sharpen_refusal(self) -> str:
        if self._cameras is None or self.lifecycle != 'active':
            return f'the node is {self.lifecycle}'
        if not self.settings.load_sharpener:
            return 'the sharpener is not loaded (parameter load_sharpener)'
        return self._cameras.sharpen()

    def _diagnostics_timer(self) -> Timer:
        # On the steady clock: diagnostics have to come when simulated time stands still, too.
        period = 1.0 / self.settings.diagnostics_rate_hz
        return self.create_timer(period, self._publish_diagnostics, clock=self._steady)

    def _publish_diagnostics(self) -> None:
        healths = self.healths()
        if self.lifecycle == 'active':
            withheld = [item for health in healths for item in health.withheld.items()]
            self._withheld_log.report(
                '; '.join(f'~/{topic} is withheld: {why}' for topic, why in withheld)
            )
        stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        self._diagnostics.publish(diagnostic_array(healths, node=name, stamp=stamp))

    def healths(self) -> list[Health]:
        """Everything that diagnostics are made of, as of now; one for each camera."""
        if self._cameras is None:
            return [Health(lifecycle=self.lifecycle, settings=self.settings, fault=self.fault)]
        return [self._health(session) for session in self._cameras.sessions]

    def _health(self, session: Session) -> Health:
        wanted = session.wanted()
        core, sharp = session.intake.plans(wanted)
        client, intake, prefix = session.client, session.intake, session.prefix
        topics = wanted.core | {f'sharp/{topic}' for topic in wanted.sharp}
        withheld = core.withheld | {f'sharp/{t}': why for t, why in sharp.withheld.items()}
        scale = session.scale.report
        if scale is not None and not scale.is_metric:
            without = f'the scale is {scale.state.value}: {scale.reason}'
            withheld |= {t: without for t in topics if t.removeprefix('sharp/') in NEEDS_SCALE}
        settings = self._bridge.of(session.name)
        if session.scale.pose_problem:
            without = f'the camera has no pose: {session.scale.pose_problem}'
            needing = needs_pose(settings)
            withheld |= {t: without for t in topics if t.removeprefix('sharp/') in needing}
        return Health(
            lifecycle=self.lifecycle,
            settings=settings,
            name=session.name,
            measured=session.monitor.snapshot(),
            fault=self.fault,
            worker_state=client.state,
            worker_reason=client.reason,
            progress=client.progress,
            restarts=client.restarts,
            info=client.info,
            image_topic=session.image_topic,
            image_publishers=publishers_of(self, session.image_topic),
            info_topic=session.info_topic,
            info_publishers=publishers_of(self, session.info_topic),
            namesakes=namesakes_of(self),
            host_problem=self._host_problem,
            camera=intake.camera.source if intake.camera else '',
            camera_problem=intake.camera_problem,
            wanted=frozenset(prefix + topic for topic in topics),
            withheld={prefix + topic: why for topic, why in withheld.items()},
            incompatible=session.incompatibilities.snapshot(),
            image_size=intake.image_size,
            output_size=session.delivery.output_size,
            scale=scale,
            scale_detail=session.scale.detail,
            notes=session.scale.notes | session.delivery.searches.notes,
        )
