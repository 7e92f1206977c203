"""Texts in capitals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from plait import Condition
from plait.base.checks import Share


@dataclass(kw_only=True)
class Capitals(Condition):
    """Words written in capitals.

    Formula: each word is put into capitals with the chance strength.
    Shape: texts in, texts out.
    Source: texts of the net.
    Use when: texts come from people in a hurry.
    Not when: the encoder does not see the case of letters.

    Example:
        >>> Capitals(strength=1.0).shout("a red house")
        'A RED HOUSE'
    """

    kinds: ClassVar[tuple[str, ...]] = ("text",)
    measure: ClassVar[str] = "chance of a word to be written in capitals"

    strength: Share = 0.5

    def columns(self, frame: Any, schema: Any, chosen: Any, root: str | None) -> Mapping[str, Any]:
        """Every cell that is a text, in capitals; all others as they are."""
        return {column: self._column(frame[column]) for modality in chosen for column in modality.columns}

    def _column(self, series: Any) -> np.ndarray:
        cells = np.empty(len(series), dtype=object)
        for row, cell in enumerate(series):
            cells[row] = self.shout(cell) if isinstance(cell, str) and cell.strip() else cell
        return cells

    def shout(self, text: str) -> str:
        """The text; the same words wherever it stands."""
        generator = self.generator(text.encode("utf-8", "surrogatepass"))
        return " ".join(w.upper() if generator.random() < self.strength else w for w in text.split(" "))
