from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus2_ros.training.compounds import CLUTTER, sample_clutter, sample_compounds, template_table
from lotus2_ros.training.fixtures import FIXTURES
from lotus2_ros.training.loose_things import LOOSE
from lotus2_ros.training.patterns import MAKERS, SIDE
from lotus2_ros.training.placement import CORRIDOR, OPEN, ROOM, STREET
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import BOX, CYLINDER, ELLIPSOID, PANEL, gather_rows, trace
from lotus2_ros.training.scene_sampling import SOLIDS, sample_scene
from lotus2_ros.training.scenes import SceneSource, camera_rays
from lotus2_ros.training.templates import (
    AISLE,
    INDOOR,
    OUTDOOR,
    PANELS,
    PARTS,
    TEMPLATES,
    TOPS,
)
from lotus2_ros.training.textures import build_pyramid

SEEDS = st.integers(0, 2**31 - 1)


def draws(seed: int) -> Draws:
    return Draws(torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def textures():
    return build_pyramid([], draws(1), len(MAKERS))


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_every_map_of_any_scene_is_finite_and_in_range(textures, seed):
    sample = SceneSource(textures, torch.Generator().manual_seed(seed)).draw(48, 12, 16)
    for value in (sample.image, sample.disparity, sample.normals):
        assert torch.isfinite(value).all()
    assert sample.image.abs().max() <= 1
    assert sample.disparity.min() >= 0
    assert (sample.disparity[~sample.sky] > 0).all()
    assert (sample.disparity[sample.sky] == 0).all()
    torch.testing.assert_close(sample.normals.norm(dim=1), torch.ones(48, 12, 16))


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_hits_lie_on_the_surface_of_what_they_hit(seed):
    scene = sample_scene(draws(seed), 24)
    camera = scene.camera
    world = torch.einsum('bij,bpj->bpi', camera.rotation, camera_rays(camera, 12, 16))
    hit = trace(scene.solids, scene.room_low, scene.room_high, camera.position, world)
    assert ((hit.normal * world).sum(-1) <= 1e-4).all()

    on = hit.solid >= 0
    index = hit.solid.clamp_min(0)
    kind = gather_rows(scene.solids.kind[..., None], index)[..., 0]
    centre, half = (gather_rows(v, index) for v in (scene.solids.centre, scene.solids.half))
    rotation = gather_rows(scene.solids.rotation.flatten(-2), index).unflatten(-1, (3, 3))
    point = camera.position[:, None] + hit.distance[..., None] * world
    unit = (rotation.transpose(-1, -2) @ (point - centre)[..., None])[..., 0] / half
    x, y, z = unit.abs().unbind(-1)
    tube = torch.maximum((x * x + y * y).sqrt(), z)
    off = torch.zeros_like(x)
    off = torch.where(kind == BOX, unit.abs().amax(-1) - 1, off)
    off = torch.where(kind == ELLIPSOID, unit.norm(dim=-1) - 1, off)
    off = torch.where(kind == CYLINDER, tube - 1, off)
    off = torch.where(kind == PANEL, z, off)
    # Metres off the surface, as a share of the distance.
    error = (off.abs() * half.amin(-1) / hit.distance)[on]
    assert error.numel()
    assert error.max() < 2e-4


@settings(max_examples=12, deadline=None)
@given(seed=SEEDS)
def test_no_camera_stands_inside_a_thing_or_outside_its_room(seed):
    scene = sample_scene(draws(seed), 256)
    eye = scene.camera.position
    assert ((eye > scene.room_low) & (eye < scene.room_high)).all()
    offset = eye[:, None] - scene.solids.centre
    unit = (scene.solids.to_unit() @ offset[..., None])[..., 0]
    inside = torch.where(scene.solids.kind == BOX, unit.abs().amax(-1) < 1, unit.norm(dim=-1) < 1)
    closed = scene.solids.kind != PANEL
    assert (inside & closed).any(1).float().mean() < 0.02


def test_scenes_are_mostly_rooms_with_corridors_streets_and_open_ground():
    kinds = sample_scene(draws(4), 4000).surroundings
    shares = torch.bincount(kinds, minlength=4) / 4000
    expected = {ROOM: 0.5, CORRIDOR: 0.12, STREET: 0.16, OPEN: 0.22}
    for kind, share in expected.items():
        assert shares[kind].item() == pytest.approx(share, abs=0.03)


def test_horizon_parts_ground_from_sky(textures):
    sample = SceneSource(textures, torch.Generator().manual_seed(5)).draw(64, 24, 32)
    assert 0.005 < sample.sky.float().mean() < 0.5
    # Nothing that is ground lies above the sky: no column has sky below its lowest sky-free run.
    assert not sample.sky[:, :, -1].all()


def test_templates_fit_their_slots_and_are_listed():
    for name, rows in TEMPLATES.items():
        panels = [row for row in rows if row[0] == PANEL]
        assert len(rows) - len(panels) <= PARTS, name
        assert len(panels) <= PANELS, name
    assert {*INDOOR, *AISLE, *OUTDOOR} == set(TEMPLATES)
    assert set(TOPS) <= set(TEMPLATES)
    table, tops = template_table(torch.device('cpu'))
    assert (table[..., 0] >= 0).sum().item() == sum(map(len, TEMPLATES.values()))
    assert (tops[:, 0] > 0).sum().item() == len(TOPS)


def test_every_scene_has_the_same_number_of_solids_sheets_last():
    scene = sample_scene(draws(6), 3)
    assert scene.solids.kind.shape == (3, SOLIDS)
    sheets = scene.solids.cut.shape[1]
    assert SOLIDS - sheets > LOOSE + FIXTURES + CLUTTER
    assert (scene.solids.kind[:, :-sheets] != PANEL).all()


def test_clutter_lies_on_the_top_of_its_host():
    from lotus2_ros.training.scene_sampling import _layout

    source = draws(7)
    layout = _layout(source, 400)
    compounds = sample_compounds(source, layout)
    clutter = sample_clutter(source, layout, compounds)
    shown = clutter.centre[..., 2] > 0
    bottom = clutter.centre[..., 2] - clutter.half[..., 2]
    upright = shown & (clutter.kind == BOX)
    heights = torch.cat([torch.zeros(400, 1), compounds.top[..., 0]], 1)
    gap = (bottom[..., None] - heights[:, None]).abs().amin(-1)
    assert gap[upright].max() < 2e-4
    assert (bottom[upright] > 0.3).any()


@pytest.mark.parametrize('maker', MAKERS)
def test_patterns_are_textures(maker):
    for seed in range(4):
        pattern = maker(draws(seed))
        assert pattern.shape == (3, SIDE, SIDE)
        assert torch.isfinite(pattern).all()
        assert pattern.clamp(0, 1).std() > 0.005
