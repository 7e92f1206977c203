"""Tunings once done are kept in the store by content: cells, targets, encoder, settings, seed."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from safetensors import numpy as safetensors

from plait.embedding_batches import Keep, Memory
from plait.encoders._base import Encoder
from plait.store_claims import Claims
from plait.tasks import Task
from plait.tuning.learn import Rows
from plait.tuning.settings import Tuning
from plait.tuning.tuned import Weights

#: Under this name the store keeps tunings; raise the number when the same content gives other weights.
FINGERPRINT = "plait tunings 1"
_RECORD = "record"


class Memories:
    """In place of the store where there is none: a ``Memory``, which holds results of one kind, for each fingerprint."""

    def __init__(self) -> None:
        """Nothing is kept yet."""
        self._of: defaultdict[str, Memory] = defaultdict(lambda: Memory(exact=False))

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """What is kept, else None."""
        return self._of[fingerprint].get_many(fingerprint, keys)

    def lengths(self, fingerprint: str, keys: Sequence[bytes]) -> list[int | None]:
        """Tokens of what is kept, else None."""
        return self._of[fingerprint].lengths(fingerprint, keys)

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray], label: str = "") -> dict[bytes, np.ndarray]:
        """Keep arrays (T, D)."""
        return self._of[fingerprint].put_many(fingerprint, items, label)

    def claims(self, fingerprint: str) -> Claims:
        """Everything is ours."""
        return self._of[fingerprint].claims(fingerprint)


def content_key(
    base: Encoder, cells: Sequence[bytes], rows: Rows, units: np.ndarray, task: Task, told: Tuning, seed: int
) -> bytes:
    """16 bytes of all that decides a tuning; which rows stay together is a part of it."""
    digest = blake2b(digest_size=16)
    words = [base.fingerprint(), dataclasses.asdict(told), seed, task.name, task.out_dim]
    digest.update(json.dumps(words, sort_keys=True).encode())
    digest.update(b"".join(cells))
    for array in (rows.cell, units, rows.target.numpy(), rows.weight.numpy()):
        digest.update(str((array.dtype, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.digest()


def keep_tuning(keep: Keep, key: bytes, weights: Sequence[Weights], record: dict[str, Any]) -> None:
    """Put the updates of every encoder and the record of what they cost into the store."""
    arrays = {f"{k}.{name}": w.numpy() for k, told in enumerate(weights) for name, w in told.items()}
    arrays[_RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    packed = np.frombuffer(safetensors.save(arrays), np.uint8)[None]
    keep.put_many(FINGERPRINT, {key: packed}, "tuned weights")


def kept_tuning(keep: Keep, key: bytes) -> tuple[list[Weights], dict[str, Any]] | None:
    """What ``keep_tuning`` put there, or None."""
    (packed,) = keep.get_many(FINGERPRINT, [key])
    if packed is None:
        return None
    arrays = safetensors.load(packed.tobytes())
    record: dict[str, Any] = json.loads(arrays.pop(_RECORD).tobytes())
    found: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        number, _, target = name.partition(".")
        found.setdefault(int(number), {})[target] = torch.from_numpy(np.array(array))
    return [found[k] for k in sorted(found)], record
