"""Encoders once trained alone are kept in the store by all that decides their weights, and never trained again."""

from __future__ import annotations

import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import numpy as safetensors
from torch import Tensor

from plait.encoders._base import Encoder
from plait.errors import PlaitWarning, StoreError
from plait.inputs import SharedCells
from plait.pretraining.alone import Alone, Rows
from plait.store import Store
from plait.tasks import Task
from plait.train import Training

#: Raise it when the same settings give other weights.
PROTOCOL = 1
#: Places for one encoder: what is broken in the store is passed over, since nothing there is ever overwritten.
_PLACES = 4
#: Seconds between two looks at what another process is training, and seconds after which nobody waits.
_POLL, _PATIENCE = 0.2, 3600.0
_ABOUT = "about"

Find = Callable[[], Alone]
Fits = Callable[[Mapping[str, np.ndarray]], bool]


def content_of(prepared: Mapping[str, Tensor], present: Tensor) -> bytes:
    """16 bytes of all that an encoder is shown, row by row."""
    digest = blake2b(digest_size=16)
    arrays = prepared.arrays if isinstance(prepared, SharedCells) else prepared
    for name in sorted(arrays):
        _add(digest, arrays[name], name)
    if isinstance(prepared, SharedCells):
        _add(digest, prepared.place, "place")
    _add(digest, present, "present")
    return digest.digest()


def key_of(encoder: Encoder, content: bytes, rows: Rows, task: Task, settings: Training, seed: int) -> bytes:
    """16 bytes of all that decides the weights: data, rows, target, task, encoder, settings, seed."""
    told = [PROTOCOL, torch.__version__, encoder.fingerprint(), task.name, task.out_dim, _plain(settings), seed]
    digest = blake2b(json.dumps(told, sort_keys=True).encode() + content, digest_size=16)
    for name in ("target", "weight", "fold", "valid"):
        _add(digest, getattr(rows, name), name)
    return digest.digest()


def _plain(settings: Training) -> dict[str, Any]:
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in vars(settings).items()}


def _add(digest: blake2b, array: Tensor, name: str) -> None:
    digest.update(f"{name} {array.dtype} {tuple(array.shape)} ".encode())
    digest.update(array.contiguous().cpu().numpy().tobytes())


def found_or_made(store: Store | None, encoder: Encoder, key: bytes, make: Find, fits: Fits) -> Alone:
    """What the store has under the key, or what ``make`` gives, which is then kept there; processes wait for each other.

    An entry that is broken, or whose weights are not those of such an encoder (``fits``), is made anew.
    """
    if store is None:
        return make()
    fingerprint, deadline = f"{encoder.name()} pretrained", time.monotonic() + _PATIENCE
    with store.claims(fingerprint) as claims:
        mine = False
        while True:
            found, place = _read(store, fingerprint, key, fits)
            if found is not None:
                return found
            if place is None or mine or time.monotonic() > deadline:
                break
            mine = bool(claims.take([place]))
            if not mine:
                time.sleep(_POLL)
        made = make()
        if place is not None:
            _write(store, fingerprint, place, key, made)
    return made


def _read(store: Store, fingerprint: str, key: bytes, fits: Fits) -> tuple[Alone | None, bytes | None]:
    """What is kept, and else the first place that is free; a broken entry is never served."""
    for number in range(_PLACES):
        place = blake2b(key + bytes([number]), digest_size=16).digest()
        try:
            record = store.get_many(fingerprint, [place])[0]
        except StoreError:
            continue
        if record is None:
            return None, place
        found = _unpacked(record, key)
        if found is not None and fits(found.weights):
            return found, place
    return None, None


def _write(store: Store, fingerprint: str, place: bytes, key: bytes, made: Alone) -> None:
    about = {k: v for k, v in dataclasses.asdict(made).items() if k not in ("weights", "stored")}
    told = json.dumps({"key": key.hex(), **about}).encode()
    arrays = {f"weights.{k}": np.ascontiguousarray(v) for k, v in made.weights.items()}
    data = safetensors.save({**arrays, _ABOUT: np.frombuffer(told, np.uint8)})
    try:
        store.put_many(fingerprint, {place: np.frombuffer(data, np.uint8)[None]}, label=fingerprint.replace(" ", ", "))
    except StoreError as error:
        warnings.warn(f"a pretrained encoder was not kept: {error}", PlaitWarning, stacklevel=2)


def _unpacked(record: np.ndarray, key: bytes) -> Alone | None:
    """An entry; None where it is not what was written."""
    try:
        arrays = safetensors.load(record.tobytes())
        about = json.loads(arrays.pop(_ABOUT).tobytes())
    except (SafetensorError, KeyError, ValueError):
        return None
    if about.pop("key", None) != key.hex():
        return None
    return Alone({k.removeprefix("weights."): v for k, v in arrays.items()}, **about, stored=True)
