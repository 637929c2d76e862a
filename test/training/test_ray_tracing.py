from __future__ import annotations

import math

import pytest
import torch

from lotus2_ros.training.placement import rotation_about
from lotus2_ros.training.random_draws import Draws
from lotus2_ros.training.ray_tracing import (
    BARS,
    BOX,
    CYLINDER,
    ELLIPSOID,
    GRID,
    PANEL,
    RING,
    Solids,
    trace,
)
from lotus2_ros.training.scene_sampling import sample_scene
from lotus2_ros.training.scenes import SceneSource, camera_rays
from lotus2_ros.training.targets import disparity_map, flipped
from lotus2_ros.training.textures import build_pyramid

LOW, HIGH = torch.tensor([[-10.0, -10, -10]]), torch.tensor([[10.0, 10, 10]])
ORIGIN = torch.zeros(1, 3)


def one(kind: int, centre: list[float], half: list[float], turn: float = 0.0) -> Solids:
    rotation = rotation_about(2, torch.tensor([[turn]]))
    return Solids(
        torch.tensor([[kind]]),
        torch.tensor([[centre]]),
        torch.tensor([[half]]),
        rotation,
        torch.zeros(1, 0, 4),
    )


def shoot(solids: Solids, *directions: list[float]):
    return trace(solids, LOW, HIGH, ORIGIN, torch.tensor([directions]))


def test_ray_hits_the_near_face_of_a_box():
    hit = shoot(one(BOX, [4, 0, 0], [1, 2, 3]), [1, 0, 0], [1, 0.2, 0.3])
    torch.testing.assert_close(hit.distance, torch.tensor([[3.0, 3.0]]))
    torch.testing.assert_close(hit.normal, torch.tensor([[[-1.0, 0, 0], [-1.0, 0, 0]]]))


def test_ray_hits_the_edge_of_a_turned_box():
    hit = shoot(one(BOX, [4, 0, 0], [1, 1, 1], math.pi / 4), [1, 1e-4, 0])
    assert hit.distance.item() == pytest.approx(4 - math.sqrt(2), abs=1e-3)
    expected = torch.tensor([-math.sqrt(0.5), math.sqrt(0.5), 0])
    torch.testing.assert_close(hit.normal[0, 0], expected, atol=1e-4, rtol=0)


def test_ray_hits_a_sphere():
    hit = shoot(one(ELLIPSOID, [5, 0, 0], [2, 2, 2]), [1, 0, 0], [1, 0.3, 0.1])
    assert hit.distance[0, 0].item() == pytest.approx(3.0, abs=1e-5)
    point = hit.distance[0, 1] * torch.tensor([1, 0.3, 0.1])
    outward = (point - torch.tensor([5.0, 0, 0])) / 2
    assert outward.norm().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(hit.normal[0, 1], outward, atol=1e-5, rtol=0)


def test_ray_hits_side_and_lid_of_a_cylinder():
    hit = shoot(one(CYLINDER, [3, 0, -2], [1, 1, 0.5]), [2.5, 0, -2], [3, 0, -1.5])
    assert (hit.distance[0, 0] * 2.5).item() == pytest.approx(2.0, abs=1e-5)
    torch.testing.assert_close(hit.normal[0, 0], torch.tensor([-1.0, 0, 0]), atol=1e-5, rtol=0)
    assert hit.distance[0, 1].item() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(hit.normal[0, 1], torch.tensor([0.0, 0, 1]), atol=1e-5, rtol=0)


def test_ray_that_misses_hits_the_wall_behind():
    hit = shoot(one(BOX, [4, 5, 0], [1, 1, 1]), [1, 0, 0], [0, 0, -2])
    torch.testing.assert_close(hit.distance, torch.tensor([[10.0, 5.0]]))
    assert hit.solid.tolist() == [[-1, -1]]
    torch.testing.assert_close(hit.normal, torch.tensor([[[-1.0, 0, 0], [0, 0, 1]]]))


def sheet(style: int, across: float, down: float, share: float) -> Solids:
    """A far box and a sheet of 2 x 2 m, 4 m ahead, whose x is world y and whose y is world z."""
    rotation = torch.tensor([[[[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]]])
    return Solids(
        torch.tensor([[BOX, PANEL]]),
        torch.tensor([[[0.0, 0, -90], [4, 0, 0]]]),
        torch.ones(1, 2, 3),
        rotation.expand(1, 2, 3, 3),
        torch.tensor([[[style, across, down, share]]]),
    )


def test_ray_passes_between_the_bars_of_a_railing():
    # Bars start at -1, -0.5, 0 and 0.5 and are 0.1 wide; rails end the sheet.
    hit = shoot(sheet(BARS, 4, 0, 0.2), [4, 0.05, 0], [4, 0.3, 0], [4, 0.3, 0.95], [4, 0.05, 1.1])
    assert hit.solid.tolist() == [[1, -1, 1, -1]]
    assert hit.distance[0, 0].item() == pytest.approx(1.0, abs=1e-5)


def test_ray_passes_between_rim_and_hub_of_a_wheel():
    hit = shoot(sheet(RING, 4, 0, 0.1), [4, 0, 0], [4, 0.4, 0.3], [4, 0.95, 0.0], [4, 0.9, 0.9])
    assert hit.solid.tolist() == [[1, -1, 1, -1]]


def test_ray_passes_through_the_meshes_of_a_grid():
    hit = shoot(sheet(GRID, 2, 2, 0.2), [4, 0.5, 0.5], [4, 0.5, 0.1], [4, 0.1, 0.5])
    assert hit.solid.tolist() == [[-1, 1, 1]]


def test_sheet_is_seen_from_both_sides():
    solids = sheet(BARS, 1, 0, 1.0)
    front = shoot(solids, [1.0, 0, 0])
    far_side = torch.tensor([[8.0, 0, 0]])
    back = trace(solids, LOW, HIGH, far_side, torch.tensor([[[-1.0, 0, 0]]]))
    torch.testing.assert_close(front.normal[0, 0], torch.tensor([-1.0, 0, 0]))
    torch.testing.assert_close(back.normal[0, 0], torch.tensor([1.0, 0, 0]))
    assert back.distance.item() == pytest.approx(4.0)


@pytest.fixture(scope='module')
def textures():
    return build_pyramid([], Draws(torch.Generator().manual_seed(1)), 4)


def source(textures, seed: int) -> SceneSource:
    return SceneSource(textures, torch.Generator().manual_seed(seed), chunk=512)


def test_normals_are_unit_and_face_the_camera(textures):
    sample = source(textures, 3).draw(6, 48, 64)
    torch.testing.assert_close(sample.normals.norm(dim=1), torch.ones(6, 48, 64))
    camera = sample_scene(Draws(torch.Generator().manual_seed(3)), 48).camera
    rays = camera_rays(camera, 48, 64)[:6].unflatten(1, (48, 64)).permute(0, 3, 1, 2)
    # In the training convention normals point away from the camera.
    cosine = (rays * sample.normals).sum(1)
    assert (cosine[~sample.sky[:, 0]] > -1e-4).all()


def test_unprojected_floor_is_a_plane(textures):
    draws = Draws(torch.Generator().manual_seed(5))
    scene = sample_scene(draws, 4)
    camera = scene.camera
    rays = camera_rays(camera, 24, 32)
    world = torch.einsum('bij,bpj->bpi', camera.rotation, rays)
    hit = trace(scene.solids, scene.room_low, scene.room_high, camera.position, world)
    point = camera.position[:, None] + hit.distance[..., None] * world
    floor = (hit.solid < 0) & (hit.normal[..., 2] > 0.5)
    assert floor.any()
    near = floor & (hit.distance < 30)
    assert point[near][:, 2].abs().max() < 1e-4


def test_same_seed_same_scene_other_seed_other_scene(textures):
    first, again, other = (source(textures, seed).draw(2, 16, 32) for seed in (7, 7, 8))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.disparity, again.disparity)
    assert not torch.equal(first.image, other.image)


def test_mirrored_sample_negates_normal_x(textures):
    sample = source(textures, 9).draw(2, 16, 32)
    mirrored = flipped(sample, torch.tensor([True, False]))
    torch.testing.assert_close(mirrored.normals[0, 0], -sample.normals[0, 0].flip(-1))
    torch.testing.assert_close(mirrored.normals[0, 1:], sample.normals[0, 1:].flip(-1))
    torch.testing.assert_close(mirrored.image[0], sample.image[0].flip(-1))
    assert torch.equal(mirrored.normals[1], sample.normals[1])


def test_disparity_map_spans_minus_one_to_one_and_ignores_scale_and_shift():
    disparity = torch.rand(2, 1, 30, 40, generator=torch.Generator().manual_seed(0))
    picture = disparity_map(disparity)
    assert picture.shape == (2, 3, 30, 40)
    assert picture.min() == -1
    assert picture.max() == 1
    torch.testing.assert_close(disparity_map(3 * disparity + 2), picture, atol=1e-4, rtol=0)
