"""The `sim_robot` node: a robot in a world with ground truth, and all that its sensors see."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, Image, Imu, PointCloud2
from std_msgs.msg import Header

from lotus2_ros.errors import Lotus2Error
from lotus2_ros.freed_memory import keep_freed_memory
from lotus2_ros.geometry.rigid import inverse
from lotus2_ros.ros.camera import camera_info_message
from lotus2_ros.ros.messages import image_message, optional_message
from lotus2_ros.ros.parameters import ParameterBridge
from lotus2_ros.ros.publishing import publish
from lotus2_ros.ros.qos import output_qos, overridable
from lotus2_ros.ros.robot_messages import (
    imu_message,
    lens_info_message,
    lidar_message,
    odometry_message,
    pose_message,
    reference_message,
    stamp_of,
    transform_message,
)
from lotus2_ros.ros.robot_schedule import Schedule, Stream
from lotus2_ros.ros.signals import POLL_S, init
from lotus2_ros.settings import SimulationSettings
from lotus2_ros.simulation.robot import FORCE_NOISE, SimulatedRobot

_POLL_S = 0.004
_CLOCK_HZ = 50.0
_BEGIN_S = 1.0
"""Simulated time at the beginning: a stamp of 0 means "no time" to many."""

_REPORT_S = 10.0
"""How often it is judged whether the machine keeps up."""


class RobotNode(Node):
    """Publishes images, references for scale, motion and the truth; only what is subscribed to.

    Every message is a function of the settings and its time since the start.

    Raises:
        Lotus2Error: a parameter cannot be used, or MuJoCo is not there.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('sim_robot', **options)
        self._opened = ExitStack()  # first: rclpy destroys nodes, too, that were never complete
        bridge = ParameterBridge(
            self, SimulationSettings, locked=lambda: True, changed=lambda _before, _after: None
        )
        self.settings = bridge.settings
        self.robot = self._opened.enter_context(SimulatedRobot(self.settings))
        self._advertise()
        settings = self.settings
        camera = Stream('camera', settings.camera_rate_hz, self._show_image)
        others = [
            Stream('clock', _CLOCK_HZ if settings.publish_clock else 0.0, self._tell_time, True),
            Stream('odometry', settings.odom_rate_hz, self._tell_motion, True),
            Stream('imu', settings.imu_rate_hz, self._tell_imu, True),
            Stream('reference depth', settings.depth_rate_hz, self._show_reference),
        ]
        for topic, lines in self._lidars().items():
            scan = self._scanner(topic, lines)
            others.append(
                Stream(f'lidar {lines}', settings.lidar_rate_hz, scan, delay=self.robot.sweep)
            )
        # OpenGL belongs to the thread that spins: it is not touched before the first tick.
        begin = time.monotonic()
        self._schedule = Schedule(camera, others, lambda: time.monotonic() - begin)
        self._begin_ros = (
            round(_BEGIN_S * 1e9) if settings.publish_clock else self.get_clock().now().nanoseconds
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(_POLL_S, self._tick, clock=steady)
        rates = ', '.join(
            f'{s.name} {s.rate:g} Hz' for s in self._schedule.streams if s.name != 'clock'
        )
        self.get_logger().info(f'driving at {settings.speed:g} m/s; {rates}')

    def destroy_node(self) -> None:
        """Give back OpenGL, then the node."""
        self._opened.close()
        super().destroy_node()

    def _advertise(self) -> None:
        settings = self.settings
        self._published: dict[str, Publisher[Any]] = {}
        kinds: dict[str, type] = {
            'image': Image,
            'camera_info': CameraInfo,
            'reference/depth': Image,
            'reference/camera_info': CameraInfo,
            'imu': Imu,
            'odom/pose': PoseStamped,
            'truth/pose': PoseStamped,
        }
        if settings.truth:
            kinds |= {
                'truth/depth': Image,
                'truth/normals': Image,
                'truth/camera_info': CameraInfo,
                'truth/camera_pose': PoseStamped,
            }
        kinds |= dict.fromkeys(self._lidars(), PointCloud2)
        self._odometry_type = optional_message('nav_msgs', 'Odometry')
        if self._odometry_type is not None:
            kinds['odom'] = self._odometry_type
        else:
            self.get_logger().warning(
                'nav_msgs is not installed: no odom (its poses are on odom/pose)'
            )
        if settings.publish_clock:
            kinds['/clock'] = ClockMessage
        self._tf_type = optional_message('tf2_msgs', 'TFMessage') if settings.publish_tf else None
        if self._tf_type is not None:
            kinds['/tf'] = self._tf_type
        elif settings.publish_tf:
            self.get_logger().warning(
                'tf2_msgs is not installed: no /tf and /tf_static (poses are on odom/pose,'
                ' truth/pose and truth/camera_pose)'
            )
        for topic, kind in kinds.items():
            self._published[topic] = self.create_publisher(
                kind, topic, output_qos(), qos_overriding_options=overridable()
            )
        if self._tf_type is not None:
            self._tell_static()

    def _wanted(self, *topics: str) -> bool:
        return any(
            topic in self._published and self._published[topic].get_subscription_count() > 0
            for topic in topics
        )

    def _send(self, topic: str, message: Any) -> None:
        try:
            publish(self._published[topic], message)
        except RuntimeError:  # RCLError is one
            if self.context.ok():
                raise
            # A signal has ended the context while this was at work: the spin ends next.

    def _tick(self) -> None:
        self._schedule.work()
        slow = self._schedule.too_slow(_REPORT_S)
        if slow:
            self.get_logger().warning(
                f'this machine is too slow for the rates asked for: {", ".join(slow)}; lower them,'
                ' or set shadows: false',
                throttle_duration_sec=60.0,
            )

    def _header(self, at: float, frame: str) -> Header:
        return Header(stamp=stamp_of(self._begin_ros + round(at * 1e9)), frame_id=frame)

    def _tell_time(self, at: float) -> None:
        self._send('/clock', ClockMessage(clock=self._header(at, '').stamp))

    def _show_image(self, at: float) -> None:
        settings, robot = self.settings, self.robot
        header = self._header(at, settings.frame_id)
        # The truth first: who compares has it when the result for the image comes.
        if self._wanted('truth/depth', 'truth/normals', 'truth/camera_info', 'truth/camera_pose'):
            depth = robot.true_depth(at)
            self._send('truth/camera_info', camera_info_message(robot.intrinsics, header))
            on_base = self._header(at, settings.base_frame)
            self._send('truth/camera_pose', pose_message(robot.camera_on_base(at), on_base))
            self._send('truth/depth', image_message(depth, '32FC1', header))
            if self._wanted('truth/normals'):
                normals = robot.true_normals(depth)
                self._send('truth/normals', image_message(normals, '32FC3', header))
        self._send('camera_info', lens_info_message(robot.intrinsics, robot.lens, header))
        if self._wanted('image'):
            self._send('image', image_message(robot.image(at), 'rgb8', header))

    def _show_reference(self, at: float) -> None:
        header = self._header(at, self.settings.frame_id)
        robot = self.robot
        self._send(
            'reference/camera_info',
            lens_info_message(robot.reference_intrinsics, robot.lens, header),
        )
        if self._wanted('reference/depth'):
            depth = robot.reference_depth(at)
            self._send(
                'reference/depth',
                reference_message(depth, self.settings.depth_encoding, header),
            )

    def _lidars(self) -> dict[str, int]:
        """Topic to lines."""
        chosen = {'none': (), '16': (16,), '64': (64,), 'both': (16, 64)}[self.settings.lidar]
        return dict(zip(('reference/points', 'reference_64/points'), chosen, strict=False))

    def _scanner(self, topic: str, lines: int) -> Callable[[float], None]:
        def show(at: float) -> None:
            if self._wanted(topic):
                header = self._header(at, self.settings.lidar_frame)
                self._send(topic, lidar_message(self.robot.lidar(at, lines), header))

        return show

    def _tell_imu(self, at: float) -> None:
        if self._wanted('imu'):
            header = self._header(at, self.settings.imu_frame)
            noise = self.settings.imu_noise
            reading = self.robot.imu(at)
            self._send('imu', imu_message(reading, noise, FORCE_NOISE * noise, header))

    def _tell_motion(self, at: float) -> None:
        settings, robot = self.settings, self.robot
        true = robot.drive.base(at)
        if self._wanted('truth/pose'):
            self._send('truth/pose', pose_message(true, self._header(at, settings.world_frame)))
        believed = robot.odometry.pose(at)
        header = self._header(at, settings.odom_frame)
        if self._wanted('odom/pose'):
            self._send('odom/pose', pose_message(believed, header))
        if self._odometry_type is not None and self._wanted('odom'):
            self._send(
                'odom',
                odometry_message(
                    self._odometry_type, believed, robot.twist(at), header, settings.base_frame
                ),
            )
        if self._tf_type is None:
            return
        from_world = self._header(at, settings.world_frame)
        on_base = self._header(at, settings.base_frame)
        transforms = [
            transform_message(true @ inverse(believed), from_world, settings.odom_frame),
            transform_message(believed, header, settings.base_frame),
            transform_message(robot.drive.sway(at), on_base, settings.body_frame),
        ]
        self._send('/tf', self._tf_type(transforms=transforms))

    def _tell_static(self) -> None:
        """Where the sensors are on the robot's body, once, for everyone who comes later too."""
        settings, robot = self.settings, self.robot
        assert self._tf_type is not None
        latched = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        header = Header(frame_id=settings.body_frame)
        mountings = (
            (robot.camera_mounting.optical_to_base, settings.frame_id),
            (robot.lidar_mounting, settings.lidar_frame),
            (robot.imu_mounting, settings.imu_frame),
        )
        self._static = self.create_publisher(self._tf_type, '/tf_static', latched)
        self._static.publish(
            self._tf_type(transforms=[transform_message(m, header, f) for m, f in mountings])
        )


def main(args: list[str] | None = None) -> int:
    """Drive until a signal.

    Returns:
        0 after a signal, 1 for parameters that cannot be used or without MuJoCo.
    """
    keep_freed_memory()
    stop = init(args)
    node: RobotNode | None = None
    executor = SingleThreadedExecutor()
    try:
        node = RobotNode()
        executor.add_node(node)
        while stop.signal is None:
            executor.spin_once(timeout_sec=POLL_S)
    except Lotus2Error as error:
        rclpy.logging.get_logger('sim_robot').fatal(str(error))
        return 1
    finally:
        executor.shutdown()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
