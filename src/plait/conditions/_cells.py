"""New columns, and the content of rows that randomness comes from."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.errors import CellError, PlaitWarning
from plait.media import Changed
from plait.media.keys import cell_key
from plait.table._cells import MEDIA, cells
from plait.table._values import texts

if TYPE_CHECKING:
    import pandas as pd

    from plait.schema import Modality, Schema


def column_of(cells: Iterable[Any]) -> np.ndarray:
    """Cells of any type as one object array (n,)."""
    listed = list(cells)
    column = np.empty(len(listed), dtype=object)
    for i, cell in enumerate(listed):  # at once, numpy would make one array of equal arrays
        column[i] = cell
    return column


def row_keys(frame: pd.DataFrame, schema: Schema, root: str | None) -> list[bytes]:
    """What each row holds in the modalities, as 16 bytes: never its place, its target, or where its files lie."""
    digests = [blake2b(digest_size=16) for _ in range(len(frame))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlaitWarning)  # whoever encodes the rows tells of missing files
        for modality in schema.modalities:
            there = set(modality.columns) <= set(frame.columns)
            for column in _contents(frame, modality, root) if there else ():
                for digest, cell in zip(digests, column, strict=True):
                    digest.update(b"-" if cell is None else b"+" + _key(cell))
    return [digest.digest() for digest in digests]


def _contents(frame: pd.DataFrame, modality: Modality, root: str | None) -> list[list[Any]]:
    if modality.kind in (*MEDIA, "vector"):
        return cells(frame, modality, root)
    return [list(texts(frame[column])) for column in modality.columns]


def _key(cell: Any) -> bytes:
    cell = cell.source if isinstance(cell, Changed) else cell
    try:
        return cell_key(cell)
    except CellError:  # it has no content; what it is called will do
        return cell_key(str(getattr(cell, "where", type(cell).__name__)))
