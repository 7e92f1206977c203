"""Weights once trained are kept in the store by all that decides them, and never trained again."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from plait.base.errors import PlaitWarning, StoreError
from plait.encoders.batches import Keep

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
