"""Templates of things made of several solids: furniture, tools, vehicles, people, plants.

Each is written in its own frame: x forward, z up, origin on the ground, metres and radians.
Templates are only rough likenesses: what matters is that thin, overlapping, raised, pierced and
round parts occur together as they do in real places. At most `PARTS` solids and `PANELS` sheets.
"""

from __future__ import annotations

from lotus2_ros.training.indoor_templates import FURNITURE, STORES
from lotus2_ros.training.outdoor_templates import OUTSIDE, VEHICLES
from lotus2_ros.training.solid_parts import RIGHT, Row, ball, box, legs, tube

PARTS = 10
"""Solids a compound may have; templates with fewer are padded with hidden ones."""

PANELS = 2
"""Sheets with cut-outs a compound may have."""

BEINGS: dict[str, list[Row]] = {
    'standing': [
        tube((0, -0.1, 0.42), 0.08, 0.42),
        tube((0.05, 0.1, 0.42), 0.08, 0.42),
        ball((0, 0, 1.15), (0.15, 0.22, 0.36)),
        tube((0.05, -0.25, 1.12), 0.05, 0.3, 0.12),
        tube((-0.02, 0.25, 1.12), 0.05, 0.3, -0.12),
        ball((0, 0, 1.62), (0.11, 0.09, 0.14)),
        tube((0, 0, 1.46), 0.05, 0.06),
        box((0.08, -0.1, 0.04), (0.14, 0.05, 0.04)),
        box((0.13, 0.1, 0.04), (0.14, 0.05, 0.04)),
    ],
    'walking': [
        tube((0.15, -0.1, 0.43), 0.075, 0.45, 0, -0.35),
        tube((-0.15, 0.1, 0.43), 0.075, 0.45, 0, 0.35),
        ball((0.02, 0, 1.15), (0.15, 0.21, 0.36), 0, 0.08),
        tube((-0.1, -0.25, 1.12), 0.045, 0.28, 0, 0.45),
        tube((0.12, 0.25, 1.12), 0.045, 0.28, 0, -0.45),
        ball((0.05, 0, 1.62), (0.11, 0.09, 0.14)),
        box((0.36, -0.1, 0.06), (0.13, 0.05, 0.05), 0, -0.2),
        box((-0.25, 0.1, 0.06), (0.13, 0.05, 0.05), 0, 0.4),
        box((-0.2, 0, 1.2), (0.1, 0.16, 0.22)),
    ],
    'sitting': [
        tube((0.25, -0.12, 0.5), 0.08, 0.27, 0, RIGHT),
        tube((0.25, 0.12, 0.5), 0.08, 0.27, 0, RIGHT),
        tube((0.48, -0.12, 0.25), 0.06, 0.25),
        tube((0.48, 0.12, 0.25), 0.06, 0.25),
        ball((0, 0, 0.82), (0.16, 0.22, 0.35)),
        tube((0.18, -0.24, 0.8), 0.05, 0.26, 0, 1.0),
        tube((0.18, 0.24, 0.8), 0.05, 0.26, 0, 1.0),
        ball((0.05, 0, 1.28), (0.11, 0.09, 0.14)),
        box((0, 0, 0.4), (0.22, 0.24, 0.03)),
        tube((0, 0, 0.2), 0.05, 0.2),
    ],
    'dog': [
        ball((0, 0, 0.45), (0.32, 0.13, 0.15)),
        ball((0.38, 0, 0.6), (0.14, 0.08, 0.09)),
        *legs(0.22, 0.07, 0.4, 0.03),
        tube((-0.36, 0, 0.58), 0.02, 0.12, 0, -0.7),
    ],
}

TEMPLATES: dict[str, list[Row]] = FURNITURE | STORES | BEINGS | VEHICLES | OUTSIDE

INDOOR = (
    *FURNITURE, *STORES, *BEINGS, 'motorcycle', 'spoked_motorcycle', 'bicycle', 'workbench',
    'tool_trolley', 'bin',
)  # fmt: skip
AISLE = (
    'rack', 'rack', 'rack', 'wire_shelf', 'pallet', 'pallet', 'stack', 'shelf', 'pipes', 'cabinet',
    'standing', 'walking', 'ladder', 'drum', 'cones', 'tool_trolley', 'bin', 'railing', 'plant',
)  # fmt: skip
OUTDOOR = (
    *OUTSIDE, 'tree', 'car', 'car', 'van', 'standing', 'walking', 'sitting', 'dog', 'motorcycle',
    'spoked_motorcycle', 'bicycle', 'pallet', 'stack', 'ladder', 'stairs', 'drum',
)  # fmt: skip

TOPS: dict[str, tuple[float, float, float]] = {
    'table': (0.75, 0.55, 0.3), 'desk': (0.75, 0.3, 0.6), 'workbench': (0.89, 0.28, 0.85),
    'drawers': (0.9, 0.18, 0.3), 'tool_trolley': (0.95, 0.2, 0.3), 'cabinet': (1.9, 0.2, 0.4),
    'shelf': (1.22, 0.1, 0.38), 'wire_shelf': (1.66, 0.14, 0.4), 'rack': (0.95, 0.3, 0.9),
    'bed': (0.56, 0.7, 0.5), 'sofa': (0.57, 0.2, 0.6), 'chair': (0.475, 0.12, 0.12),
}  # fmt: skip
"""Height and half-sides of the surface on which smaller things may lie."""
