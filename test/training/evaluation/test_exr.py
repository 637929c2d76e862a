from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest

from lotus2_ros.training.evaluation.errors import SampleError
from lotus2_ros.training.evaluation.exr import read_exr

HEIGHT, WIDTH = 18, 3

# Written by the OpenEXR library (3.5.3), zipped once more and in base64. Two blocks in ZIP; the
# first rows are constant, so that run lengths have runs.
WRITTEN = {
    'ZIP': (
        'eNor0zdkZGJgYEjOSMzLS80pBjJyMotLGMyBYk4MIBkQYIRidwyRIAwRhuT83IKi1OLizPw8FDZIkjklsSQxPD'
        'MvJb+cISm/wiiTQYABAUBGCQJxSmZxQU5iJUF1OZl5qf5FKalFSCywEwoyK1JzHIsLUpNLghJLMvMZ0nLyE0sY'
        'WMC6G+yLk4tSU/Mgxjun5pUAtZUZpTFwIFmBrCQ8M6UkA82IksqCVIbikqLMvHQGXrD6xDyQIzJzE9NTGdIYIa'
        'Z4MCFMvAXEFXHJGQuUOW482Ho21f+C1XzdvN1O137kfrqRWH7iUctFy3bmsOM+5yzebrZMKvN63nVLt5W9arpJ'
        'nsZd4x0LSn2f9l0xnmheMz9lXsdeoR8K3z0etV6w7pP3+V9XUFCb/PNze+tz7tv6bG3mSvwi617UCFQoFTs/5j'
        '7P3Wmtpa7zbUcOh0Vy0YHE7vOszcpm1jbTjpw58UIzUtBQPdXp4KwJrJzBRVJSRmksORkrNWcIbFy0eNEi5cTG'
        'o5yt7DL2MnwZdwR+PNh4+EHTke6/fV+aWZawM1jJFFg0+CQ5MHzfJBcAih5biA8rFmxQXLDwYfMBxnZOVh4ecR'
        '4xFQ2bjIyEhAKLggMLFyomMjILWMg4tH9jf8v/rphpIi+vwiU+Btdf8vYAXr3F6Q=='
    ),
    'ZIPS': (
        'eNqFj81u00AQgMdJgPJTcDlyQH4DQlUJbhg4cIMol15t4m2zkmtbtlXa26oHznkADn6EHqoKIX62bX78s7vKI/'
        'jEgVMfAScZq6FVxFirb7TfzHh2/9lzrQEAvb7tecSNqsSlUQwvqrs3oMEiNDzvbtx0b9xAz98LQhJF1Pf+yWey'
        '4dixvU09x/8EH/2DTQo6XMVskY3qODQKXPvwv3Uu9ciH0CHhUjZfIaAHxH0dBaQXd+2Y+rDj+nYMrXk3exX1Qk'
        'K8xfi3xIurtv3NHVhb+sVyyTZ14v61EfFhQCCKQ+rtwvq83vZmS9A9e5fAb21p0yqeILeQ75F95BHyC/IUOUX+'
        'QbaaCz5FvkR2kS7yMzJpXr3o8bzh+qetNI2VprnStFaaWyvNbTRMdZShBspSbZWoQJnqDppLyeVAgprKROqqlM'
        'dyDY0l2xJkIE2pSyY70pB30UxFIgJRimPBxKXgYiDuoTGFLnjREYYoC0u0BYj79bQCiiRnhVHwPCnMoswf1D15'
        'mbHMyiFPMpYbOc/W0RgZT63UzMqUpVYGWZI+rF+amhM2NlI24WMz5ROYPELDRzAyhzA2R2xojtmID/W654KdAW'
        'cXcM44DNk5nG3U5gd8hS34Cd+q/Bd8h5O/RencoQ=='
    ),
    'RLE': (
        'eNqFkj9v00AUwF+SUpfShsDAbBY2ROkAA0I1VKJjoy4dWGzia3uSa1v2UVIByUkwMfEN6o/ACBLDDYnjv1Ulvo'
        'AnNqRO7YLU2s6zGtyBk59+77/fPd3Bo8eNJgD09jTTJIabKwZ1GTzNfS+hAdPTQNm45tm65oGetW87xHWpZf6j'
        'lwm6xrRtaurWO3hj9VcpdODqFIPcyUWnrm1oh//NM6hJNh2dODNaOYJN+8R44dqkx7Y0Ri3YMSyNwVxZzdfcnk'
        'OIOW2/TkyWlx2s7sDCzC9mU7apzvZqLdihTcBlDjV3YbnM18xiCLqv7RL4jUs5Q843p7yHfIB8gnyFfI18i/yC'
        'PEL+QP5C/kFKrSnvI58hN1tXNypudwESv/gu8UbNbtbsVs2eq9k3avZ8rhdbOOPd7mn5tSUu5Y67uZymIv2awv'
        'FJ6qWd4yz9li5U6WqV/lDiNyvnSeX8KfFF7KEknUTE3UROslhNVhJIbmFEjSH2Ih7LsYi8WImzaKmqibKQh2oE'
        'kRfySI5EuIwRORSBGihhFvBADSH0gjZGIFAm3JcDPhG+EogJTG5jRIxhrIzAV8Z8pPh8LEbFi1wqF3G+Phh+Gg'
        '4+D4bFq2zjYs6fv/+7+MFf+9i/BNXE1dc='
    ),
    'NO': (
        'eNqV0U9IFGEcxvF3dauttNboENFBwkOHIJOgDqHbH6pDlEhghw5OO6/uxDgzzAy2RoclIiQiJEIkQpYIkYiQiJ'
        'AInZEIiYiQDh09hafoFB37zs7Lu1seZBc++7y/d575s7NjR45mWoQQxZLhONIOWNhWEIrj7J0WyZHkk1HOb9gZ'
        '2LAjiu6o58sgsFznn3XtoGmExqDlmO5Ncd0t91giL+qf5FIdSckKPNsY37RnW4687JvSb1jV7uJZZWmfCjxZDA'
        'eM0HLFsO0aocjWzq70BUVfSie9/BnphJw21jMscg23aKwMWmZY+u8S4bgnRRD6ljMi2mt9w0kewho1RqT4kUmv'
        'ske9nF6VN1ROqVxW+VPl/tY0z6n0Vc6o/KTyt8qD6eOISypvqZxVuZqt/6KuNPo2k2mi29JEt7WJbraJ7pYmul'
        't192vM28QHrOIzPuIbvmAl3qa7i8wLeI0I7/AGy3iPt3FOd18yz6KKV5jDM8zjBZ7H23X3CfNjPMRTTGESM5jG'
        'o3iH7k4w30EZ93EXt/EA91CJd+quzTyEK/Bg4ipClHAtbtPdC8wn0Y2LKOAY+nEWJ+J23e1i3oc2HMIB5HEYnd'
        'gb76r/F8zrEe8ZWda/yO/Isf5DrkW7dXeBuYoJRJjDJFYwj+kor7tDzN0Q8FBAHhX0ozPq0N3qEl+o9FInC0vp'
        'o60le4nFv3ej6zw='
    ),
    'PIZ': (
        'eNq9UEtOwzAUnCIWbJDKDXIDCkKCHeYjsaRiww4lNAYspU6UWHx2PkKPkCOwYIEQHwP95GNbHCFH4AikBakFFu'
        'x41pNG8+aNR+98eaUxB6Bz5nFOg6QGAUsE1mtuGw18VuOr934xB78YdMJuFNMkYSH/hsfDed8T3iHjfniB4/By'
        'laGJaY2DLNXtsyQKvKs/dQHjdD/2aTyDJhEidkmDrSSiHXHgCRbiJAg9gfnJttxMOjGl/NN+h3JRr52vnmBh5o'
        'tZySHzxdkPC3EVUSQiZvwUixO9x8chWNc7pThqTJ12x3jj/560bevYnnVty6Y2ssS+G2V6BvbNpKZpK3NtXNMy'
        'MJEhpmmkaRvHvOlUR7rS11rqd610TxPd1Kpsa0dXpatbGtotUaaFLJ1SFWlJyqogRZXL3C1QpLksnELlTq4yNy'
        'N5lcnMzZGnGTIykkMnkyM1JJkaYaQGGJA+hmQg+2QoB6qPV/kMJV/xIhX68gXPeMAt1vCIu/p6T7jHzQed+9OK'
    ),
}
PRECISION = {'ZIP': np.float32, 'ZIPS': np.float16, 'RLE': np.float16, 'NO': np.float32}


def written(compression):
    return zlib.decompress(base64.b64decode(WRITTEN[compression]))


def expected(kind):
    values = np.arange(HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3) * 0.25 - 40
    values[:6] = 0.5
    return values.astype(kind).astype(np.float32)


@pytest.mark.parametrize('compression', PRECISION)
def test_reads_what_the_library_wrote(compression):
    pixels = read_exr(written(compression), 'a.exr')
    np.testing.assert_array_equal(pixels, expected(PRECISION[compression]))


def test_a_compression_that_is_not_read_is_named():
    with pytest.raises(SampleError, match='PIZ is not read; save it with one of none, RLE'):
        read_exr(written('PIZ'), 'a.exr')


def test_tiles_are_refused():
    data = bytearray(written('ZIP'))
    struct.pack_into('<i', data, 4, 2 | 0x200)
    with pytest.raises(SampleError, match='tiled'):
        read_exr(bytes(data), 'a.exr')


@pytest.mark.parametrize('kept', [0, 4, 30, 300, -20])
def test_a_cut_file_is_damaged_and_not_a_crash(kept):
    data = written('ZIP')
    assert len(data) > 320
    with pytest.raises(SampleError, match=r'a\.exr'):
        read_exr(data[:kept], 'a.exr')


def test_another_file_is_no_exr():
    with pytest.raises(SampleError, match='not an EXR'):
        read_exr(b'\x89PNG' + bytes(40), 'a.exr')
