"""Where model files come from: the bundled checkpoint, a folder, or the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from lotus2_ros.errors import ModelFileError

BUNDLED = ('nano',)
BASE_PATTERNS = (
    'transformer/*.json',
    'transformer/*.safetensors',
    'vae/*.json',
    'vae/*.safetensors',
    'scheduler/*.json',
    'prompt_embeds.safetensors',
)
TEXT_PATTERNS = (
    'text_encoder/*.json',
    'text_encoder/*.safetensors',
    'text_encoder_2/*.json',
    'text_encoder_2/*.safetensors',
    'tokenizer/*',
    'tokenizer_2/*',
)
_HUB_ID = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*')


def bundled_folder(name: str) -> Path:
    """Folder of a checkpoint that is part of this package."""
    return Path(str(files('lotus2_ros') / 'models' / name))


def resolve(model: str | Path, patterns: Sequence[str]) -> Path:
    """Find a model's folder; a hub id is fetched into the hub's own cache first.

    Args:
        model: a bundled name, a folder, or a hub id (`owner/name`). An existing folder wins.
        patterns: the files wanted from the hub.

    Raises:
        ModelFileError: no such folder, or the hub refuses or cannot be reached.
    """
    name = str(model)
    if name in BUNDLED:
        folder = bundled_folder(name)
        if not folder.is_dir():
            raise ModelFileError(f'{folder} is missing: the package is not installed completely')
        return folder
    folder = Path(name).expanduser()
    if name and folder.is_dir():  # an empty name would be the working directory
        return folder.resolve()
    if isinstance(model, Path) or not _HUB_ID.fullmatch(name):
        known = ', '.join(BUNDLED)
        msg = f'{name} is no folder; a model is one of {known}, a folder, or a hub id owner/name'
        raise ModelFileError(msg)
    return _fetch(name, patterns)


def is_hub_id(model: str | Path) -> bool:
    """True if `resolve` would turn to the hub for this model."""
    name = str(model)
    on_disk = name in BUNDLED or Path(name).expanduser().is_dir()
    return not on_disk and not isinstance(model, Path) and bool(_HUB_ID.fullmatch(name))


def _fetch(name: str, patterns: Sequence[str]) -> Path:
    # Gated comes before not found: it is a kind of it.
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except GatedRepoError as err:
        msg = (
            f'{name} is gated: accept its licence at https://huggingface.co/{name}, then sign in'
            ' with `hf auth login` or set HF_TOKEN'
        )
        raise ModelFileError(msg) from err
    except RepositoryNotFoundError as err:
        msg = f'{name} is neither a folder nor a model on the hub, or it is private: see HF_TOKEN'
        raise ModelFileError(msg) from err
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as err:
        msg = (
            f'{name} is no folder and not in the local hub cache, and the hub cannot be reached;'
            ' connect once, or download the model and give its folder'
        )
        raise ModelFileError(msg) from err
    except Exception as err:  # whatever the client's transports raise of their own
        raise ModelFileError(f'{name} could not be fetched from the hub: {err}') from err
