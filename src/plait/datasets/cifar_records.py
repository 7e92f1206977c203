"""CIFAR: what its data sets share, and its binary archives: one or two label bytes and 3,072 of red, green and blue."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import TableError
from plait.datasets.base import Dataset

#: Bytes of a picture, and its form: colours first.
_PIXELS, _SHAPE = 3072, (3, 32, 32)


class Cifar(Dataset):
    """Small photographs of things, in a split of 50,000 and 10,000."""

    url = "https://www.cs.toronto.edu/~kriz/cifar.html"
    licence = "not stated"
    citation = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
    tasks = {"label": "classification"}


def read_records(path: Path, parts: Mapping[str, Iterable[str]], names: Mapping[str, str]) -> pd.DataFrame:
    """A table of ``image`` (arrays 32 x 32 x 3), one column per label, and ``split``.

    ``parts``: part -> names of its files; ``names``: label -> file with its classes, in the order of the label bytes.
    """
    wanted = {file: part for part, files in parts.items() for file in files}
    held: dict[str, bytes] = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = Path(member.name).name
            stream = archive.extractfile(member) if name in wanted or name in names.values() else None
            if stream is not None:
                held[name] = stream.read()
    gone = [name for name in (*wanted, *names.values()) if name not in held]
    if gone:
        raise TableError(f"{path}: {', '.join(gone)} not in it; expected CIFAR's binary version (for C programs)")
    classes = {label: held[file].decode().split() for label, file in names.items()}
    tables = [_table(held[file], classes, f"{path}: {file}").assign(split=part) for file, part in wanted.items()]
    return pd.concat(tables, ignore_index=True)


def _table(data: bytes, classes: Mapping[str, list[str]], where: str) -> pd.DataFrame:
    width = len(classes) + _PIXELS
    if not data or len(data) % width:
        raise TableError(f"{where}: {len(data):,} bytes, expected records of {width:,}; it is of another layout")
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, width)
    pictures = np.ascontiguousarray(records[:, len(classes) :].reshape(-1, *_SHAPE).transpose(0, 2, 3, 1))
    columns: dict[str, Any] = {"image": list(pictures)}
    for place, (label, known) in enumerate(classes.items()):
        if int(records[:, place].max()) >= len(known):
            raise TableError(f"{where}: label {int(records[:, place].max())}, and {len(known)} classes of '{label}'")
        columns[label] = np.array(known)[records[:, place]]
    return pd.DataFrame(columns)
