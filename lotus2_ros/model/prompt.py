"""Prompt conditioning: the embeddings of the empty prompt, stored, or computed once and stored."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lotus2_ros.errors import ModelFileError
from lotus2_ros.model.files import WeightFiles
from lotus2_ros.model.network import Conditioning

PROMPT_FILE = 'prompt_embeds.safetensors'
PROMPT_KEY, POOLED_KEY = 'prompt_embeds', 'pooled_prompt_embeds'
TEXT_TOKENS = 512
_FOLDERS = ('tokenizer', 'text_encoder', 'tokenizer_2', 'text_encoder_2')

logger = logging.getLogger(__name__)


def read_conditioning(path: Path, joint_dim: int, pooled_dim: int) -> Conditioning:
    """Read stored embeddings and check that they fit the transformer.

    Args:
        path: safetensors file of `prompt_embeds` (1, L, D) and `pooled_prompt_embeds` (1, P).
        joint_dim: D.
        pooled_dim: P.

    Raises:
        ModelFileError: the file is damaged, or a key or shape is wrong.
    """
    with WeightFiles.single(path) as files:
        length = files.shape(PROMPT_KEY)[1:2] if PROMPT_KEY in files.keys() else ()  # noqa: SIM118
        files.check({PROMPT_KEY: (1, *(length or (0,)), joint_dim), POOLED_KEY: (1, pooled_dim)})
        return Conditioning(files.tensor(PROMPT_KEY), files.tensor(POOLED_KEY))


def find_stored(folders: list[Path]) -> Path | None:
    """The first stored prompt file among model folders."""
    return next((f / PROMPT_FILE for f in folders if (f / PROMPT_FILE).is_file()), None)


def has_text_encoders(base: Path) -> bool:
    """True if a base folder holds both text encoders and their tokenizers."""
    return all((base / name).is_dir() for name in _FOLDERS)


def compute_or_recall(base: Path, *, in_base: bool, device: torch.device) -> Path:
    """Compute the embeddings from a base's text encoders, unless an earlier run has stored them.

    The encoders are loaded one after the other and freed again; transformers is imported only
    here. The result lands in the base folder, or, where that is read-only or belongs to the hub's
    cache, in the user's cache under a name made from the encoders' files.

    Args:
        base: folder with text_encoder, text_encoder_2, tokenizer and tokenizer_2.
        in_base: whether the result may be stored in the base folder.
        device: where to run the encoders.

    Returns:
        The stored file.

    Raises:
        ModelFileError: an encoder or tokenizer is missing or damaged, or nothing can be written.
    """
    missing = [name for name in _FOLDERS if not (base / name).is_dir()]
    if missing:
        msg = (
            f'{base} holds neither {PROMPT_FILE} nor {", ".join(missing)}; put a stored'
            f' {PROMPT_FILE} there, or take the complete base model'
        )
        raise ModelFileError(msg)
    cached = _cache_file(base)
    if cached.is_file():
        return cached
    tensors = {
        POOLED_KEY: _clip_embedding(base, device),
        PROMPT_KEY: _t5_embeddings(base, device),
    }
    places = [base / PROMPT_FILE, cached] if in_base else [cached]
    for place in places:
        try:
            _save(tensors, place)
        except OSError as err:
            refused = err
            continue
        logger.info('stored the prompt embeddings in %s', place)
        return place
    msg = f'prompt embeddings cannot be stored in {" or ".join(map(str, places))}: {refused}'
    raise ModelFileError(msg)


def _clip_embedding(base: Path, device: torch.device) -> Tensor:
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = _load(CLIPTokenizer, base / 'tokenizer')
    ids = _empty_prompt(tokenizer, tokenizer.model_max_length)
    encoder = _load_encoder(CLIPTextModel, base / 'text_encoder', device)
    with torch.inference_mode():
        pooled: Tensor = encoder(ids.to(device)).pooler_output.cpu().clone()  # (1, P)
    _free(encoder)
    return pooled


def _t5_embeddings(base: Path, device: torch.device) -> Tensor:
    import transformers

    library: Any = transformers  # the fast tokenizer's name is an alias that has no type
    ids = _empty_prompt(_load(library.T5TokenizerFast, base / 'tokenizer_2'), TEXT_TOKENS)
    encoder = _load_encoder(library.T5EncoderModel, base / 'text_encoder_2', device)
    with torch.inference_mode():
        embeds: Tensor = encoder(ids.to(device)).last_hidden_state.cpu().clone()  # (1, L, D)
    _free(encoder)
    return embeds


def _empty_prompt(tokenizer: Any, length: int) -> Tensor:
    ids: Tensor = tokenizer(
        [''], padding='max_length', max_length=length, truncation=True, return_tensors='pt'
    ).input_ids
    return ids  # (1, length)


def _load(kind: Any, folder: Path, **options: Any) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as err:  # the library raises whatever its parsers raise
        raise ModelFileError(f'{folder} holds no usable {kind.__name__}: {err}') from err


def _load_encoder(kind: Any, folder: Path, device: torch.device) -> Any:
    encoder, report = _load(
        kind, folder, dtype='auto', use_safetensors=True, output_loading_info=True
    )
    if report['missing_keys'] or report['mismatched_keys']:
        keys = sorted(map(str, (*report['missing_keys'], *report['mismatched_keys'])))
        raise ModelFileError(f'{folder}: missing or misshapen key {", ".join(keys[:4])}')
    return encoder.eval().to(device)


def _free(encoder: Any) -> None:
    # Ten gigabytes: give the memory back before the next part is loaded.
    encoder.to('meta')
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write beside the goal, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    os.close(handle)
    part = Path(name)
    try:
        save_file({key: value.contiguous() for key, value in tensors.items()}, part)
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _cache_file(base: Path) -> Path:
    """Name in the user's cache, different whenever an encoder's files are."""
    root = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'lotus2_ros'
    mark = hashlib.sha256()
    for path in sorted(p for name in _FOLDERS for p in (base / name).rglob('*') if p.is_file()):
        about = path.stat()
        mark.update(f'{path}\0{about.st_size}\0{about.st_mtime_ns}\0'.encode())
    return root / 'prompt_embeds' / f'{mark.hexdigest()[:32]}.safetensors'
