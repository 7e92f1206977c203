"""The contract of conditions as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.base.errors import CellError
from plait.data.cells import cells
from plait.data.media.images import image
from plait.data.media.sounds import audio
from plait.data.media.videos import video

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions.base import Condition
    from plait.data.modality import Modality, Schema


def check_condition(condition: Condition, frame: pd.DataFrame, schema: Schema, root: str | None = None) -> None:
    """Every promise of ``Condition``; raises AssertionError at the first that is broken.

    Args:
        condition: of a strength that changes some of the rows.
        frame: at least three rows, different ones, among them absent and unreadable cells; it is fitted on them, too.
        schema: what the columns are.
        root: folder or zip archive that relative paths start from.
    """
    before = [list(frame[c]) for c in frame.columns]
    condition.fit(frame, schema, root)
    changed = condition.apply(frame, schema, root)
    assert _identical(before, frame), "the table that was given is changed"
    assert list(changed.columns) == list(frame.columns), "other columns"
    assert changed.index.equals(frame.index), "other rows"
    named = {c for m in condition.targets(schema) for c in m.columns}
    others = [c for c in frame.columns if c not in named]
    assert _identical([list(frame[c]) for c in others], changed[others]), "cells of other columns are changed"
    assert _identical(before, condition.at(0).apply(frame, schema, root)), "strength 0 is not the identity"
    plain = {m.name: _signals(frame, m, root) for m in condition.targets(schema)}
    noisy = {m.name: _signals(changed, m, root) for m in condition.targets(schema)}
    assert noisy != plain, "nothing is changed"
    for name, group in plain.items():
        pairs = list(zip(group, noisy[name], strict=True))
        assert all(new is None for old, new in pairs if old is None), f"an absent cell of '{name}' is there"
        broken = [(old, new) for old, new in pairs if isinstance(old, str) and old.startswith("unreadable: ")]
        assert all(new in (old, None) for old, new in broken), f"an unreadable cell of '{name}' has another message"
    for rows in (np.arange(len(frame))[::-1], np.arange(len(frame))[1::2], np.arange(len(frame))):
        again = condition.apply(frame.iloc[rows], schema, root)
        for modality in condition.targets(schema):
            result = _signals(again, modality, root)
            expected = [noisy[modality.name][i] for i in rows]
            assert result == expected, f"'{modality.name}': other rows, their order, or a second run matter"


def _identical(before: list[list[Any]], frame: pd.DataFrame) -> bool:
    """Whether the very same cells are there; numbers, which have no identity in a column, are compared."""
    after = [list(frame[c]) for c in frame.columns]
    pairs = ((a, b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))
    return all(a is b or (isinstance(a, str | int | float | np.generic) and repr(a) == repr(b)) for a, b in pairs)


def _signals(frame: pd.DataFrame, modality: Modality, root: str | None) -> list[Any]:
    """What an encoder would get of each row, comparable; None where it is absent, a message where it cannot be read."""
    if modality.kind == "tabular":
        columns: list[list[Any]] = [[repr(v) for v in frame[c]] for c in modality.columns]
        gone = frame[list(modality.columns)].isna().all(axis=1)
        return [None if g else row for g, row in zip(gone, zip(*columns, strict=True), strict=True)]
    groups = cells(frame, modality, root)
    rows = zip(*([_signal(cell, modality.kind) for cell in group] for group in groups), strict=True)
    return [row[0] if len(row) == 1 else None if not any(row) else row for row in rows]


def _signal(cell: Any, kind: str) -> Any:
    decode: dict[str, Callable[[Any], Any]] = {
        "image": image,
        "audio": lambda c: audio(c, 16_000, 60.0),
        "video": lambda c: video(c, 3),
    }
    if cell is None or isinstance(cell, str):
        return cell
    try:
        result = decode.get(kind, np.asarray)(cell)
    except CellError as error:
        return f"unreadable: {error}"
    return (result.shape, result.tobytes())
