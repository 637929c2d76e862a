from __future__ import annotations

import array
import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage

from lotus2_ros.errors import ImageError
from lotus2_ros.ros.compressed import compressed_size, decode_compressed


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 5, y * 9, 255 - x * 3], axis=2).astype(np.uint8)


def encoded(suffix: str, rgb: np.ndarray, options: tuple[int, ...] = ()) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    assert done
    return data.tobytes()


def message(data: bytes, form: str = 'jpeg') -> CompressedImage:
    return CompressedImage(format=form, data=array.array('B', data))


def decoded(image: CompressedImage) -> np.ndarray:
    out = np.zeros((*compressed_size(image), 3), np.uint8)
    decode_compressed(image, out)
    return out


def test_png_decodes_exactly_and_in_rgb_order() -> None:
    np.testing.assert_array_equal(decoded(message(encoded('.png', picture()), 'png')), picture())


@pytest.mark.parametrize(
    'options', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)]
)
def test_jpeg_decodes_closely_and_in_rgb_order(options: tuple[int, ...]) -> None:
    image = message(encoded('.jpg', picture(), (cv2.IMWRITE_JPEG_QUALITY, 95, *options)))
    assert np.abs(decoded(image).astype(int) - picture()).mean() < 6


def test_grey_pictures_and_16_bit_pngs_become_rgb() -> None:
    grey = picture()[..., 0]
    assert decoded(message(cv2.imencode('.jpg', grey)[1].tobytes())).shape == (24, 40, 3)
    deep = cv2.imencode('.png', picture().astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(decoded(message(deep, 'png')), picture()[..., ::-1])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    image = message(encoded('.jpg', picture()) + bytes(100))
    assert decoded(image).shape == (24, 40, 3)


def test_a_png_that_would_decompress_to_gigabytes_is_refused_unread() -> None:
    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b'IHDR' + header
    data = b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + chunk
    data += struct.pack('>I', zlib.crc32(chunk)) + struct.pack('>I', 0) + b'IEND\xaeB`\x82'
    with pytest.raises(ImageError, match='60000x60000: more than'):
        compressed_size(message(data, 'png'))


def test_a_jpeg_that_claims_a_huge_size_is_refused_unread() -> None:
    data = bytearray(encoded('.jpg', picture()))
    at = data.index(b'\xff\xc0')
    data[at + 5 : at + 9] = b'\xff\xff\xff\xff'
    with pytest.raises(ImageError, match='65535x65535: more than'):
        compressed_size(message(bytes(data)))


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@given(fraction=st.floats(0.0, 0.97))
@settings(max_examples=40, deadline=None)
def test_a_truncated_picture_is_refused(suffix: str, fraction: float) -> None:
    data = encoded(suffix, picture())
    with pytest.raises(ImageError):
        decoded(message(data[: int(len(data) * fraction)]))


@given(data=st.binary(max_size=300), start=st.sampled_from([b'', b'\xff\xd8\xff', b'\x89PNG']))
@settings(max_examples=300, deadline=None)
def test_no_bytes_whatsoever_lead_to_anything_but_an_image_error(data: bytes, start: bytes) -> None:
    with pytest.raises(ImageError):
        decoded(message(start + data))


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_flipped_byte_never_gives_a_picture_of_another_size(at: int, value: int) -> None:
    data = bytearray(encoded('.png', picture()))
    data[at % len(data)] = value
    with contextlib.suppress(ImageError):
        assert decoded(message(bytes(data), 'png')).shape[2] == 3
