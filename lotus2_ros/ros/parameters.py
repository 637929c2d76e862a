"""Settings dataclasses as ROS parameters: descriptors, overrides, atomic validation.

`lotus2_ros.settings` holds every default, range and description; this module only carries them to
ROS and back. A set of parameters is checked as a whole, so nothing is ever half-applied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from lotus2_ros.errors import SettingsError
from lotus2_ros.settings import NodeSettings, Parameter, PlayerSettings, SimulationSettings

S = TypeVar('S', NodeSettings, PlayerSettings, SimulationSettings)

_ROS_OWN = ('use_sim_time', 'start_type_description_service')
_ROS_OWN_PREFIX = 'qos_overrides.'


def descriptor(about: Parameter, default: Any) -> ParameterDescriptor:
    """The ROS descriptor of one setting.

    A range whose ends are not both known is left to validation. `read_only` stays false for
    settings that need a cleanup: they do change, but only while the node is unconfigured.
    """
    message = ParameterDescriptor()
    message.description = about.description + (f' [{about.unit}]' if about.unit else '')
    constraints = []
    if about.choices:
        each = 'each of: ' if isinstance(default, tuple) else 'one of: '
        constraints.append(each + ', '.join(about.choices))
    if not about.live:
        constraints.append('changes only while the node is unconfigured')
    message.additional_constraints = '; '.join(constraints)
    if about.minimum is not None and about.maximum is not None:
        if isinstance(default, float):
            message.floating_point_range = [
                FloatingPointRange(from_value=float(about.minimum), to_value=float(about.maximum))
            ]
        else:
            message.integer_range = [
                IntegerRange(from_value=int(about.minimum), to_value=int(about.maximum), step=1)
            ]
    return message


def to_ros(value: Any) -> Any:
    """A settings value as ROS stores it: a tuple becomes a list."""
    return list(value) if isinstance(value, tuple) else value


class ParameterBridge(Generic[S]):
    """Keeps one settings dataclass and the parameters of one node the same.

    Where the settings name cameras, a parameter <camera>.<name> is that camera's own, if it is
    given at start or set later, until it is deleted; `of` gives the settings of one camera.

    Args:
        node: the node that owns the parameters; they are declared at once. Those of cameras come
            and go, so it has to allow undeclared ones; what is unknown is refused here.
        settings_class: which settings.
        locked: tells whether settings with `live=False` are refused at the moment.
        changed: called with the old and the new settings after a change has been applied.

    Raises:
        SettingsError: an override given at start is unknown, of a wrong type, out of range or
            contradicts another one.
    """

    def __init__(
        self,
        node: Node,
        settings_class: type[S],
        *,
        locked: Callable[[], bool],
        changed: Callable[[S, S], None],
    ) -> None:
        self._locked = locked
        self._changed: Callable[[S, S], None] = changed
        self._node = node
        self._names = tuple(settings_class.parameters())
        self._per_camera = (
            settings_class.per_camera() if issubclass(settings_class, NodeSettings) else ()
        )
        # rclpy offers no public way to list overrides of parameters that nobody declared, and a
        # misspelt key that is silently ignored is worse than reading this attribute.
        overrides = {name: p.value for name, p in node._parameter_overrides.items()}
        shared, self._own = _split(_own(overrides), settings_class)
        self.settings: S = settings_class.from_mapping(shared)
        for name in settings_class.parameters():
            self._declare(node, name, name, getattr(self.settings, name))
        for camera, values in self._own.items():
            self._settings_of(camera, self.settings, values)
            for name, value in values.items():
                self._declare(node, f'{camera}.{name}', name, value, may_be_deleted=True)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def of(self, camera: str) -> S:
        """Settings of one camera: its own values where it has any, else those of all."""
        return self._settings_of(camera, self.settings, self._own.get(camera, {}))

    def _settings_of(self, camera: str, settings: S, values: dict[str, Any]) -> S:
        if not values:
            return settings
        try:
            return settings.replaced(**values)
        except SettingsError as error:
            raise SettingsError(f'camera {camera}: {error}') from error

    def _declare(
        self, node: Node, full_name: str, name: str, value: Any, *, may_be_deleted: bool = False
    ) -> None:
        about, default = self.settings.parameters()[name], self.settings.defaults()[name]
        if isinstance(default, float):
            value = float(value)  # `max_range: 40` in YAML is an integer to ROS
        described = descriptor(about, default)
        # rclpy takes an empty list for one of bytes, and a list of strings for another type then.
        # It also takes only those of dynamic type back.
        described.dynamic_typing = default == () or may_be_deleted
        try:
            node.declare_parameter(full_name, to_ros(value), described, ignore_override=True)
        except ParameterException as error:
            raise SettingsError(f'parameter {full_name} = {value!r}: {error}') from error

    def _changes(self, parameters: Iterable[RosParameter[Any]]) -> dict[str, Any]:
        return {p.name: p.value for p in parameters if p.name in self._names}

    def _own_changes(self, parameters: Iterable[RosParameter[Any]]) -> dict[str, dict[str, Any]]:
        """Values of the cameras' own parameters after a change."""
        own = {camera: dict(values) for camera, values in self._own.items()}
        for parameter in parameters:
            camera, _, name = parameter.name.rpartition('.')
            if not camera or camera not in self._cameras or name not in self._per_camera:
                continue
            if parameter.type_ == RosParameter.Type.NOT_SET:
                own.get(camera, {}).pop(name, None)
            else:
                own.setdefault(camera, {})[name] = parameter.value
        return own

    @property
    def _cameras(self) -> tuple[str, ...]:
        return self.settings.cameras if isinstance(self.settings, NodeSettings) else ()

    def _refusal(self, full_name: str) -> str:
        """Why there is no parameter of this name; empty if there is, or may be."""
        if self._node.has_parameter(full_name) or full_name in self._names:
            return ''
        if full_name in _ROS_OWN or full_name.startswith(_ROS_OWN_PREFIX):
            return ''
        camera, _, name = full_name.rpartition('.')
        if not camera or camera not in self._cameras:
            return f'unknown parameter {full_name}'
        return '' if name in self._per_camera else _not_per_camera(full_name, self._per_camera)

    def _check(self, parameters: list[RosParameter[Any]]) -> SetParametersResult:
        for parameter in parameters:
            refusal = self._refusal(parameter.name)
            if refusal:
                return SetParametersResult(successful=False, reason=refusal)
        changes = self._changes(parameters)
        if self._locked():
            about = self.settings.parameters()
            for name, value in changes.items():
                if not about[name].live and value != to_ros(getattr(self.settings, name)):
                    reason = f'{name} cannot change while configured: deactivate and clean up first'
                    return SetParametersResult(successful=False, reason=reason)
        try:
            after = self.settings.replaced(**changes)
            for camera, values in self._own_changes(parameters).items():
                self._settings_of(camera, after, values)
        except SettingsError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[RosParameter[Any]]) -> None:
        changes, own = self._changes(parameters), self._own_changes(parameters)
        if changes or own != self._own:
            before, self.settings = self.settings, self.settings.replaced(**changes)
            self._own = own
            self._changed(before, self.settings)


def _not_per_camera(full_name: str, allowed: tuple[str, ...]) -> str:
    return f'{full_name}: a camera may have its own {", ".join(allowed)}'


def _own(overrides: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in overrides.items()
        if name not in _ROS_OWN and not name.startswith(_ROS_OWN_PREFIX)
    }


def _split(
    values: dict[str, Any],
    settings_class: type[NodeSettings] | type[PlayerSettings] | type[SimulationSettings],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Parameters of the node, and those that are a camera's own: camera to name to value.

    Raises:
        SettingsError: one is a camera's own that may not be.
    """
    shared, own = dict(values), dict[str, dict[str, Any]]()
    named = values.get('cameras')
    cameras = named if isinstance(named, list | tuple) else ()
    for full_name in values:
        camera, _, name = full_name.rpartition('.')
        if camera and camera in cameras and issubclass(settings_class, NodeSettings):
            if name not in settings_class.per_camera():
                raise SettingsError(_not_per_camera(full_name, settings_class.per_camera()))
            own.setdefault(camera, {})[name] = shared.pop(full_name)
    return shared, own
