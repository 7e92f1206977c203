"""Cells as encoders take them: one text per row, media as bytes wherever they lie, vectors as arrays."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.base.errors import CellError, TableError, hidden, warn
from plait.data.archive import Place
from plait.data.row_numbers import missing_files_of, row_numbers
from plait.data.values import is_tensor, list_in, nulls, texts

if TYPE_CHECKING:
    from plait.data.modality import Modality

MEDIA = ("image", "audio", "video")


def media_columns(modalities: Iterable[Modality]) -> list[str]:
    """Columns whose cells are or name files: those of media and of vectors."""
    return [column for m in modalities if m.kind in (*MEDIA, "vector") for column in m.columns]


Cells = list[list[Any]]


def cells(
    frame: pd.DataFrame, modality: Modality, root: str | None = None, *, whole: bool = True, strict: bool = False
) -> Cells:
    """The cells of one modality, None where a row has none.

    Text and code: one list, the columns joined by line breaks. Vectors: one list per column. Media: the same, and of a column
    whose cells list several pictures, films or sounds one list per place in the longest of them.

    Args:
        frame: the rows.
        modality: of any kind but ``tabular``, whose encoder takes the rows themselves.
        root: folder or zip archive that relative paths start from, unless the modality has its own.
        whole: the rows are a whole table, of which some files must be there; of a piece all may be missing.
        strict: a file that is not there is a broken cell, not an absent one; a vector that cannot be read is an error.

    Raises:
        CellError: with ``strict``, a vector cannot be read.
        TableError: a column holds nothing that its kind can be, or of a whole table not one of its files is there.
    """
    if modality.kind in ("text", "code"):
        return [joined(frame, modality)]
    if modality.kind == "vector":
        return [_vectors(frame[c], Place(root, modality.root), whole=whole, strict=strict) for c in modality.columns]
    if modality.kind in MEDIA:
        place = Place(root, modality.root)
        columns = (_several(frame[c], place, modality.kind, whole=whole, strict=strict) for c in modality.columns)
        return [group for groups in columns for group in groups]
    raise TableError(f"modality '{modality.name}': the encoder of a {modality.kind} modality takes the rows, not cells")


def joined(frame: pd.DataFrame, modality: Modality) -> list[str | None]:
    """One text per row from all columns of a modality."""
    return texts_of(frame, modality)[0]


def texts_of(frame: pd.DataFrame, modality: Modality) -> list[list[str | None]]:
    """One text per row from all columns of a modality; where it has several, those of each column after it."""
    columns = [list(_text_column(frame[column], modality)) for column in modality.columns]
    if len(columns) == 1:
        return columns
    rows = ([part for part in row if part is not None] for row in zip(*columns, strict=True))
    return [["\n".join(parts) if parts else None for parts in rows], *columns]


def _text_column(series: pd.Series, modality: Modality) -> np.ndarray:
    odd = next((row for row, v in enumerate(series) if isinstance(v, bytes | np.ndarray | Mapping)), None)
    if odd is not None:
        raise TableError(
            f"column '{series.name}' of modality '{modality.name}', row {row_numbers(series)[odd]}: "
            f"expected {modality.kind}, found {type(series.iloc[odd]).__name__}"
        )
    return texts(series)


#: Pictures, films or sounds of one cell at most.
_MOST = 16


def items_in(value: object) -> list[Any] | None:
    """The files, bytes or pictures that a cell lists (also written as a JSON list); None: it is no such list.

    Example:
        >>> items_in('["a.png", "b.png"]'), items_in(["a.png"]), items_in("a.png"), items_in([0.5, 0.25])
        (['a.png', 'b.png'], ['a.png'], None, None)
    """
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return None
        value = list_in(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU" and value.ndim == 1:
        value = list(value)
    if not isinstance(value, list | tuple):
        return None
    items = [v for v in value if v is not None and not (isinstance(v, str) and not v.strip())]
    return items if all(_is_item(v) for v in items) else None


def _is_item(value: object) -> bool:
    if isinstance(value, str | os.PathLike | bytes | Mapping):
        return True
    from plait.data.media import Altered, Blob
    from plait.data.media.given import is_picture

    return isinstance(value, Blob | Altered) or is_picture(value)


def _several(series: pd.Series, place: Place, kind: str, *, whole: bool, strict: bool) -> Cells:
    """The cells of one column: one list, or as many as the longest list in a cell has items."""
    rows = [[value] if (items := items_in(value)) is None else items for value in series]
    longest = max(map(len, rows), default=1)
    if all(len(items) == 1 and items[0] is value for items, value in zip(rows, series, strict=True)):
        return [_media(series, place, kind, whole=whole, strict=strict)]
    empty = sum(not items for items in rows)
    cut = sum(len(items) > _MOST for items in rows)
    said = [f"{empty:,} cells are empty lists and count as absent"] * bool(empty)
    said += [f"{cut:,} cells list more than {_MOST} (at most {longest}): the first {_MOST} of them are used"] * bool(
        cut
    )
    if said:
        warn(f"column '{series.name}': {'; '.join(said)}")
    counts = [max(1, min(len(items), _MOST)) for items in rows]
    flat = np.empty(sum(counts), dtype=object)
    flat[:] = [item for items in rows for item in (items[:_MOST] or [None])]
    parts = pd.Series(flat, series.index.repeat(counts), name=series.name)
    parts.attrs = series.attrs
    read = iter(_media(parts, place, kind, whole=whole, strict=strict))
    result: Cells = [[None] * len(rows) for _ in range(max(counts))]
    for row, count in enumerate(counts):
        for at in range(count):
            result[at][row] = next(read)
    return result


def _media(series: pd.Series, place: Place, kind: str, *, whole: bool, strict: bool) -> list[object]:
    """Blobs and decoded arrays of one column.

    Files that are not there are absent and counted here; cells that are refused are broken Blobs, counted with all others
    that cannot be read.
    """
    from plait.data.media import Blob

    result: list[Any] = []
    named = refused = 0
    missing: list[str] = []
    gone = nulls(series)
    for value, empty in zip(series, gone, strict=True):
        cell, name = (None, None) if empty else _media_cell(value, place, kind, str(series.name))
        if name is not None:
            named += 1
            if cell is None:
                missing.append(name)
                said = f"column '{series.name}': {shown_path(name)}: there is no such file"
                cell = Blob.broken(said) if strict else None
        elif isinstance(cell, Blob) and cell.problem is not None:
            refused += 1
        result.append(cell)
    present = int((~gone).sum())
    if whole and refused and 1 < refused + len(missing) == present:
        first = next(cell.where for cell in result if isinstance(cell, Blob) and cell.problem is not None)
        raise TableError(f"none of the {present:,} cells of column '{series.name}' can be used as {kind}, e.g. {first}")
    if not strict or len(missing) == named:
        example = f"e.g. {shown_path(missing[0])} under {place.base}" if missing else ""
        missing_files_of(series, named, len(missing), example, refuse=whole)
    return result


def shown_path(name: str) -> str:
    """A path in quotes; of a long one the end, which says more than its beginning.

    Example:
        >>> shown_path("a.png"), len(shown_path("folder/" * 20 + "a.png"))
        ("'a.png'", 80)
    """
    name = hidden(name)
    return repr(name if len(name) <= 78 else f"…{name[-77:]}")


def _media_cell(value: object, place: Place, kind: str, column: str) -> tuple[object, str | None]:
    """The cell, and the name of the file if it names one; a refused one is a Blob that says why to whoever opens it."""
    from plait.data.media import Blob
    from plait.data.media.given import given

    try:
        cell = given(value, kind)
        return (place.find(cell), cell) if isinstance(cell, str) else (cell, None)
    except CellError as error:
        return Blob.broken(f"column '{column}': {error}"), None


def is_media(value: Any) -> bool:
    """Whether a cell holds media itself, not a name."""
    if isinstance(value, str | int | float):
        return False
    is_image = hasattr(value, "convert") and hasattr(value, "getbands")
    many_axes = (isinstance(value, np.ndarray) or is_tensor(value)) and value.ndim >= 2
    decoder = hasattr(value, "_hf_encoded") or hasattr(value, "get_all_samples")
    return is_image or many_axes or decoder or isinstance(value, bytes | bytearray | memoryview)


def vector_of(value: object) -> np.ndarray | None:
    """A cell as a float32 vector (D,) or sequence (T, D); None when it is none."""
    if isinstance(value, str):
        value = list_in(value)
    if is_tensor(value):  # a tensor
        from plait.data.media.given import as_array

        value = as_array(value)
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        return None
    if isinstance(value, np.ndarray) and value.dtype == object:  # as Parquet gives lists of lists
        value = [v.tolist() if isinstance(v, np.ndarray) else v for v in value]
    try:
        result = np.asarray(value)
    except ValueError:  # ragged
        return None
    if result.dtype.kind not in "iuf" or result.ndim not in (1, 2) or result.size == 0:
        return None
    return result.astype(np.float32)


def _vectors(series: pd.Series, place: Place, *, whole: bool, strict: bool) -> list[np.ndarray | None]:
    """Vectors of one width; those that cannot be read, or hold NaN or infinity, are absent and counted."""
    read: list[np.ndarray | None] = []
    broken: dict[int, str] = {}
    gone = nulls(series)
    rows = row_numbers(series)
    for row, (value, empty) in enumerate(zip(series, gone, strict=True)):
        try:
            read.append(None if empty else _vector_cell(value, place))
        except CellError as error:
            broken[row] = str(error)
            read.append(None)
    where = f"column '{series.name}'"
    if whole and len(broken) == int((~gone).sum()) > 0:
        row, reason = next(iter(broken.items()))
        raise TableError(f"{where}, row {rows[row]}: {reason}")
    widths = Counter(v.shape[-1] for v in read if v is not None)
    if whole and len(widths) > 1:  # later the encoder knows the width, and each other vector is absent
        usual = widths.most_common(1)[0][0]
        row, odd = next((r, v) for r, v in zip(rows, read, strict=True) if v is not None and v.shape[-1] != usual)
        raise TableError(
            f"{where}: vectors of different widths ({', '.join(map(str, sorted(widths)))}), first in row {row}: "
            f"{odd.shape[-1]} numbers, where most have {usual}; give all the same width"
        )
    broken |= {i: "NaN or infinity" for i, v in enumerate(read) if v is not None and not np.isfinite(v).all()}
    if broken:
        row = min(broken)
        if strict:
            raise CellError(f"{where}, row {rows[row]}: {broken[row]}")
        said = f"{len(broken):,} vectors cannot be read, or hold NaN or infinity, and count as absent"
        warn(f"{where}: {said} (e.g. row {rows[row]}: {broken[row]})")
    return [None if row in broken else v for row, v in enumerate(read)]


def _vector_cell(value: object, place: Place) -> np.ndarray | None:
    from plait.data.media import Blob

    if isinstance(value, Blob) or (isinstance(value, str) and value.strip().lower().endswith(".npy")):
        blob = value if isinstance(value, Blob) else place.find(value)
        if blob is None:
            raise CellError(f"no such file {value!r} under {place.base}; pass the folder that it lies in (--root)")
        with blob.open() as file:
            try:
                value = np.load(file, allow_pickle=False)
            except (ValueError, OSError, EOFError, SyntaxError, MemoryError) as error:
                raise CellError(f"{value} is not a readable .npy file ({error})") from None
    result = vector_of(value)
    if result is None:
        raise CellError(f"expected a vector (D,) or a sequence (T, D) of numbers, found {value!r:.40}")
    return result


def missing_files(series: pd.Series, place: Place) -> np.ndarray:
    """(n,) bool: cells that hold nothing, or name a file that is not there; nothing is decoded."""
    gone = nulls(series)
    return np.asarray([empty or _gone(v, place) for v, empty in zip(series, gone, strict=True)], dtype=bool)


def _gone(value: object, place: Place) -> bool:
    items = items_in(value)
    if items is not None:
        return all(_gone(item, place) for item in items)
    if isinstance(value, Mapping):
        value = next((value[k] for k in ("bytes", "array", "waveform", "path") if value.get(k) is not None), None)
    from plait.data.media import Blob
    from plait.data.media.given import is_data_uri

    if isinstance(value, Blob):
        return value.problem is not None
    if not isinstance(value, str | os.PathLike):
        return value is None
    if isinstance(value, str) and is_data_uri(value):
        return False
    try:
        return place.find(os.fspath(value)) is None
    except CellError:
        return True


def absent_rows(frame: pd.DataFrame, modality: Modality, root: str | None) -> np.ndarray:
    """(n,) bool: rows that have no cell of this modality."""
    place = Place(root, modality.root) if modality.kind in MEDIA else None
    columns = [missing_files(frame[c], place) if place else nulls(frame[c]) for c in modality.columns]
    return np.asarray(np.logical_and.reduce(columns), dtype=bool)
