"""The contract of every encoder, as a function: what its tokens, its fingerprint and its state must hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from plait.base.encoder import KINDS, Encoder
from plait.base.errors import CellError
from plait.base.tokens import Tokens


def check_encoder(
    encoder: Encoder,
    cells: Sequence[Any],
    broken: Sequence[Any] = (),
    others: Mapping[str, Any] | None = None,
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


def tokens_of(encoder: Encoder, cells: Sequence[Any]) -> list[np.ndarray]:
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


def _check_refused(encoder: Encoder, batch: Sequence[Any]) -> None:
    try:
        encoder.prepare(batch)
    except CellError:
        return
    raise AssertionError(f"a broken cell is no CellError: {batch[-1]!r:.60}")


def _check_fingerprint(encoder: Encoder, others: Mapping[str, Any]) -> None:
    options = encoder.options()
    assert json.loads(json.dumps(options)) == options, "the options are not plain JSON values"
    assert set(others) == set(options), f"no other value for {sorted(set(options) ^ set(others))}"
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
