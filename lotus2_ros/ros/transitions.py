"""Lifecycle transitions that answer whatever happens: what rclpy leaves to its nodes."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from lifecycle_msgs.srv import ChangeState
from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from lotus2_ros.errors import Lotus2Error


class TransitioningNode(LifecycleNode):
    """A node that knows where in its life it is.

    Attributes:
        lifecycle: unconfigured, inactive, active or finalized.
        fault: why the node has given up; empty if it has not.
    """

    lifecycle: str
    fault: str


N = TypeVar('N', bound=TransitioningNode)
_Transition = Callable[[N, LifecycleState], None]
_Callback = Callable[[N, LifecycleState], TransitionCallbackReturn]


def transition(target: str) -> Callable[[_Transition[N]], _Callback[N]]:
    """Make a transition callback: rclpy swallows exceptions in them, this logs and answers.

    Args:
        target: the primary state that success leads to.
    """

    def decorate(method: _Transition[N]) -> _Callback[N]:
        @functools.wraps(method)
        def callback(self: N, state: LifecycleState) -> TransitionCallbackReturn:
            name = method.__name__
            try:
                method(self, state)
            except Lotus2Error as error:
                self.fault = f'{name} failed: {error}'
                self.get_logger().error(self.fault)
                return TransitionCallbackReturn.FAILURE
            except Exception as error:
                self.fault = f'{name} failed: {type(error).__name__}: {error}'
                self.get_logger().error(f'{self.fault}\n{traceback.format_exc()}')
                return TransitionCallbackReturn.ERROR
            self.lifecycle = target
            return TransitionCallbackReturn.SUCCESS

        return callback

    return decorate


def refuse_illegal_transitions(node: LifecycleNode) -> None:
    """Refuse a transition that is not legal now, where rclpy raises and leaves it unanswered.

    rclpy of Jazzy lets the error out of the service's callback: the caller gets no answer and the
    spin ends. Later releases refuse by themselves.
    """
    service = node._service_change_state
    change_state = service.callback

    def answer(request: ChangeState.Request, response: ChangeState.Response) -> Any:
        try:
            return change_state(request, response)
        except RCLError as error:
            node.get_logger().error(f'transition {request.transition.id} refused: {error}')
            response.success = False
            return response

    service.callback = answer
