"""A ROS domain that nothing else of this package uses on this machine."""

from __future__ import annotations

import os
import socket

from lotus2_ros.errors import Lotus2Error

_DOMAINS = range(1, 101)
"""Up to 101 is safe on every platform, whatever ports the system hands out by itself."""

_held: list[socket.socket] = []


def reserve_domain() -> int:
    """A domain of 1 to 100, reserved until this process ends, however it ends.

    A name of a Unix socket stands for it: the kernel gives that to one process only and takes it
    back by itself. Other programs' domains are not known.

    Raises:
        Lotus2Error: all are taken.
    """
    # Not all from 1 on: a domain just left may still be spoken in for a moment.
    first = (os.getpid() * 13 + len(_held)) % len(_DOMAINS)
    order: list[int] = [*_DOMAINS[first:], *_DOMAINS[:first]]
    for domain in order:
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            reservation.bind(f'\0lotus2_ros domain {domain}')
        except OSError:
            reservation.close()
            continue
        _held.append(reservation)
        return domain
    raise Lotus2Error('the ROS domains 1 to 100 are all taken by running demos, benchmarks, tests')
