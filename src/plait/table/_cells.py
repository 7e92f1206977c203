"""Cells as encoders take them: one text per row, media as bytes wherever they lie, vectors as arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.errors import PlaitWarning, TableError
from plait.table._archive import Place
from plait.table._row_numbers import missing_files_of, row_numbers
from plait.table._values import list_in, nulls, texts

if TYPE_CHECKING:
    from plait.schema import Modality

MEDIA = ("image", "audio", "video")

Cells = list[list[Any]]


def cells(frame: pd.DataFrame, modality: Modality, root: str | None = None, *, whole: bool = True) -> Cells:
    """The cells of one modality, None where a row has none.

    Text and code: one list, the columns joined by line breaks. Media and vectors: one list per column.

    Args:
        frame: the rows.
        modality: of any kind but ``tabular``, whose encoder takes the rows themselves.
        root: folder or zip archive that relative paths start from, unless the modality has its own.
        whole: the rows are a whole table, of which some files must be there; of a piece all may be missing.

    Raises:
        TableError: a column holds what its kind cannot be, or of a whole table not one of its files is there.
        CellError: a name that is refused.
    """
    if modality.kind in ("text", "code"):
        return [joined(frame, modality)]
    if modality.kind == "vector":
        return [_vectors(frame[column], Place(root, modality.root)) for column in modality.columns]
    if modality.kind in MEDIA:
        place = Place(root, modality.root)
        return [_media(frame[column], place, modality.kind, whole) for column in modality.columns]
    raise TableError(f"modality '{modality.name}': the encoder of a {modality.kind} modality takes the rows, not cells")


def joined(frame: pd.DataFrame, modality: Modality) -> list[str | None]:
    """One text per row from all columns of a modality."""
    columns = [_text_column(frame[column], modality) for column in modality.columns]
    if len(columns) == 1:
        return list(columns[0])
    rows = ([part for part in row if part is not None] for row in zip(*columns, strict=True))
    return ["\n".join(parts) if parts else None for parts in rows]


def _text_column(series: pd.Series, modality: Modality) -> np.ndarray:
    odd = next((v for v in series if isinstance(v, bytes | np.ndarray | Mapping)), None)
    if odd is not None:
        raise TableError(
            f"column '{series.name}' of modality '{modality.name}': "
            f"expected {modality.kind}, found {type(odd).__name__}"
        )
    return texts(series)


def _media(series: pd.Series, place: Place, kind: str, whole: bool) -> list[Any]:
    """Blobs and decoded arrays of one column; files that are not there are absent and counted."""
    found: list[Any] = []
    named = 0
    missing: list[str] = []
    gone = nulls(series)
    for value, empty in zip(series, gone, strict=True):
        cell, name = (None, None) if empty else _media_cell(value, place, f"column '{series.name}'", kind)
        if name is not None:
            named += 1
            if cell is None:
                missing.append(name)
        found.append(cell)
    example = f"e.g. {missing[0]!r} under {place.base}" if missing else ""
    missing_files_of(series, named, len(missing), example, refuse=whole)
    return found


def _media_cell(value: Any, place: Place, where: str, kind: str) -> tuple[Any, str | None]:
    """The cell, and the name of the file if it names one."""
    from plait.media import Blob, Changed

    if isinstance(value, Mapping) and value.keys() <= {"bytes", "path"}:  # as Hugging Face's Parquet files have it
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if value is None or isinstance(value, Blob | Changed | np.ndarray):
        return value, None
    if isinstance(value, bytes | bytearray | memoryview):
        return Blob.of_bytes(bytes(value)), None
    if isinstance(value, str | os.PathLike):
        name = os.fspath(value)
        return place.find(str(name)), str(name)
    if isinstance(value, tuple) and len(value) == 2 and kind == "audio":
        return (np.asarray(value[0]), int(value[1])), None
    if hasattr(value, "convert") and hasattr(value, "getbands"):  # a PIL image
        return np.asarray(value.convert("RGB")), None
    if isinstance(value, list):
        return np.asarray(value), None
    raise TableError(
        f"{where}: expected {kind} (a path, bytes or an array), found {type(value).__name__} {value!r:.40}"
    )


def is_media(value: Any) -> bool:
    """Whether a cell holds media itself, not a name."""
    is_image = hasattr(value, "convert") and hasattr(value, "getbands")
    return is_image or isinstance(value, bytes | bytearray) or (isinstance(value, np.ndarray) and value.ndim >= 2)


def vector_of(value: Any) -> np.ndarray | None:
    """A cell as a float32 vector (D,) or sequence (T, D); None when it is none."""
    if isinstance(value, str):
        value = list_in(value)
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        return None
    if isinstance(value, np.ndarray) and value.dtype == object:  # as Parquet gives lists of lists
        value = [v.tolist() if isinstance(v, np.ndarray) else v for v in value]
    try:
        found = np.asarray(value)
    except ValueError:  # ragged
        return None
    if found.dtype.kind not in "iuf" or found.ndim not in (1, 2) or found.size == 0:
        return None
    return found.astype(np.float32)


def _vectors(series: pd.Series, place: Place) -> list[np.ndarray | None]:
    """Vectors of one width; those that hold NaN or infinity are absent and counted."""
    gone = nulls(series)
    rows = row_numbers(series)
    read = [None if e else _vector_cell(v, place, series, i) for i, v, e in zip(rows, series, gone, strict=True)]
    widths = {v.shape[-1] for v in read if v is not None}
    if len(widths) > 1:
        raise TableError(f"column '{series.name}': vectors of different widths ({', '.join(map(str, sorted(widths)))})")
    broken = [i for i, v in enumerate(read) if v is not None and not np.isfinite(v).all()]
    if broken:
        said = f"{len(broken):,} vectors hold NaN or infinity and count as absent (e.g. row {rows[broken[0]]})"
        warnings.warn(f"column '{series.name}': {said}", PlaitWarning, stacklevel=4)
        for i in broken:
            read[i] = None
    return read


def _vector_cell(value: Any, place: Place, series: pd.Series, row: int) -> np.ndarray | None:
    where = f"column '{series.name}', row {row}"
    if isinstance(value, str) and value.strip().lower().endswith(".npy"):
        blob = place.find(value)
        if blob is None:
            raise TableError(
                f"{where}: no such file {value!r} under {place.base}; pass the folder that it lies in (--root)"
            )
        with blob.open() as file:
            try:
                value = np.load(file, allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise TableError(f"{where}: {value} is not a readable .npy file ({error})") from None
    found = vector_of(value)
    if found is None:
        raise TableError(f"{where}: expected a vector (D,) or a sequence (T, D) of numbers, found {value!r:.40}")
    return found


def missing_files(series: pd.Series, place: Place) -> np.ndarray:
    """(n,) bool: cells that hold nothing, or name a file that is not there; nothing is decoded."""
    gone = nulls(series)
    found = []
    for value, empty in zip(series, gone, strict=True):
        value = value.get("bytes") or value.get("path") if isinstance(value, Mapping) else value
        named = not empty and isinstance(value, str | os.PathLike)
        found.append(bool(empty) or value is None or (named and place.find(str(os.fspath(value))) is None))
    return np.asarray(found, dtype=bool)


def absent_rows(frame: pd.DataFrame, modality: Modality, root: str | None) -> np.ndarray:
    """(n,) bool: rows that have no cell of this modality."""
    place = Place(root, modality.root) if modality.kind in MEDIA else None
    columns = [missing_files(frame[c], place) if place else nulls(frame[c]) for c in modality.columns]
    return np.asarray(np.logical_and.reduce(columns), dtype=bool)
