"""What is kept of a training: a file while it runs, so that one that was killed goes on, and its weights in the store.

A fit trains *units* (a member, or a stack of members). Each has a file ``unit-N.safetensors`` in a folder named by what
defines the fit: weights, optimiser, states of generators, best state, history. No pickle; written beside its place and
renamed; not more often than costs a fiftieth of the time. The folder vanishes when the fit is done.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors
from safetensors.numpy import save
from torch import Tensor

from plait.base import mapped
from plait.base.errors import PlaitWarning, StoreError
from plait.base.parts import write_file
from plait.store import Keep

#: Raise it when older checkpoints cannot be gone on with.
FORMAT = 3
#: Seconds between two writings of a unit, and how many times the last writing's own seconds, whichever is more.
LEAST, TIMES = 2.0, 50.0


@dataclass
class Checkpoint:
    """The file that keeps the training of one unit, a member or a stack of members."""

    path: Path
    _written: float = field(default_factory=lambda: time.monotonic())
    _pause: float = LEAST

    def due(self, *, ended: bool = False) -> bool:
        """Whether writing now costs little; what ended is worth a writing that comes earlier, but not one of seconds' work."""
        return time.monotonic() - self._written >= (LEAST if ended else self._pause)

    def write(self, arrays: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write all of it, or leave what was there."""
        start = time.monotonic()
        held = {k: np.asarray(v.detach().cpu().numpy(), order="C") for k, v in arrays.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        value = json.dumps({"format": FORMAT, **facts})
        write_file(self.path, save(held, {"plait": value, "digest": content_digest(value, held)}))
        self._written = time.monotonic()
        self._pause = max(LEAST, TIMES * (self._written - start))

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was written; None where there is nothing, or (with a warning) nothing that can be read."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="numpy") as file:
                words = file.metadata()
                held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads(words["plait"])  # losses may be infinite
            if facts["format"] != FORMAT:
                return None
            if words["digest"] != content_digest(words["plait"], held):
                raise ValueError("its content was altered: the digest differs")
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
            self.refuse(error)
            return None
        return {name: torch.from_numpy(array) for name, array in held.items()}, facts

    def refuse(self, error: Exception) -> None:
        """Say that it is not gone on with, and why."""
        said = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        warnings.warn(f"{self.path}: cannot be read ({said}); trained anew", PlaitWarning, stacklevel=3)


class Checkpoints:
    """The folder that keeps the trainings of one fit, a file per unit."""

    def __init__(self, folder: str | Path, digest: str) -> None:
        """``folder`` may hold those of other fits too: they are left alone, with a warning."""
        self.root, self.folder = Path(folder), Path(folder) / digest
        others = [p for p in self.root.glob("*/unit-*") if p.parent != self.folder]
        if others and not any(self.folder.glob("unit-*")):
            warnings.warn(
                f"{folder}: holds the checkpoint of another fit (other rows, settings or versions): not used; "
                f"this fit begins at its first epoch",
                PlaitWarning,
                stacklevel=2,
            )

    def unit(self, number: int) -> Checkpoint:
        """The file of one unit."""
        return Checkpoint(self.folder / f"unit-{number}.safetensors")

    def remove(self) -> None:
        """The fit is done; the folder itself goes too, unless something else is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()


def content_digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Hash of all that a checkpoint holds: a flipped bit must not become other weights."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data if array.size else b"")
    return digest.hexdigest()


def digest_of(value: object, tensors: Sequence[Tensor]) -> str:
    """Hex digest of JSON values and of tensors: the name of a fit.

    Example:
        >>> digest_of({"a": 1}, [torch.zeros(2)]) == digest_of({"a": 1}, [torch.zeros(2)])
        True
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    for tensor in tensors:
        array = np.asarray(tensor.detach().cpu().numpy(), order="C")
        digest.update(str((array.dtype, array.shape)).encode())
        if mapped.is_mapped(tensor):
            for rows in mapped.blocks(tensor):
                digest.update(array[rows].data)
        else:
            digest.update(array.data if array.size else b"")
    return digest.hexdigest()


#: Places for one training: what is broken in the store is passed over, since nothing there is ever overwritten.
_PLACES = 4
#: Seconds between two looks at what another process is training, and seconds after which nobody waits.
_POLL, _PATIENCE = 0.2, 3600.0
_ABOUT, _WEIGHTS = "about", "weights."


@dataclass(frozen=True)
class Trained:
    """The weights that a training gave, and what is known of it.

    Attributes:
        weights: name -> array.
        about: what is known of it; JSON values.
    """

    weights: Mapping[str, np.ndarray]
    about: Mapping[str, Any]


def found_or_made(
    keep: Keep, fingerprint: str, key: bytes, make: Callable[[], Trained], fits: Callable[[Trained], bool], label: str
) -> tuple[Trained, bool]:
    """What is kept under the key, or what ``make`` gives, which is then kept there; processes wait for each other.

    An entry that is broken, or not what is looked for (``fits``), is passed over and made anew.

    Args:
        keep: a ``Store``, or what holds results in its place.
        fingerprint: under which ``keep`` has such entries.
        key: 16 bytes of all that decides the weights.
        make: trains; called once at most.
        fits: whether an entry is what such a training gives.
        label: what ``plait store`` shows.

    Returns:
        What there is, and whether it was kept already.
    """
    deadline, mine = time.monotonic() + _PATIENCE, False
    with keep.claims(fingerprint) as claims:
        while True:
            result, place = _read(keep, fingerprint, key, fits)
            if result is not None:
                return result, True
            if place is None or mine or time.monotonic() > deadline:
                break
            mine = bool(claims.take([place]))
            if not mine:
                time.sleep(_POLL)
        made = make()
        if place is not None:
            _write(keep, fingerprint, place, key, made, label)
    return made, False


def _read(
    keep: Keep, fingerprint: str, key: bytes, fits: Callable[[Trained], bool]
) -> tuple[Trained | None, bytes | None]:
    """What is kept, and else the first place that is free; a broken entry is never served."""
    for number in range(_PLACES):
        place = blake2b(key + bytes([number]), digest_size=16).digest()
        try:
            record = keep.get_many(fingerprint, [place])[0]
        except StoreError:
            continue
        if record is None:
            return None, place
        result = _unpacked(record, key)
        if result is not None and fits(result):
            return result, place
    return None, None


def _write(keep: Keep, fingerprint: str, place: bytes, key: bytes, made: Trained, label: str) -> None:
    about = np.frombuffer(json.dumps({"key": key.hex(), **made.about}).encode(), np.uint8)
    arrays = {_WEIGHTS + name: np.ascontiguousarray(array) for name, array in made.weights.items()}
    data = safetensors.save({**arrays, _ABOUT: about})
    try:
        keep.put_many(fingerprint, {place: np.frombuffer(data, np.uint8)[None]}, label)
    except StoreError as error:
        warnings.warn(f"trained weights ({label}) were not kept: {error}", PlaitWarning, stacklevel=3)


def _unpacked(record: np.ndarray, key: bytes) -> Trained | None:
    """An entry; None where it is not what was written."""
    try:
        arrays = safetensors.load(record.tobytes())
        about = json.loads(arrays.pop(_ABOUT).tobytes())
    except (SafetensorError, KeyError, ValueError):
        return None
    if not isinstance(about, dict) or about.pop("key", None) != key.hex():
        return None
    return Trained({name.removeprefix(_WEIGHTS): array for name, array in arrays.items()}, about)
