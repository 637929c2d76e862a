"""The photographs that the demo shows."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from lotus2_ros.geometry.intrinsics import Intrinsics
from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph, write_picture
from lotus2_ros.tools.json_files import write_json

SIZE = (640, 480)

# scikit-image's documentation of stereo_motorcycle, for its copy of 741x500 px.
_MOTORCYCLE = Path('data/motorcycle_left.png')
_MOTORCYCLE_CAMERA = Intrinsics(994.978, 994.978, 311.193, 254.877, 741, 500)


def lay_out_photographs(folder: Path) -> int:
    """Put the bundled photographs into a folder, all of one size, and a garage if there is one.

    That is the motorcycle of the Middlebury 2014 stereo data (Scharstein et al., GCPR 2014), a
    scene with much depth and a known camera. Its licence does not say that it may be passed on, so
    it is not bundled; where scikit-image is installed, its copy is used.

    Returns:
        How many photographs there are.
    """
    for path in photographs_in(SAMPLES):
        shutil.copy(path, folder / path.name)
    motorcycle = _scikit_image_file(_MOTORCYCLE)
    if motorcycle is not None:
        _add_motorcycle(motorcycle, folder)
    return len(photographs_in(folder))


def _add_motorcycle(path: Path, folder: Path) -> None:
    rgb = read_photograph(path)
    camera = _MOTORCYCLE_CAMERA
    # Cut to the shape of the others, from the middle, and the camera with it.
    width = camera.height * SIZE[0] // SIZE[1]
    left = (camera.width - width) // 2
    cut = Intrinsics(camera.fx, camera.fy, camera.cx - left, camera.cy, width, camera.height)
    resized = cv2.resize(rgb[:, left : left + width], SIZE, interpolation=cv2.INTER_AREA)
    write_picture(folder / 'motorcycle.png', np.asarray(resized, dtype=np.uint8))
    scaled = cut.scaled(*SIZE)
    about = {'fx': scaled.fx, 'fy': scaled.fy, 'cx': scaled.cx, 'cy': scaled.cy}
    write_json(folder / 'cameras.json', {'motorcycle.png': about})


def _scikit_image_file(path: Path) -> Path | None:
    spec = find_spec('skimage')
    if spec is None or not spec.submodule_search_locations:
        return None
    found = Path(spec.submodule_search_locations[0]) / path
    return found if found.is_file() else None
