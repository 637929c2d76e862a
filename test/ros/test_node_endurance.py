"""What wears a node out: crowds of consumers, some of them asleep, and many images."""

from __future__ import annotations

import os

import psutil
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rig import Rig, info_of, picture
from sensor_msgs.msg import Image

from lotus2_ros.worker.host_memory import anonymous_bytes

MIB = 1 << 20
SIZE = (160, 120)
EITHER = (QoSReliabilityPolicy.RELIABLE, QoSReliabilityPolicy.BEST_EFFORT)


def test_a_hundred_subscribers_that_never_read_keep_nobody_waiting(rig: Rig) -> None:
    crowd = Node('crowd', context=rig.context)  # that nobody spins
    try:
        for number in range(100):
            reliability = EITHER[number % 2]
            crowd.create_subscription(
                Image,
                '/depth_node/depth/image',
                print,
                QoSProfile(depth=1, reliability=reliability),
            )
        rig.listen('depth/image')
        for seed in range(10):
            rig.frame(picture(seed=seed))
        # They go while results are published.
        for number, subscription in enumerate(list(crowd.subscriptions)):
            crowd.destroy_subscription(subscription)
            if number % 20 == 0:
                rig.frame(picture(seed=number))
    finally:
        crowd.destroy_node()
    rig.frame()
    assert rig.node_errors == []


def test_many_images_leave_nothing_behind(rig: Rig) -> None:
    rig.send_info(info_of(*SIZE))
    rig.listen('depth/image', 'points', 'depth/color')

    def work(images: int) -> None:
        for seed in range(images):
            rig.frame(picture(*SIZE, seed=seed))
            rig.received.clear()
            rig.statuses.clear()

    def held() -> tuple[int, int, int, int]:
        me, worker = psutil.Process(), rig.node.session.client.pid
        memory = [anonymous_bytes(pid) for pid in (os.getpid(), worker)]
        return memory[0], memory[1], me.num_fds(), me.num_threads()

    work(50)
    before = held()
    work(200)
    after = held()
    # One image kept of each would be 11 MiB, one cloud 59 MiB.
    assert after[0] - before[0] < 6 * MIB
    assert after[1] - before[1] < 6 * MIB
    assert after[2:] <= (before[2] + 2, before[3])
