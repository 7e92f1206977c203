"""The contracts of what takes cells: encoders and conditions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from plait.base.encoder import KINDS, Encoder
from plait.base.errors import CellError
from plait.base.tokens import Tokens
from plait.data.cells import cells
from plait.data.media.images import image, video
from plait.data.media.sounds import audio

if TYPE_CHECKING:
    import pandas as pd

    from plait.conditions.base import Condition
    from plait.data.modality import Modality, Schema


def check_encoder(
    encoder: Encoder,
    cells: Sequence[object],
    broken: Sequence[object] = (),
    others: Mapping[str, object] | None = None,
    tolerance: float = 1e-2,
) -> None:
    """Every promise of a frozen ``Encoder``; raises AssertionError at the first that is broken.

    Args:
        encoder: fitted if it needs that.
        cells: at least two that can be read.
        broken: cells that cannot.
        others: another value for every option.
        tolerance: how far a cell's tokens may move with the batch, relative to their length.
    """
    variant = type(encoder)
    facts = variant.facts()
    assert all(facts[key] for key in ("kinds", "train", "extra", "licence")), f"facts are incomplete: {facts}"
    assert set(variant.kinds) <= set(KINDS), f"unknown kinds {variant.kinds}"
    assert (variant.__doc__ or "").strip(), "no docstring"
    prepared = encoder.prepare(cells)
    _same_arrays(prepared, encoder.prepare(cells), "prepare is not deterministic")
    assert all(len(array) == len(cells) for array in prepared.values()), "the first axis is not the cell"
    lengths = encoder.lengths(cells)
    assert lengths.shape == (len(cells),), "lengths are not one per cell"
    whole = tokens_of(encoder, cells)
    assert all(row.ndim == 2 and len(row) and row.shape[1] == encoder.dim for row in whole), "wrong width, or no token"
    assert all(np.isfinite(row).all() for row in whole), "not finite"
    for i, cell in enumerate(cells):
        _near(whole[i], tokens_of(encoder, [cell])[0], tolerance, f"the batch matters for cell {i}")
    backwards = tokens_of(encoder, cells[::-1])[::-1]
    for i, (a, b) in enumerate(zip(whole, backwards, strict=True)):
        _near(a, b, tolerance, f"the order matters for cell {i}")
    _check_fingerprint(encoder, others or {})
    again = variant(**encoder.options())
    again.load_state(encoder.state())
    assert again.fingerprint() == encoder.fingerprint(), "the state does not survive"
    _same_arrays(prepared, again.prepare(cells), "the state does not survive")
    for cell in broken:
        for batch in ([cell], [cells[0], cell]):
            _check_refused(encoder, batch)


def tokens_of(encoder: Encoder, cells: Sequence[object]) -> list[np.ndarray]:
    """The tokens (T, D) of each cell."""
    arrays = {key: torch.from_numpy(array) for key, array in encoder.prepare(cells).items()}
    with torch.inference_mode():
        result: Tokens = module_of(encoder)(arrays)
    assert isinstance(result, Tokens), f"the module gives {type(result).__name__}"
    assert result.x.dtype == torch.float32, f"the tokens are {result.x.dtype}"
    return [x[m] for x, m in zip(result.x.numpy(), result.mask.numpy(), strict=True)]


_MODULES: dict[str, torch.nn.Module] = {}


def module_of(encoder: Encoder) -> torch.nn.Module:
    """The encoder's network, built once per fingerprint."""
    key = encoder.fingerprint()
    if key not in _MODULES:
        _MODULES[key] = encoder.module().eval()
    return _MODULES[key]


def _check_refused(encoder: Encoder, batch: Sequence[object]) -> None:
    try:
        encoder.prepare(batch)
    except CellError:
        return
    raise AssertionError(f"a broken cell is no CellError: {batch[-1]!r:.60}")


def _check_fingerprint(encoder: Encoder, others: Mapping[str, object]) -> None:
    options = encoder.options()
    assert json.loads(json.dumps(options)) == options, "the options are not plain JSON values"
    names = {field.name for field in dataclasses.fields(encoder)}
    assert set(options) | set(encoder.later) == names, f"not among the options: {sorted(names - set(options))}"
    assert set(others) == names, f"no other value for {sorted(names ^ set(others))}"
    for name, value in others.items():
        other = type(encoder)(**{**options, name: value})
        other.load_state(encoder.state())
        assert other.fingerprint() != encoder.fingerprint(), f"the fingerprint does not know the option {name}"


def _same_arrays(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], complaint: str) -> None:
    assert a.keys() == b.keys(), complaint
    assert all(isinstance(v, np.ndarray) and v.dtype == b[k].dtype for k, v in a.items()), complaint
    assert all(np.array_equal(v, b[k]) for k, v in a.items()), complaint


def _near(a: np.ndarray, b: np.ndarray, tolerance: float, complaint: str) -> None:
    assert a.shape == b.shape, complaint
    assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(a) + 1e-6, complaint


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


def _signals(frame: pd.DataFrame, modality: Modality, root: str | None) -> list[object]:
    """What an encoder would get of each row, comparable; None where it is absent, a message where it cannot be read."""
    if modality.kind == "tabular":
        columns: list[list[Any]] = [[repr(v) for v in frame[c]] for c in modality.columns]
        gone = frame[list(modality.columns)].isna().all(axis=1)
        return [None if g else row for g, row in zip(gone, zip(*columns, strict=True), strict=True)]
    groups = cells(frame, modality, root)
    rows = zip(*([_signal(cell, modality.kind) for cell in group] for group in groups), strict=True)
    return [row[0] if len(row) == 1 else None if not any(row) else row for row in rows]


def _signal(cell: object, kind: str) -> object:
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
