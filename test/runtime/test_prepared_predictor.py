"""A prepared folder predicts what the model that it was made from predicts."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from preparation import SIZES, prepare_folder
from tiny import make_tiny_model

from lotus2_ros.errors import ModelFileError, SettingsError
from lotus2_ros.photographs import SAMPLES, photographs_in, read_photograph
from lotus2_ros.runtime import Lotus2Predictor

STEPS = (0, 1, 4, 10)


def picture(size=SIZES[0]):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


def outputs(predictor, steps, size=SIZES[0]):
    result = predictor.predict(picture(size), sharpen_steps=steps)
    return result.disparity, result.normals


def differences(first, second):
    return [float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True)]


def mean_error(first, second):
    return sum(float(np.abs(a - b).mean()) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp('model') / 'tiny', max_side=64)


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('guidance', [True, False])
def test_merged_gives_the_same_bytes(tmp_path, precision, guidance):
    model = make_tiny_model(tmp_path / 'tiny', max_side=64, guidance_embeds=guidance)
    prepare_folder(model, tmp_path / 'made', precision=precision)
    ours = Lotus2Predictor.from_pretrained(tmp_path / 'made', device='cpu')
    theirs = Lotus2Predictor.from_pretrained(model, device='cpu', precision=precision)
    for size in SIZES:
        for steps in STEPS:
            made, expected = outputs(ours, steps, size), outputs(theirs, steps, size)
            assert differences(made, expected) == [0, 0]
    assert ours.info() == theirs.info() | {'model': 'tiny'}


def test_merged_gives_the_same_bytes_with_nano(tmp_path):
    prepare_folder('nano', tmp_path / 'made', precision='float32')
    ours = Lotus2Predictor.from_pretrained(tmp_path / 'made', device='cpu')
    theirs = Lotus2Predictor.from_pretrained('nano', device='cpu')
    for steps in STEPS:
        assert differences(outputs(ours, steps), outputs(theirs, steps)) == [0, 0]


def test_shared_is_exact_within_float32(model, tmp_path):
    prepare_folder(model, tmp_path / 'made', precision='float32', layout='shared')
    ours = Lotus2Predictor.from_pretrained(tmp_path / 'made', device='cpu')
    theirs = Lotus2Predictor.from_pretrained(model, device='cpu')
    for steps in STEPS:
        depth, normals = differences(outputs(ours, steps), outputs(theirs, steps))
        assert depth <= 1e-5
        assert normals <= 1e-3  # short vectors of a random model turn far
        # Without its difference the sharpener would be the core once more, and normals be depth.
        assert (depth == 0) == (steps == 0)
        assert normals > 0


@pytest.mark.parametrize('layout', ['merged', 'shared'])
def test_bfloat16_is_as_accurate_as_it_was(model, tmp_path, layout):
    prepare_folder(model, tmp_path / 'made', precision='bfloat16', layout=layout)
    ours = Lotus2Predictor.from_pretrained(tmp_path / 'made', device='cpu')
    theirs = Lotus2Predictor.from_pretrained(model, device='cpu', precision='bfloat16')
    exact = Lotus2Predictor.from_pretrained(model, device='cpu')
    found = expected = 0.0
    for steps in STEPS:
        truth = outputs(exact, steps)
        found += mean_error(outputs(ours, steps), truth)
        expected += mean_error(outputs(theirs, steps), truth)
    assert 0 < found <= 1.3 * expected


@pytest.mark.parametrize('layout', ['merged', 'shared'])
@pytest.mark.parametrize('precision', ['fp8', 'int8'])
def test_eight_bits_keep_nanos_depth(tmp_path, layout, precision):
    prepare_folder('nano', tmp_path / 'made', precision=precision, layout=layout, tasks=['depth'])
    ours = Lotus2Predictor.from_pretrained(tmp_path / 'made', tasks=['depth'], device='cpu')
    theirs = Lotus2Predictor.from_pretrained('nano', tasks=['depth'], device='cpu')
    assert ours.info()['precision'] == precision
    photograph = read_photograph(photographs_in(SAMPLES)[0])
    image = cv2.resize(photograph, (320, 240), interpolation=cv2.INTER_AREA)
    made, exact = (p.predict(image).disparity for p in (ours, theirs))
    error = np.abs(made - exact).mean() / exact.std()
    assert 0 < error <= 0.1


def test_parts_of_a_model(model, tmp_path):
    prepare_folder(model, tmp_path / 'made', tasks=['normals'], sharpener=False)
    load = Lotus2Predictor.from_pretrained
    made = load(tmp_path / 'made', tasks=['normals'], sharpener=False, device='cpu')
    assert made.predict(picture()).disparity is None
    with pytest.raises(ModelFileError, match=r'made was prepared for normals, not for depth'):
        load(tmp_path / 'made', tasks=['depth'], sharpener=False, device='cpu')
    with pytest.raises(ModelFileError, match='without the detail sharpener'):
        load(tmp_path / 'made', tasks=['normals'], device='cpu')


def test_settings_that_contradict_the_folder(model, tmp_path):
    prepare_folder(model, tmp_path / 'made')
    with pytest.raises(SettingsError, match='prepared in bfloat16'):
        Lotus2Predictor.from_pretrained(tmp_path / 'made', precision='float32', device='cpu')
    with pytest.raises(SettingsError, match='takes no base'):
        Lotus2Predictor.from_pretrained(tmp_path / 'made', base=model, device='cpu')


def test_a_size_that_was_not_prepared(model, tmp_path):
    """An error that names the command, or the same bytes where the modulation is kept."""
    other = (16, 64)
    prepare_folder(model, tmp_path / 'small', precision='float32')
    small = Lotus2Predictor.from_pretrained(tmp_path / 'small', device='cpu')
    outputs(small, 0, other)  # the core knows every size
    with pytest.raises(ModelFileError, match=r'lotus2 models prepare.*--sizes'):
        outputs(small, 4, other)
    prepare_folder(model, tmp_path / 'large', precision='float32', keep_modulation=True)
    large = Lotus2Predictor.from_pretrained(tmp_path / 'large', device='cpu')
    theirs = Lotus2Predictor.from_pretrained(model, device='cpu')
    assert differences(outputs(large, 4, other), outputs(theirs, 4, other)) == [0, 0]


def test_progress_is_told(model, tmp_path):
    prepare_folder(model, tmp_path / 'made', layout='shared')
    told = {}
    Lotus2Predictor.from_pretrained(
        tmp_path / 'made', device='cpu', progress=lambda stage, part: told.update({stage: part})
    )
    stages = {f'{task} {kind}' for task in ('depth', 'normals') for kind in ('core', 'sharpener')}
    assert stages <= set(told)
    assert all(told[stage] == 1.0 for stage in stages)


def test_neither_diffusers_nor_text_encoders_are_imported(model, tmp_path):
    prepare_folder(model, tmp_path / 'made')
    code = (
        'import sys, numpy as np\n'
        'from lotus2_ros.runtime import Lotus2Predictor\n'
        f"p = Lotus2Predictor.from_pretrained({str(tmp_path / 'made')!r}, device='cpu')\n"
        'p.predict(np.zeros((48, 64, 3), np.uint8), sharpen_steps=2)\n'
        "absent = ('diffusers', 'transformers', 'tokenizers', 'peft', 'accelerate')\n"
        'print([name for name in absent if name in sys.modules])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == '[]'
