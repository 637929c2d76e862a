"""~/timings: what one frame took, under its own stamp."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray
from rig import Rig, image_of, picture, wait_until

from lotus2_ros.ros.frame_timings import read_timings, timings_qos


def subscribe(rig: Rig) -> tuple[list[DiagnosticArray], object]:
    """Messages as they come, once the node knows that somebody listens."""
    messages: list[DiagnosticArray] = []
    topic = '/depth_node/timings'
    subscription = rig.peer.create_subscription(
        DiagnosticArray, topic, messages.append, timings_qos()
    )
    publisher = rig.node.session._timings_publisher
    wait_until(publisher.get_subscription_count, what=f'the node sees {topic}')
    return messages, subscription


def test_every_result_has_its_timings_under_its_stamp(rig: Rig) -> None:
    rig.listen('depth/image', 'normals/image', 'sharp/depth/image')
    messages, subscription = subscribe(rig)
    assert rig.sharpen().success
    started = time.monotonic()
    stamp = rig.send(image_of(picture()))
    rig.get('sharp/depth/image', stamp)
    wait_until(lambda: len(messages) == 2, what='timings of the core and of the sharpened result')
    passed = time.monotonic() - started
    rig.peer.destroy_subscription(subscription)
    assert all(message.header.stamp == stamp for message in messages)
    (core, is_sharp), (sharp, is_sharp_too) = (read_timings(message) for message in messages)
    assert (is_sharp, is_sharp_too) == (False, True)
    # One inside the other, and all of them inside what was waited here.
    assert 0 < core['model'] <= core['worker'] <= core['total']
    parts = ('arrival', 'intake', 'total', 'messages', 'publish')
    assert all(core[part] > 0 for part in parts)
    assert sum(core[part] for part in parts) <= passed
    stages = set(core) - {*parts, 'model', 'worker'}
    assert stages, 'the stages of the model are named, too'
    assert abs(sum(core[stage] for stage in stages) - core['model']) < 1e-4
    assert sharp['total'] > core['total']
