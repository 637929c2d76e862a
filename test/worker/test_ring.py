from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.errors import ImageError, WorkerError
from lotus2_ros.worker.ring import (
    MAX_IMAGE_PIXELS,
    Ring,
    RingLayout,
    SlotPool,
    check_image_size,
    create_ring,
)


def open_descriptors() -> int:
    return len(list(Path('/proc/self/fd').iterdir()))


def two_sides(layout: RingLayout) -> tuple[Ring, Ring]:
    ours, descriptor = create_ring(1, layout)
    return ours, Ring(1, layout, descriptor)


@given(st.integers(1, 60), st.integers(1, 60), st.booleans(), st.booleans(), st.booleans())
def test_both_sides_see_the_same_bytes_and_slots_do_not_overlap(
    height: int, width: int, disparity: bool, normals: bool, flying: bool
) -> None:
    layout = RingLayout.for_pixels(height * width, disparity + 3 * normals)
    ours, theirs = two_sides(layout)
    for slot in range(layout.image_slots):
        ours.image(slot, height, width)[:] = slot + 1
    for slot in range(layout.result_slots):
        views = theirs.result(
            slot, height, width, disparity=disparity, normals=normals, flying=flying
        )
        for number, view in enumerate(views[:2]):
            if view is not None:
                view[:] = 10 * slot + number
        if views.flying is not None:
            views.flying[:] = slot % 2
    for slot in range(layout.image_slots):
        assert (theirs.image(slot, height, width) == slot + 1).all()
    for slot in range(layout.result_slots):
        depth, normal, mask = ours.result(
            slot, height, width, disparity=disparity, normals=normals, flying=flying
        )
        assert (mask is not None) == flying
        if mask is not None:
            assert mask.shape == (height, width)
            assert (mask == slot % 2).all()
        assert (depth is not None) == disparity
        assert (normal is not None) == normals
        if depth is not None:
            assert depth.shape == (height, width)
            assert (depth == 10 * slot).all()
        if normal is not None:
            assert normal.shape == (height, width, 3)
            assert (normal == 10 * slot + 1).all()


@pytest.mark.parametrize('slot', [-1, 4])
def test_a_slot_that_is_not_there_is_refused(slot: int) -> None:
    ring, _ = two_sides(RingLayout.for_pixels(100, 1))
    with pytest.raises(WorkerError, match='slot'):
        ring.image(slot, 10, 10)
    with pytest.raises(WorkerError, match='slot'):
        ring.result(slot, 10, 10, disparity=True, normals=False)


@pytest.mark.parametrize(('height', 'width'), [(0, 10), (-1, -1), (1000, 1000)])
def test_a_size_that_does_not_fit_is_refused(height: int, width: int) -> None:
    ring, _ = two_sides(RingLayout.for_pixels(100, 4))
    with pytest.raises(WorkerError, match='does not fit'):
        ring.image(0, height, width)
    with pytest.raises(WorkerError, match='does not fit'):
        ring.result(0, height, width, disparity=True, normals=True)


def test_the_segment_cannot_be_truncated_and_is_private() -> None:
    _, descriptor = create_ring(1, RingLayout.for_pixels(100, 1))
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o600
    os.close(descriptor)


def test_a_segment_smaller_than_its_layout_is_refused_and_closed() -> None:
    _, descriptor = create_ring(1, RingLayout.for_pixels(100, 1))
    with pytest.raises(WorkerError, match='smaller'):
        Ring(1, RingLayout.for_pixels(10_000, 1), descriptor)
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(descriptor)


def test_memory_that_cannot_be_had_is_an_error_that_says_how_much() -> None:
    before = open_descriptors()
    with pytest.raises(WorkerError, match='MiB of shared memory'):
        create_ring(1, RingLayout(4, 1 << 40, 3, 1 << 40))
    assert open_descriptors() == before


def test_a_view_outlives_its_ring() -> None:
    ours, theirs = two_sides(RingLayout.for_pixels(100, 1))
    view = ours.image(0, 10, 10)
    view[:] = 7
    del ours, theirs
    assert (view == 7).all()


def test_rings_give_back_memory_and_descriptors() -> None:
    before = open_descriptors()
    for _ in range(50):
        two_sides(RingLayout.for_pixels(640 * 480, 4))
    assert open_descriptors() == before
    assert 'lotus2-ring' not in Path('/proc/self/maps').read_text()


@pytest.mark.parametrize(
    ('height', 'width'), [(0, 640), (480, 0), (-1, 5), (MAX_IMAGE_PIXELS, 2), (1 << 40, 1 << 40)]
)
def test_unreasonable_image_sizes_are_refused(height: int, width: int) -> None:
    with pytest.raises(ImageError, match='area'):
        check_image_size(height, width)


@given(st.integers(1, 8), st.lists(st.booleans(), max_size=60))
def test_a_slot_is_never_given_to_two(slots: int, takes: list[bool]) -> None:
    pool = SlotPool(slots)
    taken: list[int] = []
    for take in takes:
        if take:
            slot = pool.take()
            assert (slot is None) == (len(taken) == slots)
            if slot is not None:
                assert slot not in taken
                assert 0 <= slot < slots
                taken.append(slot)
        elif taken:
            pool.give(taken.pop(0))
        assert pool.free + len(taken) == slots


@pytest.mark.parametrize('slot', [-1, 0, 3])
def test_giving_back_what_was_not_taken_is_refused(slot: int) -> None:
    with pytest.raises(WorkerError, match='not taken'):
        SlotPool(3).give(slot)


def test_nothing_is_copied() -> None:
    ours, _ = two_sides(RingLayout.for_pixels(100, 4))
    assert np.shares_memory(ours.image(0, 10, 10), ours.image(0, 5, 5))
    assert not np.shares_memory(ours.image(0, 10, 10), ours.image(1, 10, 10))
