"""Bad weight files: each is refused by a message that names the file, and the key where one is."""

from __future__ import annotations

import json
import re

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load, save_file
from tiny import VAE as TINY_VAE
from tiny import make_tiny_model

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.files import WeightFiles, read_json, read_plain_tensors
from lotus2_ros.runtime import Lotus2Predictor

CORE = 'lotus-2_core_predictor_depth.safetensors'
SHARPENER = 'lotus-2_detail_sharpener_depth.safetensors'
LCM = 'lotus-2_lcm_depth.safetensors'
PROMPT = 'prompt_embeds.safetensors'
TRANSFORMER = 'transformer/diffusion_pytorch_model.safetensors'
VAE = 'vae/diffusion_pytorch_model.safetensors'
LORA_KEY = 'transformer.single_transformer_blocks.1.attn.to_k.lora_{}.weight'


@pytest.fixture
def folder(tmp_path):
    return make_tiny_model(tmp_path / 'model', tasks=['depth'])


def load_model(folder, **options):
    return Lotus2Predictor.from_pretrained(folder, tasks=['depth'], device='cpu', **options)


def read(path):
    """All tensors of a file, off the disk: the file is about to be overwritten."""
    return load(path.read_bytes())


def refused(folder, *parts):
    """Loading fails with a message that holds every part."""
    with pytest.raises(ModelFileError, match='(?s)' + '.*'.join(map(re.escape, parts))):
        load_model(folder)


def change(path, **changes):
    tensors = read(path)
    for key, value in changes.items():
        name = key.replace('__', '.')
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    save_file(tensors, path)


@pytest.mark.parametrize('name', [CORE, SHARPENER, LCM, VAE, TRANSFORMER])
def test_missing_file(folder, name):
    (folder / name).unlink()
    refused(folder, name.rpartition('/')[2])


@pytest.mark.parametrize('name', [CORE, SHARPENER, LCM, VAE, TRANSFORMER, PROMPT])
@pytest.mark.parametrize('damage', ['truncated', 'empty', 'noise'])
def test_corrupt_file(folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    noise = bytes((7 * i) % 251 for i in range(4096))
    path.write_bytes({'truncated': data[: len(data) // 2], 'empty': b'', 'noise': noise}[damage])
    refused(folder, name)


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        (CORE, LORA_KEY.format('A')),
        (SHARPENER, LORA_KEY.format('B')),
        (LCM, 'lcm.2.bias'),
        (VAE, 'decoder.conv_in.bias'),
        (TRANSFORMER, 'x_embedder.weight'),
        (PROMPT, 'pooled_prompt_embeds'),
        (PROMPT, 'prompt_embeds'),
    ],
)
def test_missing_unexpected_misshapen_and_mistyped_key(folder, name, key):
    path = folder / name
    whole = read(path)
    change(path, **{key: None})
    refused(folder, name, 'missing key', key)
    save_file(whole | {f'{key}_more': whole[key].clone()}, path)
    refused(folder, name, 'unexpected key', f'{key}_more')
    save_file(whole | {key: torch.zeros(3, 5, 7)}, path)
    refused(folder, name, key, '3, 5, 7')
    save_file(whole | {key: whole[key].to(torch.int8)}, path)
    with pytest.raises(ModelFileError, match=rf'{re.escape(key)} is I8'):
        load_model(folder)
    save_file(whole, path)
    load_model(folder)


def test_ranks_of_a_pair_disagree(folder):
    key = LORA_KEY.format('A')
    change(folder / CORE, **{key: torch.zeros(3, 32)})
    refused(folder, CORE, key, 'rank 3', LORA_KEY.format('B'), 'rank 4')


def test_ranks_of_a_file_disagree(folder):
    change(
        folder / CORE,
        **{LORA_KEY.format('A'): torch.zeros(3, 32), LORA_KEY.format('B'): torch.zeros(32, 3)},
    )
    refused(folder, CORE, LORA_KEY.format('A'), 'rank 3', 'an adapter has one rank')


def test_adapter_of_an_unknown_layer(folder):
    key = 'transformer.single_transformer_blocks.0.proj_mlp.lora_A.weight'
    change(folder / CORE, **{key: torch.zeros(4, 32)})
    refused(folder, CORE, 'unexpected key', key)


def test_adapter_of_another_size_of_model(folder):
    change(folder / CORE, **{LORA_KEY.format('A'): torch.zeros(4, 48)})
    refused(folder, CORE, LORA_KEY.format('A'), '(4, 48)', '(rank, 32)')


def test_prompt_of_another_model(folder):
    change(folder / PROMPT, prompt_embeds=torch.zeros(1, 8, 48))
    refused(folder, PROMPT, 'prompt_embeds', '(1, 8, 48)', '(1, 8, 32)')


def test_rank_comes_from_the_file(tmp_path):
    load_model(make_tiny_model(tmp_path, tasks=['depth'], rank=7))


@pytest.mark.parametrize('kind', ['transformer', 'vae', 'scheduler'])
def test_bad_configuration(folder, kind):
    path = folder / kind / ('scheduler_config.json' if kind == 'scheduler' else 'config.json')
    config = path.read_text()
    path.write_text(config.replace('_class_name": "', '_class_name": "Other'))
    refused(folder, str(path), 'Other')
    path.write_text(config[:-20])
    refused(folder, str(path), 'cannot be read as JSON')
    path.write_text('[1, 2]')
    refused(folder, str(path), 'must hold a JSON object')
    path.unlink()
    refused(folder, str(path), 'is missing')


def test_impossible_configuration(folder):
    path = folder / 'vae' / 'config.json'
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {'norm_num_groups': 5}))
    refused(folder, str(path), 'makes no AutoencoderKL')
    path.write_text(json.dumps(config | {'latent_channels': 4}))
    refused(folder, 'vae')


def test_vae_of_another_reduction(folder):
    path = folder / 'vae' / 'config.json'
    config = json.loads(path.read_text())
    small = {
        'block_out_channels': [8, 8, 16],
        'down_block_types': ['DownEncoderBlock2D'] * 3,
        'up_block_types': ['UpDecoderBlock2D'] * 3,
    }
    path.write_text(json.dumps(config | small))
    refused(folder, 'vae', 'reduces by 4')


def test_vae_of_other_latents_than_the_transformers(folder):
    AutoencoderKL(**TINY_VAE | {'latent_channels': 4}).save_pretrained(folder / 'vae')
    refused(folder, str(folder), 'the VAE has 4 latent channels, the transformer takes 16')


@pytest.mark.parametrize('side', ['"big"', '16', 'true', '320.5'])
def test_bad_max_side(folder, side):
    (folder / 'lotus2_model.json').write_text(f'{{"max_side": {side}}}')
    refused(folder, 'lotus2_model.json', 'max_side')


def test_shards_load_like_one_file(tmp_path):
    whole = load_model(make_tiny_model(tmp_path / 'whole', tasks=['depth']))
    split = make_tiny_model(tmp_path / 'split', tasks=['depth'], shards=True)
    assert len(list((split / 'transformer').glob('*.safetensors'))) > 2
    sharded = load_model(split)
    states = [
        p._stages.model.tasks['depth'].core_transformer.state_dict() for p in (whole, sharded)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_shard_missing_or_unlike_its_index(tmp_path):
    folder = make_tiny_model(tmp_path, tasks=['depth'], shards=True)
    shards = sorted((folder / 'transformer').glob('*.safetensors'))
    data = shards[1].read_bytes()
    shards[1].unlink()
    refused(folder, shards[1].name, 'is missing')
    first = read(shards[0])
    save_file({f'{key}_other': value for key, value in first.items()}, shards[1])
    refused(folder, 'index.json', 'missing key')
    shards[1].write_bytes(data)
    index = folder / 'transformer' / 'diffusion_pytorch_model.safetensors.index.json'
    places = json.loads(index.read_text())
    key = next(iter(places['weight_map']))
    index.write_text(json.dumps({'weight_map': places['weight_map'] | {key: '../x.safetensors'}}))
    refused(folder, 'index.json', key, 'no plain name')
    index.write_text('{}')
    refused(folder, 'index.json', 'no weight_map')


def test_base_elsewhere(tmp_path):
    base, model = tmp_path / 'base', tmp_path / 'model'
    make_tiny_model(model, tasks=['depth'], base_folder=base)
    with pytest.raises(ModelFileError, match='no transformer folder; give the FLUX base with base'):
        load_model(model)
    assert load_model(model, base=base).tasks == ('depth',)
    with pytest.raises(ModelFileError, match='the base'):
        load_model(model, base=model)


class TestLocalContinuityFile:
    def test_torch_archive_loads_like_safetensors(self, tmp_path):
        plain = make_tiny_model(tmp_path / 'plain', tasks=['depth'])
        archive = make_tiny_model(tmp_path / 'archive', tasks=['depth'], lcm_pickle=True)
        assert (archive / LCM).read_bytes()[:2] == b'PK'
        states = [
            load_model(f)._stages.model.tasks['depth'].lcm.state_dict() for f in (plain, archive)
        ]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    @pytest.mark.parametrize(
        'content',
        [
            pytest.param([torch.zeros(2)], id='list'),
            pytest.param({'lcm': {'0': torch.zeros(2)}}, id='nested'),
            pytest.param({'step': 3}, id='number'),
            pytest.param({1: torch.zeros(2)}, id='key no string'),
            pytest.param({'a': torch.zeros(2, dtype=torch.int64)}, id='integers'),
            pytest.param({'a': torch.zeros(2, 2).to_sparse()}, id='sparse'),
            pytest.param({'a': torch.nn.Parameter(torch.zeros(2))}, id='parameter'),
        ],
    )
    def test_archive_of_anything_but_plain_tensors_is_refused(self, tmp_path, content):
        path = tmp_path / LCM
        torch.save(content, path)
        with pytest.raises(ModelFileError, match=LCM):
            read_plain_tensors(path)

    def test_archive_with_code_is_refused_and_not_run(self, tmp_path):
        path, mark = tmp_path / LCM, tmp_path / 'ran'

        class Hostile:
            def __reduce__(self):
                return (open, (str(mark), 'w'))

        torch.save({'lcm.0.weight': Hostile()}, path)
        with pytest.raises(ModelFileError, match='more than plain tensors'):
            read_plain_tensors(path)
        assert not mark.exists()

    def test_damaged_archive(self, folder):
        torch.save(read(folder / LCM), folder / LCM)
        data = (folder / LCM).read_bytes()
        (folder / LCM).write_bytes(data[: len(data) // 2])
        refused(folder, LCM, 'damaged')

    def test_archive_keys_and_shapes_are_checked(self, folder):
        whole = read(folder / LCM)
        torch.save({k: v for k, v in whole.items() if k != 'lcm.2.bias'}, folder / LCM)
        refused(folder, LCM, 'missing key lcm.2.bias')
        torch.save(whole | {'lcm.2.bias': torch.zeros(3)}, folder / LCM)
        refused(folder, LCM, 'lcm.2.bias has shape (3,)', '(16,)')


def test_weights_stay_after_the_file_is_gone(folder):
    predictor = load_model(folder)
    weight = predictor._stages.model.vae.encoder.conv_in.weight
    before = weight.clone()
    path = folder / VAE
    with path.open('r+b') as stream:
        stream.truncate(0)
    assert torch.equal(weight, before)


def test_weight_files_close(folder):
    with WeightFiles.single(folder / CORE) as files:
        assert files.shape(LORA_KEY.format('A')) == (4, 32)
    assert files.keys() == []


def test_json_that_cannot_be_read(tmp_path):
    (tmp_path / 'a.json').write_bytes(b'\xff\xfe{')
    with pytest.raises(ModelFileError, match=r'a\.json cannot be read'):
        read_json(tmp_path / 'a.json')
