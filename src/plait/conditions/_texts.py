"""Conditions on texts and code: each distinct text is changed once."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.conditions._base import Condition
from plait.conditions._cells import column_of
from plait.media.keys import cell_key
from plait.table._cells import _text_column

if TYPE_CHECKING:
    import pandas as pd

    from plait.schema import Modality, Schema


@dataclasses.dataclass(kw_only=True)
class TextCondition(Condition):
    """A condition on written words. A text never loses its last sign: nothing at all would be absence."""

    def columns(
        self, frame: pd.DataFrame, schema: Schema, chosen: list[Modality], root: str | None
    ) -> Mapping[str, Any]:
        """Every present cell as its changed text; cells without one stay the very same."""
        return {column: self._column(frame[column], modality) for modality in chosen for column in modality.columns}

    def _column(self, series: pd.Series, modality: Modality) -> np.ndarray:
        known: dict[str, str] = {}
        found = _text_column(series, modality)
        for text in found:
            if text is not None and text not in known:
                new = self.changed(text, self.generator(cell_key(text)))
                known[text] = new if new.strip() else text
        return column_of(cell if text is None else known[text] for cell, text in zip(series, found, strict=True))

    @abstractmethod
    def changed(self, text: str, generator: np.random.Generator) -> str:
        """The new text of one cell."""
