"""Messages between the client and the model's process, and their encoding: prefixed JSON.

Plain data only, never pickle. Every field is checked on arrival, because the other side may be
dying. `channel` carries them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from dataclasses import dataclass
from typing import Any, NoReturn, get_type_hints

from lotus2_ros.errors import WorkerError

MAX_MESSAGE_BYTES = 1 << 20
HEADER = struct.Struct('<I')
"""Length of the body in bytes, before every message."""


@dataclass(frozen=True, slots=True)
class Load:
    """To the worker, first of all: load this model. `settings` is `ModelSettings` as a dict."""

    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class UseRing:
    """To the worker: results go to this shared memory from now on. Carries one descriptor."""

    ring: int
    image_slots: int
    image_bytes: int
    result_slots: int
    result_bytes: int


@dataclass(frozen=True, slots=True)
class Frame:
    """To the worker: an image of a stream (a camera) waits in a slot.

    `output_height` and `output_width` are those of the results; `search` is empty or the values of
    an `EdgeSearch`.
    """

    sequence: int
    stream: int
    ring: int
    slot: int
    height: int
    width: int
    tasks: tuple[str, ...]
    sharp_tasks: tuple[str, ...]
    max_side: int
    output_height: int
    output_width: int
    search: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Configure:
    """To the worker: how often and how finely to sharpen."""

    sharpen_rate_hz: float
    sharpen_steps: int


@dataclass(frozen=True, slots=True)
class RequestSharpen:
    """To the worker: sharpen the next possible frame."""


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """To the worker: this result slot has been read and is free again."""

    ring: int
    slot: int


@dataclass(frozen=True, slots=True)
class Progress:
    """From the worker: loading has come this far."""

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: loaded and warm; `info` is the predictor's description."""

    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Info:
    """From the worker: a fresh description, about once a second while it works."""

    info: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """From the worker: the model cannot be loaded; trying again would not help."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """From the worker: this frame gave way to a newer one; its slot is free."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Result:
    """From the worker: a result lies in a slot. A core result frees its frame's image slot."""

    sequence: int
    ring: int
    slot: int
    height: int
    width: int
    disparity: bool
    normals: bool
    flying: bool
    sharp: bool
    sharpen_steps: int
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """From the worker: no result; unless `sharp`, the frame's image slot is free."""

    sequence: int
    sharp: bool
    message: str


@dataclass(frozen=True, slots=True)
class Retired:
    """From the worker: nothing more will come of this frame, its context may go."""

    sequence: int


@dataclass(frozen=True, slots=True)
class RingReleased:
    """From the worker: an outgrown ring is used no more."""

    ring: int


@dataclass(frozen=True, slots=True)
class Fatal:
    """From the worker, its last word: the process is beyond repair and must be replaced."""

    message: str


Message = (
    Load
    | UseRing
    | Frame
    | Configure
    | RequestSharpen
    | ReleaseResult
    | Progress
    | Ready
    | Info
    | LoadFailed
    | Replaced
    | Result
    | FrameFailed
    | Retired
    | RingReleased
    | Fatal
)

_TYPES: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__args__}
_FIELDS = {name: get_type_hints(kind) for name, kind in _TYPES.items()}


def encode(message: Message) -> bytes:
    """One message as bytes, header included.

    Raises:
        WorkerError: a value is not plain JSON data, or the message is too long.
    """
    fields = {f.name: getattr(message, f.name) for f in dataclasses.fields(message)}
    try:
        text = json.dumps([type(message).__name__, fields], allow_nan=False, separators=(',', ':'))
    except (TypeError, ValueError) as err:
        msg = f'{type(message).__name__} cannot be sent: {err}'
        raise WorkerError(msg) from err
    body = text.encode()
    if len(body) > MAX_MESSAGE_BYTES:
        msg = f'{type(message).__name__} of {len(body)} bytes is too long to be sent'
        raise WorkerError(msg)
    return HEADER.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """The message in `body` (without header).

    Raises:
        WorkerError: not exactly a known message with exactly its fields, each of its type.
    """
    try:
        parsed = json.loads(body, parse_constant=_refuse_constant)
    # A hostile nesting depth is a RecursionError.
    except (ValueError, RecursionError) as err:
        msg = f'malformed worker message: {err}'
        raise WorkerError(msg) from err
    match parsed:
        case [str(name), dict(fields)] if name in _TYPES:
            pass
        case _:
            raise WorkerError(f'unknown worker message: {body[:80]!r}')
    wanted = _FIELDS[name]
    if fields.keys() != wanted.keys():
        raise WorkerError(f'{name} has fields {sorted(fields)}, wanted {sorted(wanted)}')
    return _TYPES[name](**{k: _checked(f'{name}.{k}', fields[k], wanted[k]) for k in wanted})


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f'{constant} is not allowed')


def _checked(name: str, value: Any, hint: Any) -> Any:
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    if hint == tuple[str, ...] and type(value) is list and all(type(i) is str for i in value):
        return tuple(value)
    if hint == tuple[float, ...] and type(value) is list:
        return tuple(_checked(name, item, float) for item in value)
    if hint == dict[str, Any] and type(value) is dict:
        return value
    if hint == dict[str, float] and type(value) is dict:
        return {key: _checked(f'{name}.{key}', item, float) for key, item in value.items()}
    raise WorkerError(f'{name} is {str(value)[:80]!r}, wanted {hint}')
