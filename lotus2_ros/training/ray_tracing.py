"""Exact intersections of camera and shadow rays with solids, pierced sheets and one room.

Every solid is the unit box, ball or cylinder in its own frame, so one affine map per solid carries
a ray there. All rays of one call start at one point per scene (the camera or the light), which
makes the mapped origin a constant of the solid. Written without (B, P, N, 3) temporaries: under
torch.compile the intersections and the minimum over solids become one kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BOX, ELLIPSOID, CYLINDER, PANEL = 0, 1, 2, 3
"""Kinds of solid: |x|, |y|, |z| <= 1; x² + y² + z² <= 1; x² + y² <= 1 and |z| <= 1; and sheets in
z = 0, |x|, |y| <= 1, of which parts are cut out."""

RING, BARS, GRID, LEAVES = 0, 1, 2, 3
"""What is left of a sheet: a spoked wheel, upright bars between rails, a grid, foliage."""

_EPSILON = 1e-7
_NEAREST = 1e-3


@dataclass(frozen=True)
class Solids:
    """N solids in each of B scenes.

    Attributes:
        kind: (B, N) int64, BOX, ELLIPSOID or CYLINDER, and PANEL for the last K.
        centre: (B, N, 3) in the world frame (z up), metres.
        half: (B, N, 3) half-axes along the solid's own x, y, z, metres, > 0.
        rotation: (B, N, 3, 3) whose columns are the solid's axes in the world frame.
        cut: (B, K, 4) for the K sheets: RING, BARS, GRID or LEAVES; spokes, bars or waves along
            x; wires or waves along y; share that is left, for LEAVES the threshold.
    """

    kind: Tensor
    centre: Tensor
    half: Tensor
    rotation: Tensor
    cut: Tensor

    def to_unit(self) -> Tensor:
        """(B, N, 3, 3) maps from world offsets to the solid's unit frame."""
        return self.rotation.transpose(-1, -2) / self.half[..., None]


@dataclass(frozen=True)
class Hit:
    """Where B x P rays hit first.

    Attributes:
        distance: (B, P) ray parameter t of point = origin + t direction.
        solid: (B, P) int64 index of the solid, -1 for the room.
        normal: (B, P, 3) unit normal in the world frame, facing the ray's origin.
        local: (B, P, 3) point in the frame of what was hit: metres from the solid's centre along
            its axes, world coordinates for the room.
        unit: (B, P, 3) point in the solid's unit frame, zeros for the room.
        local_normal: (B, P, 3) normal along the axes of `local`.
    """

    distance: Tensor
    solid: Tensor
    normal: Tensor
    local: Tensor
    unit: Tensor
    local_normal: Tensor


def _safe(direction: Tensor) -> Tensor:
    small = torch.where(direction < 0, -_EPSILON, _EPSILON)
    return torch.where(direction.abs() < _EPSILON, small, direction)


def entry_distances(solids: Solids, origin: Tensor, directions: Tensor) -> Tensor:
    """Ray parameter at which each ray enters each closed solid; infinity where it does not.

    A ray that starts inside a solid does not hit it.

    Args:
        solids: N solids a scene, the last K of them sheets, which are left out.
        origin: (B, 3) common origin of the scene's rays, world frame.
        directions: (B, P, 3), any length.

    Returns:
        (B, P, N - K).
    """
    closed = solids.kind.shape[1] - solids.cut.shape[1]
    (ox, oy, oz), (dx, dy, dz) = _unit_rays(solids, slice(0, closed), origin, directions)
    inverse_x, inverse_y, inverse_z = 1 / _safe(dx), 1 / _safe(dy), 1 / _safe(dz)
    near_z, far_z = -oz * inverse_z - inverse_z.abs(), -oz * inverse_z + inverse_z.abs()
    near_x, far_x = -ox * inverse_x - inverse_x.abs(), -ox * inverse_x + inverse_x.abs()
    near_y, far_y = -oy * inverse_y - inverse_y.abs(), -oy * inverse_y + inverse_y.abs()
    box_near = torch.maximum(torch.maximum(near_x, near_y), near_z)
    box_far = torch.minimum(torch.minimum(far_x, far_y), far_z)

    square = dx * dx + dy * dy
    product = ox * dx + oy * dy
    excess = ox * ox + oy * oy - 1
    tube_near, tube_far = _roots(square, product, excess)
    tube_near, tube_far = torch.maximum(tube_near, near_z), torch.minimum(tube_far, far_z)
    ball_near, ball_far = _roots(square + dz * dz, product + oz * dz, excess + oz * oz)

    kind = solids.kind[:, None, :closed]
    near = torch.where(kind == BOX, box_near, torch.where(kind == CYLINDER, tube_near, ball_near))
    far = torch.where(kind == BOX, box_far, torch.where(kind == CYLINDER, tube_far, ball_far))
    return torch.where((far > near) & (near > _NEAREST), near, torch.inf)


def _unit_rays(
    solids: Solids, part: slice, origin: Tensor, directions: Tensor
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Origins (B, 1, N) and directions (B, P, N) in the unit frames, x, y and z apart."""
    matrix = solids.to_unit()[:, part]
    start = torch.einsum('bnij,bnj->bni', matrix, origin[:, None] - solids.centre[:, part])
    rays = directions[:, :, None, :]
    mapped = tuple(
        matrix[:, None, :, axis, 0] * rays[..., 0]
        + matrix[:, None, :, axis, 1] * rays[..., 1]
        + matrix[:, None, :, axis, 2] * rays[..., 2]
        for axis in range(3)
    )
    return tuple(start[:, None, :, axis] for axis in range(3)), mapped


def sheet_distances(solids: Solids, origin: Tensor, directions: Tensor) -> Tensor:
    """Ray parameter (B, P, K) at which each ray meets what is left of each sheet, or infinity."""
    closed = solids.kind.shape[1] - solids.cut.shape[1]
    part = slice(closed, None)
    (ox, oy, oz), (dx, dy, dz) = _unit_rays(solids, part, origin, directions)
    distance = -oz / _safe(dz)
    x, y = ox + distance * dx, oy + distance * dy
    style, across, down, share = solids.cut[:, None].unbind(-1)
    whole = (x.abs() <= 1) & (y.abs() <= 1)
    radius = (x * x + y * y).sqrt()
    disc = radius <= 1
    spoke = (torch.atan2(y, x) * (0.5 * across)).sin().abs() * radius < 0.05 * across.sqrt()
    ring = disc & ((radius >= 1 - share) | (radius < 0.13) | spoke)
    bar = torch.remainder((x + 1) * (0.5 * across), 1) < share
    wire = torch.remainder((y + 1) * (0.5 * down), 1) < share
    rail = y.abs() > 0.92
    wave = (across * x + 2 * (down * y).sin()).sin() * (
        down * y + 1.7 * (0.7 * across * x).sin()
    ).sin()
    foliage = disc & (wave > share)
    left = torch.where(
        style == RING,
        ring,
        torch.where(
            style == BARS,
            whole & (bar | rail),
            torch.where(style == GRID, whole & (bar | wire), foliage),
        ),
    )
    return torch.where(left & (distance > _NEAREST), distance, torch.inf)


def _roots(square: Tensor, product: Tensor, excess: Tensor) -> tuple[Tensor, Tensor]:
    """Both t of square t² + 2 product t + excess = 0; an empty interval where there are none."""
    discriminant = product * product - square * excess
    root = discriminant.clamp_min(0).sqrt()
    inverse = 1 / square.clamp_min(_EPSILON**2)
    near, far = (-product - root) * inverse, (-product + root) * inverse
    return torch.where(discriminant > 0, near, torch.inf), far


def first_entry(
    solids: Solids, origin: Tensor, directions: Tensor, chunk: int = 0
) -> tuple[Tensor, Tensor]:
    """Nearest entry over all solids.

    Args:
        solids: N solids a scene, at least one of them closed.
        origin: (B, 3).
        directions: (B, P, 3).
        chunk: rays handled at a time; 0 is all at once. Small chunks stay in a CPU's cache.

    Returns:
        (B, P) distance, infinity where nothing is hit, and (B, P) index of the solid.
    """
    pieces = directions.split(chunk, 1) if chunk else (directions,)
    nearest = [_nearest(solids, origin, piece) for piece in pieces]
    if len(nearest) == 1:
        return nearest[0]
    distances, indices = zip(*nearest, strict=True)
    return torch.cat(distances, 1), torch.cat(indices, 1)


def _nearest(solids: Solids, origin: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    entry, index = entry_distances(solids, origin, directions).min(-1)
    sheets = solids.cut.shape[1]
    if not sheets:
        return entry, index
    # Two minima fuse into two kernels; joined tensors would not.
    distance, sheet = sheet_distances(solids, origin, directions).min(-1)
    nearer = distance < entry
    sheet = sheet + (solids.kind.shape[1] - sheets)
    return torch.where(nearer, distance, entry), torch.where(nearer, sheet, index)


def trace(
    solids: Solids,
    room_low: Tensor,
    room_high: Tensor,
    origin: Tensor,
    directions: Tensor,
    chunk: int = 0,
) -> Hit:
    """First hit of each ray with the solids or, from inside, with the room's walls.

    Args:
        solids: N solids a scene, at least one of them closed.
        room_low: (B, 3) lower corner of the room, world frame; the origin lies inside the room.
        room_high: (B, 3) upper corner.
        origin: (B, 3).
        directions: (B, P, 3).
        chunk: see `first_entry`.
    """
    inverse = 1 / _safe(directions)
    low = (room_low - origin)[:, None] * inverse
    high = (room_high - origin)[:, None] * inverse
    wall, wall_axis = torch.maximum(low, high).min(-1)  # the nearest exit
    axes = torch.arange(3, device=directions.device)
    wall_normal = torch.where(axes == wall_axis[..., None], -torch.sign(_safe(directions)), 0.0)

    entry, index = first_entry(solids, origin, directions, chunk)
    on_solid = entry < wall
    distance = torch.where(on_solid, entry, wall)
    point = origin[:, None] + distance[..., None] * directions

    rows = _gather(solids, index)
    matrix, half, centre, kind = rows[..., :9], rows[..., 9:12], rows[..., 12:15], rows[..., 15]
    matrix = matrix.unflatten(-1, (3, 3))
    unit = (matrix * (point - centre)[..., None, :]).sum(-1)
    gradient = _unit_normal(unit, kind)
    normal = torch.nn.functional.normalize((matrix * gradient[..., None]).sum(-2), dim=-1)
    # Sheets have two sides.
    away = (normal * directions).sum(-1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal)
    # R = Mᵀ diag(half), so Rᵀ n needs no second gather.
    local_normal = half * (matrix * normal[..., None, :]).sum(-1)
    pick = on_solid[..., None]
    return Hit(
        distance=distance,
        solid=torch.where(on_solid, index, -1),
        normal=torch.where(pick, normal, wall_normal),
        local=torch.where(pick, unit * half, point),
        unit=torch.where(pick, unit, 0.0),
        local_normal=torch.where(pick, local_normal, wall_normal),
    )


def _gather(solids: Solids, index: Tensor) -> Tensor:
    """(B, P, 16) map, half-axes, centre and kind of the solids that were hit."""
    table = torch.cat(
        [
            solids.to_unit().flatten(-2),
            solids.half,
            solids.centre,
            solids.kind[..., None].to(solids.half),
        ],
        -1,
    )
    return gather_rows(table, index)


def gather_rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows (B, P, C) of a table (B, N, C) at index (B, P)."""
    scene = torch.arange(table.shape[0], device=table.device)[:, None] * table.shape[1]
    return table.flatten(0, 1)[scene + index]


def _unit_normal(unit: Tensor, kind: Tensor) -> Tensor:
    """Gradient of the unit solid's surface function at a surface point, (B, P, 3)."""
    axes = torch.arange(3, device=unit.device)
    magnitude = unit.abs()
    face = torch.where(axes == magnitude.argmax(-1, keepdim=True), torch.sign(unit), 0.0)
    radial = unit[..., 0] ** 2 + unit[..., 1] ** 2
    cap = (unit[..., 2] ** 2 > radial)[..., None]
    lid = torch.where(axes == 2, torch.sign(unit), 0.0)
    side = torch.where(axes == 2, 0.0, unit)
    tube = torch.where(cap, lid, side)
    kind = kind[..., None]
    curved = torch.where(kind == CYLINDER, tube, unit)
    flat = torch.where(kind == PANEL, (axes == 2).to(unit), face)
    return torch.where((kind == BOX) | (kind == PANEL), flat, curved)
