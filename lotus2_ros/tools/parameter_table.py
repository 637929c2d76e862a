"""Write docs/parameters.md from the settings, so that the page cannot drift from the code.

Run as `python -m lotus2_ros.tools.parameter_table > docs/parameters.md`.
"""

from __future__ import annotations

from typing import Any

from lotus2_ros.settings import NodeSettings, Parameter, PlayerSettings, SimulationSettings

_HEAD = """# Parameters

Made from `lotus2_ros/settings/` by `python -m lotus2_ros.tools.parameter_table`; a test holds
the two together. *Live* parameters change while the node runs (`ros2 param set`); the others are
refused then, with the reason, and take effect after a cleanup and a new configure. A set of
parameters is checked as a whole: either all of it applies or none of it.
"""


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return '[' + ', '.join(value) + ']'
    return str(value) if value != '' else "''"


def _allowed(about: Parameter) -> str:
    if about.choices:
        return ', '.join(about.choices)
    if about.minimum is None and about.maximum is None:
        return ''
    return f'{about.minimum:g} to {about.maximum:g} {about.unit}'.strip()


def table(
    settings: type[NodeSettings] | type[PlayerSettings] | type[SimulationSettings],
) -> str:
    """Markdown table of every parameter of one settings class."""
    rows = ['| name | default | allowed | live | what it does |', '| --- | --- | --- | --- | --- |']
    defaults = settings.defaults()
    for name, about in settings.parameters().items():
        live = 'yes' if about.live else ''
        default, allowed = _default(defaults[name]), _allowed(about)
        rows.append(f'| `{name}` | {default} | {allowed} | {live} | {about.description} |')
    return '\n'.join(rows)


def page() -> str:
    """The whole page."""
    return '\n'.join(
        [
            _HEAD,
            '## depth_node',
            '',
            table(NodeSettings),
            '',
            '## camera_player',
            '',
            table(PlayerSettings),
            '',
            '## sim_robot',
            '',
            table(SimulationSettings),
            '',
        ]
    )


if __name__ == '__main__':
    print(page(), end='')
