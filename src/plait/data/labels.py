"""Class labels of any kind: the classes of a target, the class that a value means however it is written, and saving."""

from __future__ import annotations

import datetime
import decimal
import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from plait.base.errors import ModelError, TableError, warn
from plait.data.parse import FALSE, TRUE
from plait.data.values import object_array, text_of

_KINDS = (str, bool, int, float, decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, tuple)
_NUMBERS = (bool, int, float, decimal.Decimal)


def label_text(label: object) -> str:
    """How a label is written: in tables, reports and the names of probabilities.

    Example:
        >>> label_text(True), label_text(0.0), label_text(np.datetime64("2024-01-01T00:00", "us")), label_text("a ")
        ('True', '0.0', '2024-01-01', 'a ')
    """
    if isinstance(label, np.datetime64 | datetime.datetime):  # a Timestamp, too
        return text_of(pd.Timestamp(label))
    return str(label)


def label_array(values: Any) -> np.ndarray:
    """Labels (n,) as an array of the kind they are: text, whole numbers, booleans, dates, or Python objects.

    Example:
        >>> label_array(pd.Series([1, 0], dtype=object)).dtype, label_array([True, False]).dtype
        (dtype('int64'), dtype('bool'))
    """
    if isinstance(values, pd.Series | pd.Index):
        values = values.to_numpy() if values.dtype.kind in "biufM" else values.to_numpy(dtype=object)
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return values
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        exact = values.astype("M8[us]")
        return exact if (exact == values).all() else object_array(pd.Timestamp(v) for v in values)
    if isinstance(values, np.ndarray) and values.dtype.kind == "m":
        return object_array(pd.Timedelta(v).to_pytimedelta() for v in values)
    cells = [_plain(value) for value in values]
    kinds = {type(cell) for cell in cells}
    for kind in kinds:
        _check_kind(kind)
    if kinds == {str}:
        return _text_array(cells)
    if kinds == {bool}:
        return np.asarray(cells, dtype=bool)
    if kinds and kinds <= {int, float}:
        whole = kinds == {int} and max(map(abs, cells)) < 2**63
        return (
            np.asarray(cells, dtype=np.int64) if whole else np.asarray(cells, dtype=object if kinds == {int} else float)
        )
    if kinds and all(issubclass(kind, datetime.datetime) for kind in kinds) and not any(c.tzinfo for c in cells):
        return label_array(pd.DatetimeIndex(cells).to_numpy()) if pd.Timestamp in kinds else np.asarray(cells, "M8[us]")
    return object_array(_one_kind(cells) if str in kinds else cells)


def _plain(value: object) -> Any:
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, pd.Timedelta) and not value.nanoseconds:
        return value.to_pytimedelta()
    if isinstance(value, enum.Enum) and isinstance(value, str | int):  # a file can hold what its members stand for
        return value.value
    return value.item() if isinstance(value, np.generic) else value


def _text_array(cells: list[str]) -> np.ndarray:
    for cell in dict.fromkeys(cells):
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise TableError(
                f"the class {cell!a} holds half a character (a lone surrogate), which no file can hold; mend the "
                "text of the target"
            ) from None
    # numpy's own kind of text forgets NUL at the end
    return object_array(cells) if any(cell.endswith("\0") for cell in cells) else np.asarray(cells, dtype=str)


def _check_kind(kind: type) -> None:
    if not issubclass(kind, _KINDS):
        raise TableError(
            f"the target holds labels of type {kind.__name__}; expected text, numbers, booleans, dates, times, or tuples of "
            "them; turn them into text"
        )


def _one_kind(cells: list[Any]) -> list[Any]:
    """Text that says the same as a label of another type is that label: ``"3"`` among ``3``."""
    _text_array([cell for cell in cells if isinstance(cell, str)])
    others = {text_of(cell): cell for cell in cells if not isinstance(cell, str)}
    return [others.get(text_of(cell), cell) if isinstance(cell, str) else cell for cell in cells]


def written_labels(values: Sequence[str]) -> np.ndarray:
    """Labels of a file that knows only text: whole numbers, numbers or booleans where writing them gives the same text again.

    So ``0`` and ``1`` of a CSV are the classes that the same table has as Parquet, and ``01`` stays what it is.

    Example:
        >>> written_labels(["0", "1"]).dtype, written_labels(["0.0", "1.0"]).dtype, written_labels(["1", "01"]).tolist()
        (dtype('int64'), dtype('float64'), ['1', '01'])
    """
    distinct = dict.fromkeys(values)
    for read in (_whole, float, {"True": True, "False": False}.__getitem__):
        try:
            known = {text: read(text) for text in distinct}
        except (ValueError, KeyError):
            continue
        if all(str(label) == text and label == label for text, label in known.items()):  # NaN is no label
            return label_array([known[text] for text in values])
    return label_array(list(values))


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise ValueError(text)
    return int(text)


def classes_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes (C,) in order, and the place of each label among them (n,).

    Example:
        >>> classes_of(np.array(["b", "a", "b"]))[1].tolist()
        [1, 0, 1]
    """
    if labels.dtype != object:
        classes, codes = np.unique(labels, return_inverse=True)
        return classes, codes.astype(np.int64)
    try:
        distinct = list(dict.fromkeys(labels))
    except TypeError:
        raise TableError(
            "the target holds labels that cannot be compared (a list within a tuple); turn them into text"
        ) from None
    try:
        ordered = sorted(distinct)
    except TypeError:  # text beside numbers, say
        ordered = sorted(distinct, key=lambda label: (type(label).__name__, label_text(label)))
    place = {label: i for i, label in enumerate(ordered)}
    return object_array(ordered), np.fromiter((place[v] for v in labels), np.int64, len(labels))


def warn_alike(classes: Sequence[object] | np.ndarray) -> None:
    """Warn of classes that differ in nothing but how they are written, as ``a`` and ``a `` do."""
    alike: dict[str, list[str]] = {}
    for label in classes:
        alike.setdefault(text_of(label), []).append(label_text(label))
    several = [group for group in alike.values() if len(group) > 1]
    if several:
        shown = "; ".join(" and ".join(map(repr, group)) for group in several[:3])
        warn(
            f"the target has classes that say the same, and are kept apart as they are written: {shown}"
            f"{'; ...' if len(several) > 3 else ''}"
        )


def codes_of(values: Any, classes: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Place of each value among the classes (n,), however it is written; -1 where the model does not know it.

    A value is first taken as it is written, then as what it says (``3``, ``3.0`` and ``"3"`` are one value, as are blanks
    around a word), then as the number, date or boolean that the classes are.

    Example:
        >>> codes_of([1, "0", 0.0, "x"], ["0", "1"]).tolist()
        [1, 0, 0, -1]
        >>> codes_of(["TRUE", "no", 1], [False, True]).tolist()
        [1, 0, 1]
    """
    if isinstance(values, pd.DataFrame) or (isinstance(values, np.ndarray) and values.ndim == 2):
        values = np.asarray(values, dtype=object).ravel()  # of one column
    if isinstance(values, pd.Series | pd.Index):
        values = values.to_numpy(dtype=object)
    elif isinstance(values, torch.Tensor):  # its items are tensors, each unlike every other
        values = values.detach().cpu().numpy()
    find = _Finder(classes)
    return np.fromiter((find(value) for value in values), np.int64, len(values))


class _Finder:
    """Finds the class that a value means; each distinct value is thought about once."""

    def __init__(self, classes: Sequence[Any] | np.ndarray) -> None:
        labels = [_plain(label) for label in classes]
        self.known: dict[tuple[type, Any], int] = {}
        self.written = {label_text(label): i for i, label in enumerate(labels)}
        self.said: dict[str, int | None] = {}
        for i, label in enumerate(labels):
            said = text_of(label_text(label))
            self.said[said] = self.written.get(said) if said in self.said else i
        self.numbers = _values(labels, _number, _NUMBERS)
        dated = all(isinstance(label, datetime.date) or _ISO_DATE.match(str(label)) for label in labels)
        self.dates = _values(labels, _date, (datetime.date, str)) if dated else {}
        sides = [_truth(text_of(label)) for label in labels]
        self.truths: dict[Any, int] = (
            {bool(side): i for i, side in enumerate(sides)} if sorted(map(str, sides)) == ["False", "True"] else {}
        )

    def __call__(self, value: Any) -> int:
        value = _plain(value)
        try:
            key = (type(value), value)
            if key not in self.known:
                self.known[key] = self._number(value)
            return self.known[key]
        except TypeError:  # no hash
            return self._number(value)

    def _number(self, value: object) -> int:
        text = label_text(value)
        if text in self.written:
            return self.written[text]
        said = text_of(text)
        if self.said.get(said) is not None:
            return int(self.said[said])  # type: ignore[arg-type]
        readers = (self.numbers, _number), (self.dates, _date), (self.truths, _truth)
        for places, read in readers:
            meant = read(said) if places else None
            if meant is not None and meant in places:
                return places[meant]
        return -1


def _values(labels: Sequence[Any], read: Any, kinds: tuple[type, ...]) -> dict[Any, int]:
    """What the labels are, where all of them are of these kinds."""
    if not all(isinstance(label, kinds) for label in labels):
        return {}
    return {read(text_of(label_text(label))): i for i, label in enumerate(labels)}


def _number(text: str) -> float | None:
    try:
        return float({"True": "1", "False": "0"}.get(text, text))
    except ValueError:
        return None


_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d($|[T ]\d\d:\d\d)")


def _date(text: str) -> pd.Timestamp | None:
    if len(text) < 8:  # pandas takes "3" for a month
        return None
    try:
        result = pd.Timestamp(text)
    except ValueError:
        return None
    return result if isinstance(result, pd.Timestamp) else None


def _truth(text: str) -> bool | None:
    word = text.lower()
    return True if word in TRUE else False if word in FALSE else None


#: Name of a type in a file -> its value as text, and back.
_SAVED: Mapping[str, tuple[type, Any]] = {
    "timestamp": (pd.Timestamp, pd.Timestamp),
    "datetime": (datetime.datetime, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.fromisoformat),
    "decimal": (decimal.Decimal, decimal.Decimal),
    "timedelta": (datetime.timedelta, lambda text: pd.Timedelta(text).to_pytimedelta()),
}


def to_plain(labels: Iterable[object]) -> list[Any]:
    """Labels as JSON values.

    Example:
        >>> to_plain([1, "a", datetime.date(2024, 1, 2), ("a", 1)])
        [1, 'a', {'date': '2024-01-02'}, {'tuple': ['a', 1]}]
    """
    return [_to_plain(label) for label in labels]


def _to_plain(label: object) -> object:
    if isinstance(label, tuple):
        return {"tuple": to_plain(label)}
    label = _plain(label)
    if label is None or isinstance(label, bool | str | int | float):
        return label
    for name, (kind, _) in _SAVED.items():
        if isinstance(label, kind):
            return {name: label.isoformat() if isinstance(label, datetime.date | datetime.time) else str(label)}
    raise TableError(f"a label of type {type(label).__name__} cannot be saved; turn the labels into text")


def from_plain(values: Iterable[object]) -> list[Any]:
    """Labels from their JSON values."""
    return [_from_plain(value) for value in values]


def _from_plain(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    ((name, setting),) = value.items()
    if name == "tuple":
        return tuple(from_plain(setting))
    if name not in _SAVED:
        raise ModelError(f"model.json: labels of type '{name}' are not known to this plait")
    return _SAVED[name][1](setting)
