"""Conditions on signals: cells are wrapped, and changed when an encoder asks for them."""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.conditions._base import Condition
from plait.conditions._cells import column_of
from plait.media import Changed
from plait.table._cells import cells

if TYPE_CHECKING:
    import pandas as pd

    from plait.schema import Modality, Schema


@dataclasses.dataclass(kw_only=True)
class SignalCondition(Condition):
    """A condition on pictures, films or sounds, as they come out of their files."""

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """Every present cell as a ``Changed``; a file that is not there is absent."""
        change = copy.copy(self)  # what is set on this one later must not reach the cells
        change.fingerprint()  # fails now, not in the middle of encoding, when the clips that it needs are not there
        found = {}
        for modality in chosen:
            for column, group in zip(modality.columns, cells(frame, modality, root), strict=True):
                found[column] = column_of(None if cell is None else Changed(cell, change) for cell in group)
        return found

    @abstractmethod
    def changed(self, signal: np.ndarray, generator: np.random.Generator, rate: int | None) -> np.ndarray:
        """The new signal, float32: of pictures (..., H, W, 3) in 0..1 without a rate, of a sound (n,) at ``rate`` Hz."""
