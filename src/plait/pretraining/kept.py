"""What decides the weights of an encoder trained alone: by it they are kept in the store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait import kept_weights
from plait.encoders._base import Encoder
from plait.inputs import SharedCells
from plait.pretraining.alone import Alone, Rows
from plait.store import Store
from plait.tasks import Task
from plait.train import Training

#: Raise it when the same settings give other weights.
PROTOCOL = 1

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
    told = vars(settings) | {"modality_dropout": {}}  # one modality alone is never hidden
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in told.items()}


def _add(digest: blake2b, array: Tensor, name: str) -> None:
    digest.update(f"{name} {array.dtype} {tuple(array.shape)} ".encode())
    digest.update(array.contiguous().cpu().numpy().tobytes())


def found_or_made(store: Store | None, encoder: Encoder, key: bytes, make: Find, fits: Fits) -> Alone:
    """What the store has under the key, or what ``make`` gives, which is then kept there (``kept_weights.found_or_made``).

    An entry whose weights are not those of such an encoder (``fits``) is made anew.
    """
    if store is None:
        return make()
    name = encoder.name()
    told = (f"{name} pretrained", key, lambda: _packed(make()), lambda found: fits(found.weights))
    found, stored = kept_weights.found_or_made(store, *told, f"{name}, pretrained")
    return Alone(found.weights, **found.about, stored=stored)


def _packed(made: Alone) -> kept_weights.Trained:
    about = {k: v for k, v in dataclasses.asdict(made).items() if k not in ("weights", "stored")}
    return kept_weights.Trained(made.weights, about)
