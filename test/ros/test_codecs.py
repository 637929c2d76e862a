from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import Image

from lotus2_ros.errors import ImageError
from lotus2_ros.ros.codecs import ENCODINGS, MAX_PIXELS, decode_image, image_size

PACKED_BYTES = {
    'rgb8': 3, 'bgr8': 3, '8UC3': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1, '8UC1': 1, 'mono16': 2,
    'bayer_rggb8': 1, 'bayer_bggr8': 1, 'bayer_gbrg8': 1, 'bayer_grbg8': 1,
    'yuv422': 2, 'uyvy': 2, 'yuv422_yuy2': 2, 'yuyv': 2,
}  # fmt: skip
BAYER = {
    # Which channel lies at (even row, even column), (even, odd), (odd, even), (odd, odd).
    'bayer_rggb8': (0, 1, 1, 2),
    'bayer_bggr8': (2, 1, 1, 0),
    'bayer_gbrg8': (1, 2, 0, 1),
    'bayer_grbg8': (1, 0, 2, 1),
}


def message(encoding: str, rows: np.ndarray, height: int, width: int, padding: int = 0) -> Image:
    """An Image of byte rows, each followed by `padding` bytes that must not be read."""
    padded = np.full((rows.shape[0], rows.shape[1] + padding), 0xA5, np.uint8)
    padded[:, : rows.shape[1]] = rows
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=padded.shape[1],
        data=array.array('B', padded.tobytes()),
    )


def decoded(image: Image) -> np.ndarray:
    out = np.full((*image_size(image), 3), 7, np.uint8)
    decode_image(image, out)
    return out


def random_rows(encoding: str, height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if encoding in ('nv12', 'nv21'):
        return rng.integers(0, 256, (height * 3 // 2, width), np.uint8)
    return rng.integers(0, 256, (height, width * PACKED_BYTES[encoding]), np.uint8)


def expected(encoding: str, rows: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same pixels by plain NumPy, or by OpenCV's own conversion where that is the standard."""
    if encoding in ('nv12', 'nv21'):
        code = {'nv12': cv2.COLOR_YUV2RGB_NV12, 'nv21': cv2.COLOR_YUV2RGB_NV21}[encoding]
        return cv2.cvtColor(rows, code)
    if encoding in BAYER:
        # cv_bridge's table: OpenCV names a pattern after its second row, ROS after its first.
        code = {
            'bayer_rggb8': cv2.COLOR_BayerBG2RGB,
            'bayer_bggr8': cv2.COLOR_BayerRG2RGB,
            'bayer_gbrg8': cv2.COLOR_BayerGR2RGB,
            'bayer_grbg8': cv2.COLOR_BayerGB2RGB,
        }[encoding]
        return cv2.cvtColor(rows, code)
    if encoding == 'mono16':
        values = rows.view('<u2').astype(np.float64)
        return np.repeat(np.rint(values * 255 / 65535).astype(np.uint8)[..., None], 3, axis=2)
    pixels = rows.reshape(height, width, -1)
    if encoding in ('yuv422', 'uyvy'):
        return cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_UYVY)
    if encoding in ('yuv422_yuy2', 'yuyv'):
        return cv2.cvtColor(pixels, cv2.COLOR_YUV2RGB_YUYV)
    order = {'rgb': [0, 1, 2], 'bgr': [2, 1, 0], '8UC': [2, 1, 0], 'mon': [0, 0, 0]}
    channels = [0, 0, 0] if encoding == '8UC1' else order[encoding[:3]]
    return pixels[..., channels]


@pytest.mark.parametrize('encoding', ENCODINGS)
@given(
    half_height=st.integers(2, 12),
    half_width=st.integers(2, 12),
    padding=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=15, deadline=None)
def test_every_encoding_decodes_as_expected_whatever_its_padding(
    encoding: str, half_height: int, half_width: int, padding: int, seed: int
) -> None:
    height, width = 2 * half_height, 2 * half_width
    rows = random_rows(encoding, height, width, seed)
    image = message(encoding, rows, height, width, padding)
    np.testing.assert_array_equal(decoded(image), expected(encoding, rows, height, width))


def test_the_encodings_of_the_documentation_are_all_there() -> None:
    assert set(ENCODINGS) == {*PACKED_BYTES, 'nv12', 'nv21'}


@pytest.mark.parametrize('encoding', BAYER)
def test_a_bayer_mosaic_of_one_colour_decodes_to_that_colour(encoding: str) -> None:
    colour = np.array([200, 120, 40], np.uint8)
    mosaic = np.empty((8, 10), np.uint8)
    for at, channel in enumerate(BAYER[encoding]):
        mosaic[at // 2 :: 2, at % 2 :: 2] = colour[channel]
    assert (decoded(message(encoding, mosaic, 8, 10)) == colour).all()


@pytest.mark.parametrize('encoding', ['uyvy', 'yuyv', 'nv12', 'nv21'])
def test_the_chroma_order_of_yuv_is_right(encoding: str) -> None:
    # BT.601, limited range: Y 81, U 90, V 240 is pure red.
    y, u, v = 81, 90, 240
    if encoding in ('nv12', 'nv21'):
        rows = np.full((6, 4), y, np.uint8)
        rows[4:] = np.tile([u, v] if encoding == 'nv12' else [v, u], (2, 2))
    else:
        rows = np.tile([u, y, v, y] if encoding == 'uyvy' else [y, u, y, v], (4, 2)).astype('u1')
    red = decoded(message(encoding, rows, 4, 4)).reshape(-1, 3)
    assert (np.abs(red.astype(int) - [255, 0, 0]) <= 3).all()


@given(st.lists(st.integers(0, 65535), min_size=6, max_size=6))
@settings(max_examples=20, deadline=None)
def test_mono16_honours_its_byte_order(values: list[int]) -> None:
    little = np.array(values, '<u2').view(np.uint8).reshape(2, 6)
    big = np.array(values, '>u2').view(np.uint8).reshape(2, 6)
    first = message('mono16', little, 2, 3)
    second = message('mono16', big, 2, 3)
    second.is_bigendian = 1
    np.testing.assert_array_equal(decoded(first), decoded(second))


def test_padding_of_the_last_row_may_be_missing() -> None:
    rows = random_rows('rgb8', 4, 5, 1)
    image = message('rgb8', rows, 4, 5, padding=3)
    image.data = image.data[:-3]
    np.testing.assert_array_equal(decoded(image), expected('rgb8', rows, 4, 5))


def test_decoding_writes_into_the_given_memory() -> None:
    memory = np.zeros(4 * 6 * 3 + 64, np.uint8)
    out = memory[64:].reshape(4, 6, 3)
    decode_image(message('bgr8', random_rows('bgr8', 4, 6, 2), 4, 6), out)
    assert memory[:64].sum() == 0
    assert memory[64:].sum() > 0


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'encoding': '32FC1'}, "'32FC1' is not supported"),
        ({'encoding': ''}, 'not supported'),
        ({'width': 0}, 'no pixels'),
        ({'height': 0}, 'no pixels'),
        ({'step': 0}, 'step is 0 bytes'),
        ({'step': 17}, 'step is 17 bytes, but 6 pixels of rgb8 take 18'),
        ({'step': 19}, 'data has 72 bytes'),
        ({'height': 5}, 'data has 72 bytes, but 6x5 rgb8 with step 18 takes 90'),
        ({'data': array.array('B')}, 'data has 0 bytes'),
        ({'width': 2**31, 'height': 2**31, 'step': 2**32 - 1}, f'the {MAX_PIXELS} pixels'),
        ({'encoding': 'yuyv', 'width': 5}, 'even width'),
        ({'encoding': 'nv12', 'width': 4, 'height': 3}, 'even height'),
    ],
)
def test_a_malformed_image_is_refused_with_its_reason(
    change: dict[str, object], reason: str
) -> None:
    image = message('rgb8', random_rows('rgb8', 4, 6, 3), 4, 6)
    for name, value in change.items():
        setattr(image, name, value)
    with pytest.raises(ImageError, match=reason):
        image_size(image)


@given(
    width=st.integers(0, 2**32 - 1),
    height=st.integers(0, 2**32 - 1),
    step=st.integers(0, 2**32 - 1),
    encoding=st.sampled_from([*ENCODINGS, 'rgb16', 'nonsense']),
    size=st.integers(0, 200),
)
@settings(max_examples=300, deadline=None)
def test_no_header_whatsoever_leads_to_anything_but_an_image_error(
    width: int, height: int, step: int, encoding: str, size: int
) -> None:
    image = Image(width=width, height=height, step=step, encoding=encoding)
    image.data = array.array('B', bytes(size))
    try:
        shape = image_size(image)
    except ImageError:
        return
    out = np.empty((*shape, 3), np.uint8)
    decode_image(image, out)
