"""Where models come from: names, folders and the hub, whose errors become advice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    XetDownloadError,
)
from tiny import make_tiny_model

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model import sources
from lotus2_ros.model.loading import locate
from lotus2_ros.runtime import Lotus2Predictor


def answer(kind, status):
    about = SimpleNamespace(url='https://huggingface.co/some/model')
    return kind('refused', response=SimpleNamespace(status_code=status, headers={}, request=about))


@pytest.fixture
def hub(monkeypatch):
    """What the hub is asked for, and what it answers: a folder or an error."""
    asked = []
    spy = SimpleNamespace(asked=asked, answers={})

    def snapshot_download(name, *, allow_patterns):
        asked.append((name, allow_patterns))
        found = spy.answers[name]
        if isinstance(found, Exception):
            raise found
        return str(found)

    monkeypatch.setattr(sources, 'snapshot_download', snapshot_download)
    return spy


def test_folder(tmp_path):
    assert sources.resolve(tmp_path, []) == tmp_path
    assert sources.resolve(str(tmp_path), []) == tmp_path
    assert not sources.is_hub_id(str(tmp_path))


@pytest.mark.parametrize('name', ['nowhere', './no/such', '/no/such/folder', 'a/b/c', 'a b/c', ''])
def test_no_such_folder(name, hub):
    with pytest.raises(ModelFileError, match='is no folder; a model is one of nano'):
        sources.resolve(name, [])
    assert hub.asked == []


def test_model_and_base_from_the_hub(tmp_path, hub):
    """The published layout: adapters in one repository, the base in another."""
    make_tiny_model(tmp_path / 'lotus', tasks=['depth'], base_folder=tmp_path / 'flux')
    hub.answers = {'some/lotus': tmp_path / 'lotus', 'some/flux': tmp_path / 'flux'}
    predictor = Lotus2Predictor.from_pretrained(
        'some/lotus', base='some/flux', tasks=['depth'], device='cpu', sharpener=False
    )
    assert predictor.tasks == ('depth',)
    assert predictor.info()['model'] == 'some/lotus'
    (lotus, lotus_files), (flux, flux_files) = hub.asked
    assert (lotus, flux) == ('some/lotus', 'some/flux')
    assert 'lotus-2_core_predictor_depth.safetensors' in lotus_files
    assert not any('normal' in name or 'sharpener' in name for name in lotus_files)
    assert not any('transformer' in name for name in lotus_files)
    # FLUX.1-dev holds a second copy of itself in one file, and text encoders of ten gigabytes.
    assert 'transformer/*.safetensors' in flux_files
    assert not any(name.startswith(('*', 'text_encoder')) for name in flux_files)


def test_text_encoders_are_fetched_only_when_needed(tmp_path, hub):
    make_tiny_model(tmp_path, tasks=['depth'], prompt=False)
    hub.answers = {'some/model': tmp_path}
    with pytest.raises(ModelFileError, match='text_encoder'):
        Lotus2Predictor.from_pretrained('some/model', tasks=['depth'], device='cpu')
    assert any('text_encoder_2' in name for name in hub.asked[1][1])


@pytest.mark.parametrize(
    ('error', 'match'),
    [
        (answer(GatedRepoError, 403), 'is gated: accept its licence.*HF_TOKEN'),
        (answer(RepositoryNotFoundError, 404), 'neither a folder nor a model on the hub'),
        (LocalEntryNotFoundError('offline'), 'the hub cannot be reached'),
        (answer(HfHubHTTPError, 500), 'could not be fetched from the hub'),
        (OSError(28, 'No space left on device'), 'No space left'),
        (XetDownloadError('broken stream'), 'could not be fetched.*broken stream'),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(hub, error, match):
    hub.answers = {'some/model': error}
    with pytest.raises(ModelFileError, match=match):
        sources.resolve('some/model', ['*.json'])


def test_offline_and_not_cached(tmp_path, monkeypatch):
    """The hub's own client, told to stay offline."""
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(ModelFileError, match='cannot be reached'):
        sources.resolve('some/model', ['*.json'])


def test_bundled_name_wins_over_the_hub_but_must_be_installed(tmp_path, monkeypatch, hub):
    monkeypatch.setattr(sources, 'bundled_folder', lambda name: tmp_path / name)
    with pytest.raises(ModelFileError, match='not installed completely'):
        sources.resolve('nano', [])
    make_tiny_model(tmp_path / 'nano', tasks=['depth'], max_side=320)
    folders = locate('nano', None, ['depth'], sharpener=True)
    assert folders.model == folders.base == tmp_path / 'nano'
    assert folders.max_side == 320
    assert hub.asked == []
