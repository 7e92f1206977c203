"""The published files of the CMU Multimodal SDK (``.csd``: HDF5), for the data sets that come in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from plait.base.errors import TableError, need

#: What stands for a pause among the words.
PAUSE = "sp"


@contextmanager
def sequences(path: Path) -> Iterator[Mapping[str, Any]]:
    """Segment -> ``features`` (T, D) and ``intervals`` (T, 2) of a file, while it is open (extra ``hdf5``).

    Raises:
        TableError: it is no file of computational sequences.
    """
    h5py = need("h5py", "hdf5")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise TableError(f"{path}: no HDF5 file ({error}); download it again") from error
    with file:
        groups = [group for group in file.values() if "data" in group]
        if not groups:
            raise TableError(
                f"{path}: holds {', '.join(file) or 'nothing'}, no group with data; expected a .csd of the CMU SDK"
            )
        yield groups[0]["data"]


def labels(path: Path) -> dict[str, list[tuple[float, float, float]]]:
    """Video -> (start, end, first number of its label) of each segment, in order."""
    result = {}
    with sequences(path) as data:
        for video in data:
            numbers, spans = np.asarray(data[video]["features"]), np.asarray(data[video]["intervals"])
            result[str(video)] = [(float(a), float(b), float(n[0])) for (a, b), n in zip(spans, numbers, strict=True)]
    return result


def within(data: Mapping[str, Any], video: str, start: float, end: float) -> np.ndarray:
    """The steps (T, D) of a video whose middle lies within a span; none where it is not there."""
    if video not in data:
        return np.zeros((0, 0), np.float32)
    spans = np.asarray(data[video]["intervals"], float).mean(1)
    return np.asarray(np.asarray(data[video]["features"])[(spans >= start) & (spans < end)])


def words(steps: np.ndarray) -> str | None:
    """The words of a span as a text, without pauses.

    Example:
        >>> words(np.array([[b"a"], [b"sp"], [b"film"]]))
        'a film'
    """
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in np.ravel(steps)]
    return " ".join(text for text in texts if text and text != PAUSE) or None


def numbers(steps: np.ndarray, most: int = 256) -> np.ndarray | None:
    """A sequence of finite numbers (T, D), at most so many steps, evenly spaced; None where there is none."""
    if not steps.size:
        return None
    kept = np.nan_to_num(steps.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(kept[np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)])
