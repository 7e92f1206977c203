"""Tunings once done are kept in the store by content: cells, targets, encoder, settings, seed."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from plait.base.encoder import Encoder
from plait.encoders.batches import Keep, Memory
from plait.networks.tasks import Task
from plait.store.claims import Claims
from plait.training import kept_weights
from plait.training.finetuning.learn import Rows
from plait.training.finetuning.settings import Tuning
from plait.training.finetuning.tuned import Weights
from plait.training.kept_weights import Trained

#: Under this name the store keeps tunings; raise the number when the same content gives other weights.
FINGERPRINT = "plait tunings 2"


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
    base: Encoder, cells: Sequence[bytes], rows: Rows, units: np.ndarray, task: Task, tuning: Tuning, seed: int
) -> bytes:
    """16 bytes of all that decides a tuning; which rows stay together is a part of it."""
    digest = blake2b(digest_size=16)
    words = [base.fingerprint(), dataclasses.asdict(tuning), seed, task.name, task.out_dim]
    digest.update(json.dumps(words, sort_keys=True).encode())
    digest.update(b"".join(cells))
    for array in (rows.cell, units, rows.target.numpy(), rows.weight.numpy()):
        digest.update(str((array.dtype, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.digest()


def found_or_made(
    keep: Keep, key: bytes, tuning: Tuning, make: Callable[[], tuple[Sequence[Weights], dict[str, Any]]]
) -> tuple[list[Weights], dict[str, Any], bool]:
    """The updates of every encoder, the record of what they cost, and whether they were kept already.

    What is not kept, or is broken there, is made; processes wait for each other (``kept_weights.found_or_made``).
    """

    def packed() -> Trained:
        weights, record = make()
        return Trained({f"{k}.{name}": w.numpy() for k, one in enumerate(weights) for name, w in one.items()}, record)

    result, stored = kept_weights.found_or_made(
        keep, FINGERPRINT, key, packed, lambda one: _fits(one.weights, tuning), "tuned weights"
    )
    return _unpacked(result.weights), dict(result.about), stored


def _unpacked(arrays: Mapping[str, np.ndarray]) -> list[Weights]:
    result: dict[int, dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        number, _, target = name.partition(".")
        result.setdefault(int(number), {})[target] = torch.from_numpy(np.array(array))
    return [result[k] for k in sorted(result)]


def _fits(arrays: Mapping[str, np.ndarray], tuning: Tuning) -> bool:
    """Whether there is an update of this rank for every encoder that is tuned, each with both halves."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for name, array in arrays.items():
        number, _, target = name.partition(".")
        names[number].add(target)
        axis = {"A": 0, "B": 1}.get(target[-1:])
        if axis is None or array.ndim <= axis or array.shape[axis] != tuning.rank or not np.isfinite(array).all():
            return False
    return sorted(names) == sorted(map(str, range(tuning.encoders))) and len(set(map(frozenset, names.values()))) == 1
