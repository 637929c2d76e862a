"""Prompt embeddings: stored ones are used; else they are computed once, stored, and let go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny import add_tiny_text_encoders, make_tiny_model

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model import prompt
from lotus2_ros.runtime import Lotus2Predictor

CPU = torch.device('cpu')
PROMPT = 'prompt_embeds.safetensors'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('with_encoders')
    make_tiny_model(folder, tasks=['depth'], prompt=False)
    add_tiny_text_encoders(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return shutil.copytree(made, tmp_path / 'model')


def load(folder, **options):
    return Lotus2Predictor.from_pretrained(folder, tasks=['depth'], device='cpu', **options)


def released_embeddings(folder):
    """What the pipeline of the base model itself makes of an empty prompt."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline
    from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(folder / 'scheduler'),
        vae=AutoencoderKL.from_pretrained(folder / 'vae'),
        text_encoder=CLIPTextModel.from_pretrained(folder / 'text_encoder'),
        tokenizer=CLIPTokenizer.from_pretrained(folder / 'tokenizer'),
        text_encoder_2=T5EncoderModel.from_pretrained(folder / 'text_encoder_2'),
        tokenizer_2=T5TokenizerFast.from_pretrained(folder / 'tokenizer_2'),
        transformer=None,
    )
    with torch.no_grad():
        return pipeline.encode_prompt('', None, device='cpu')[:2]


def test_computed_embeddings_are_those_of_the_pipeline(folder):
    load(folder)
    stored = load_file(folder / PROMPT)
    prompt_embeds, pooled = released_embeddings(folder)
    assert stored['prompt_embeds'].shape == (1, 512, 32)
    assert stored['prompt_embeds'].std() > 0.01
    torch.testing.assert_close(stored['prompt_embeds'], prompt_embeds)
    torch.testing.assert_close(stored['pooled_prompt_embeds'], pooled)


def test_stored_embeddings_make_the_encoders_needless(folder):
    first = load(folder)
    for name in ('text_encoder', 'text_encoder_2', 'tokenizer', 'tokenizer_2'):
        shutil.rmtree(folder / name)
    again = load(folder)
    states = [p._stages.model.tasks['depth'].conditioning.prompt for p in (first, again)]
    assert torch.equal(*states)


def test_folder_that_refuses_writing_leaves_them_in_the_cache(folder, tmp_path, monkeypatch):
    save = prompt._save

    def read_only(tensors, path):
        if path.parent == folder:
            raise PermissionError(13, 'Permission denied', str(path))
        save(tensors, path)

    monkeypatch.setattr(prompt, '_save', read_only)
    load(folder)
    assert not (folder / PROMPT).exists()
    (cached,) = (tmp_path / 'cache' / 'lotus2_ros' / 'prompt_embeds').iterdir()
    monkeypatch.setattr(prompt, '_t5_embeddings', None)  # computing again would fail
    load(folder)
    os.utime(folder / 'text_encoder' / 'config.json', ns=(1, 1))
    with pytest.raises(TypeError):  # other encoder files: the cached result is not theirs
        load(folder)
    assert load_file(cached)['prompt_embeds'].shape == (1, 512, 32)


def test_nowhere_to_write(folder, monkeypatch):
    def refuse(_tensors, path):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(prompt, '_save', refuse)
    with pytest.raises(ModelFileError, match='cannot be stored'):
        load(folder)


def test_hub_folder_is_not_written_into(folder):
    path = prompt.compute_or_recall(folder, in_base=False, device=CPU)
    assert 'cache' in path.parts
    assert not (folder / PROMPT).exists()


def test_neither_stored_nor_encoders(folder):
    shutil.rmtree(folder / 'text_encoder_2')
    with pytest.raises(ModelFileError, match=r'holds neither prompt_embeds.*text_encoder_2'):
        load(folder)


@pytest.mark.parametrize('name', ['text_encoder', 'text_encoder_2'])
def test_damaged_encoder(folder, name):
    path = folder / name / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match=name):
        load(folder)
    path.unlink()
    with pytest.raises(ModelFileError, match=name):
        load(folder)


def test_pickled_encoder_is_not_read(folder):
    whole = folder / 'text_encoder' / 'model.safetensors'
    torch.save(load_file(whole), folder / 'text_encoder' / 'pytorch_model.bin')
    whole.unlink()
    with pytest.raises(ModelFileError, match='text_encoder'):
        load(folder)


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(AttributeError):
        prompt._save({'a': None}, tmp_path / PROMPT)
    assert list(tmp_path.iterdir()) == []


def test_encoders_are_not_imported_where_embeddings_are_stored(tmp_path):
    make_tiny_model(tmp_path, tasks=['depth'])
    code = (
        'import sys\n'
        'from lotus2_ros.runtime import Lotus2Predictor\n'
        'Lotus2Predictor.from_pretrained(sys.argv[1], tasks=["depth"], device="cpu")\n'
        'print([m for m in sys.modules if m.startswith("transformers.models.t5")])\n'
    )
    ran = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == '[]'
