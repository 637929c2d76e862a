"""Which images are accepted by their stamp. Pure: integers in, a verdict out."""

from __future__ import annotations

_SECOND = 1_000_000_000

FUTURE_TOLERANCE_NS = _SECOND // 10
"""How far a camera's clock may run ahead of ours: what synchronisation over a network leaves."""

REORDER_LIMIT_NS = _SECOND
"""A stamp this little older than the last one is a late packet; older ones mean a reset clock."""


class StampGate:
    """Judges stamps one after another; the same image twice, or an old one, is not a new image."""

    def __init__(self) -> None:
        self._last: int | None = None
        self.clock_resets = 0

    def reset(self) -> None:
        """Forget the last stamp: time itself has jumped."""
        self._last = None

    def reject(self, sec: int, nanosec: int, *, now_ns: int, max_age_s: float) -> str | None:
        """Why an image with this stamp is dropped, or None if it is accepted.

        Args:
            sec: seconds of the stamp.
            nanosec: nanoseconds of the stamp.
            now_ns: the node's clock in nanoseconds; 0 while simulated time has not begun.
            max_age_s: older images are dropped; 0 accepts any age.
        """
        if nanosec >= _SECOND or sec < 0:
            return 'invalid stamp'
        stamp = sec * _SECOND + nanosec
        if stamp == 0:
            return 'zero stamp'
        if now_ns == 0:
            return 'no clock'
        if stamp > now_ns + FUTURE_TOLERANCE_NS:
            return 'future stamp'
        if max_age_s > 0 and now_ns - stamp > max_age_s * _SECOND:
            return 'old stamp'
        if self._last is not None:
            if stamp == self._last:
                return 'duplicate stamp'
            if stamp < self._last:
                if self._last - stamp < REORDER_LIMIT_NS:
                    return 'out of order'
                self.clock_resets += 1
        self._last = stamp
        return None


STAMP_REMEDY = {
    'invalid stamp': 'the camera driver writes nanoseconds of a second or more, or a negative time',
    'zero stamp': 'the camera driver must stamp its images',
    'no clock': 'use_sim_time is true but nothing publishes /clock',
    'future stamp': 'synchronise the clocks of camera and node, or set use_sim_time for a bag',
    'old stamp': 'synchronise the clocks, set use_sim_time for a bag, or raise max_image_age_s',
    'duplicate stamp': 'the camera driver repeats an image, or two publishers share the topic',
    'out of order': 'images arrive in the wrong order: two publishers may share the topic',
}
"""What to do about each reason of `StampGate.reject`."""
