"""The rules for columns of media and vectors: by their bytes, their arrays, or the endings of the files they name."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from plait.base.errors import CellError, hidden
from plait.data.archive import Place
from plait.data.cells import MEDIA, items_in, shown_path, vector_of
from plait.data.column import Column, Verdict
from plait.data.remote import address_of
from plait.data.values import is_tensor

#: Share of cells that must be of one kind: of names, and where any cell holds the media itself.
_NAMED, _HELD = 0.95, 0.9
#: Cells that are looked for on the disk, or decoded, before a column is believed.
_TRIED = 20
#: Cells whose bytes are compared before a column is taken for a copy of another.
_COMPARED = 5


def media(column: Column) -> Verdict | None:
    """Images, sound or video: by the bytes, by the array, or by the endings of the paths."""
    votes: Counter[tuple[str, bool]] = Counter()
    forms: Counter[str] = Counter()
    cells = [value for value in column.values if items_in(value) != []]  # an empty list of files is none
    count = len(cells)
    for seen, value in enumerate(cells):
        vote = _vote(value)
        if vote is not None:
            votes[vote[:2]] += 1
            forms[vote[2]] += 1
        elif seen - votes.total() > (1 - _HELD) * count:  # a column of something else
            return None
    if not votes:
        return None
    (kind, read), most = votes.most_common(1)[0]
    if most < (_NAMED if set(forms) == {"name"} else _HELD) * count:
        return None
    return _verdict(column, kind, read, forms)


def _vote(value: object) -> tuple[str, bool, str] | None:
    """Kind of one cell, whether it is decoded here, and the form that it comes in."""
    from plait.data.media import Blob, formats
    from plait.data.media.given import data_of_uri, is_data_uri, is_picture

    if isinstance(value, Blob):
        vote = None if value.address is None else _vote(urlsplit(value.address).path)
        return None if vote is None else (*vote[:2], "fetched")
    items = items_in(value)
    if items is not None:
        vote = _vote(items[0]) if items else None
        return vote if vote is not None and vote[0] in MEDIA else None
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return _vote(value["bytes"])
        if {"array", "waveform"} & value.keys() and {"sampling_rate", "sample_rate"} & value.keys():
            return "audio", True, "pairs"
        return _vote(value["path"]) if value.get("path") is not None else None
    if isinstance(value, bytes | bytearray | memoryview):
        kind = formats.kind_of_bytes(bytes(value[: formats.HEAD]))
        return None if kind is None else (*kind, "bytes")
    if isinstance(value, str) and is_data_uri(value):
        with contextlib.suppress(CellError):  # one broken cell says nothing of the column
            return _vote(data_of_uri(value, formats.HEAD))
        return None
    if isinstance(value, str | os.PathLike):
        name = os.fsdecode(value).strip()
        name = urlsplit(name).path if address_of(name) is not None else name  # without ?size=2
        kind = ("vector", True) if name.lower().endswith(".npy") else formats.kind_of_name(name)
        return None if kind is None else (*kind, "name")
    if is_picture(value):
        return "image", True, "images"
    if isinstance(getattr(value, "_hf_encoded", None), Mapping):
        return _vote(value._hf_encoded)  # type: ignore[attr-defined]
    return _vote_array(value)


def _vote_array(value: object) -> tuple[str, bool, str] | None:
    from plait.data.media.given import as_array, samples_and_rate
    from plait.data.media.images import CHANNELS

    if isinstance(value, int | float | np.generic):
        return None
    pair = samples_and_rate(value)
    if pair is not None and not isinstance(value, list) and not isinstance(pair[0], list | tuple):
        return "audio", True, "pairs"
    flat = isinstance(value, list | tuple) and not (value and isinstance(value[0], list | tuple | np.ndarray))
    array = None if flat else as_array(value)
    if array is None or array.ndim < 2:
        return None
    channels = array.shape[-1] in CHANNELS or array.shape[max(0, array.ndim - 3)] in CHANNELS
    if array.ndim == 4 and (channels or array.dtype == np.uint8):
        return "video", True, "arrays"
    if array.ndim == 2:  # other numbers are a sequence of vectors
        channels = array.dtype in (np.uint8, np.uint16, np.bool_) and not isinstance(value, list)
    return ("image", True, "arrays") if array.ndim < 4 and channels else None


def _verdict(column: Column, kind: str, read: bool, forms: Counter[str]) -> Verdict | None:
    """What the column is taken for: ``kind``, or nothing that can be used."""
    named = set(forms) == {"name"}
    if not read:
        what = f"names of {kind} files, as {_first_name(column)}," if named else f"{kind} bytes"
        said = f"{what} of a format that nothing installed here decodes"
        return Verdict("ignored", said, doubt=f"{said}; convert them (to png, wav, mp4)", named=named)
    if named:
        return _of_names(column, kind)
    if forms["arrays"] and (problem := _unlike_pictures(column, kind)):
        return Verdict("ignored", problem, doubt=problem)
    words = {
        "bytes": f"{kind} bytes",
        "images": "images",
        "pairs": "pairs of samples and rate",
        "name": f"{kind} files",
        "fetched": f"{kind} files from the network",
    }
    arrays = "arrays of frames" if kind == "video" else "arrays of pixels"
    return Verdict(kind, " and ".join(words.get(form, arrays) for form, _ in forms.most_common()))


def _items(column: Column, cells: int | None = None) -> list[object]:
    """What the first cells hold, that of lists one by one."""
    listed = ([v] if (items := items_in(v)) is None else items for v in column.values[:cells])
    return [v for items in listed for v in items]


def _first_name(column: Column) -> str:
    return next((hidden(str(v))[:60] for v in _items(column) if isinstance(v, str | os.PathLike)), "")


def _of_names(column: Column, kind: str) -> Verdict | None:
    from plait.data.media.formats import AMBIGUOUS

    endings = {str(v).rpartition(".")[2].lower().strip() for v in _items(column, _TRIED)}
    why = lost(column) if endings <= AMBIGUOUS or column.root is not None else None
    if why and endings <= AMBIGUOUS:
        return None
    return Verdict(kind, f"names of {kind} files, as {_first_name(column)}", doubt=why, named=True)


def _unlike_pictures(column: Column, kind: str) -> str | None:
    """Why none of the first arrays can be pictures; None when one can."""
    from plait.data.media.given import given
    from plait.data.media.images import image, video

    problem = None
    for value in column.values[:_TRIED]:
        try:
            cell = given(value, kind)
            if isinstance(cell, np.ndarray):
                image(cell) if kind == "image" else video(cell, 1)
            return None
        except CellError as error:
            problem = str(error)
    return problem


def lost(column: Column) -> str | None:
    """What to say where none of the first files that a column names is there."""
    place, names, problem = Place(column.root), _items(column, _TRIED), None
    for value in names:
        try:
            if not isinstance(value, str | os.PathLike) or place.find(os.fsdecode(value)) is not None:
                return None
        except CellError as error:
            problem = str(error)
    if problem is not None or not names:  # lists of files may all be empty
        return problem
    return (
        f"none of its first {len(names)} files is there, as {shown_path(str(names[0]))} under {place.base}; pass --root"
    )


def repeated(frame: pd.DataFrame, result: Mapping[str, Verdict], root: str | None) -> dict[str, Verdict]:
    """Columns of file names that are no media of their own, now ignored: another column holds the same, or better.

    A column is left out when its files are those of another one, or when none of them is there while another column of its
    kind holds media that are.
    """
    columns = {name: Column(frame[name], root) for name, v in result.items() if v.kind in ("image", "audio", "video")}
    empty = {n: result[n].named and lost(c) for n, c in columns.items()}
    out: dict[str, Verdict] = {}
    for name, column in columns.items():
        others = [
            o for o in columns if o != name and o not in out and result[o].kind == result[name].kind and not empty[o]
        ]
        if not result[name].named or not others:
            continue
        twin = next((o for o in others if _same_files(column, columns[o])), None)
        first = next((o for o in others if not result[o].named), others[0])
        if twin is not None:
            reason = f"names the very files that '{twin}' holds"
        elif empty[name]:
            reason = f"names {result[name].kind} files that are not there, beside '{first}', which holds them"
        else:
            continue
        out[name] = Verdict("ignored", reason, doubt=f"{reason}; name it in a schema if it is to be used", named=True)
    return out


def _same_files(column: Column, other: Column) -> bool:
    """Whether the first rows of two columns hold the same media, to the byte."""
    place, tried = Place(column.root), np.flatnonzero(~column.gone & ~other.gone)[:_COMPARED].tolist()
    pairs = [(_digest(column.series.iloc[i], place), _digest(other.series.iloc[i], place)) for i in tried]
    return len(pairs) > 0 and all(a is not None and a == b for a, b in pairs)


def _digest(value: object, place: Place) -> bytes | None:
    from plait.data.media import Blob
    from plait.data.media.given import given

    try:
        cell = given(value, "image")
        cell = place.find(cell) if isinstance(cell, str) else cell
        return cell.digest() if isinstance(cell, Blob) else None
    except CellError:
        return None


def vector(column: Column) -> Verdict | None:
    """Arrays or lists of numbers, all of one width."""
    if not all(
        isinstance(v, np.ndarray | list | tuple) or is_tensor(v) or str(v).strip().startswith("[")
        for v in column.values
    ):
        return None
    result = [vector_of(v) for v in column.values]
    shapes = {v.shape for v in result if v is not None}
    if not all(v is not None for v in result) or len({s[-1] for s in shapes}) > 1 or len({len(s) for s in shapes}) > 1:
        return None
    shape = next(iter(shapes))
    if len(shape) == 1 and shape[0] < 2:
        return None
    return Verdict(
        "vector", f"vectors of {shape[-1]} numbers" if len(shape) == 1 else f"sequences of {shape[-1]} numbers a step"
    )


def _odd(value: object) -> bool:
    """Whether a cell is neither text, number, date nor list; what prints its own address says nothing of its content."""
    if isinstance(value, str | int | float):  # nearly every cell: what follows takes its time
        return False
    if isinstance(value, bytes | bytearray | Mapping | complex | np.complexfloating) or getattr(value, "ndim", 0) > 1:
        return True
    of = type(value)
    nameless = of.__str__ is object.__str__ and of.__repr__ is object.__repr__
    return nameless or callable(value) or isinstance(value, pd.Series | pd.Index)


def unusable(column: Column) -> Verdict | None:
    """Cells of a kind that no encoder takes."""
    odd = next((v for v in column.values if _odd(v)), None)
    if isinstance(odd, complex | np.complexfloating):
        return Verdict("ignored", "complex numbers; give real and imaginary parts as columns of their own")
    if odd is not None:
        return Verdict("ignored", f"cells are {type(odd).__name__}, of no kind that is known")
    numeric = [v for v in column.values if isinstance(v, list | np.ndarray) and vector_of(v) is not None]
    if numeric and any(vector.dtype.kind == "f" for vector in map(np.asarray, numeric)):
        return Verdict(
            "ignored", "lists of numbers of different lengths; make them equally long, or name its kind (vector, audio)"
        )
    return None
