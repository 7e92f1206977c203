"""A condition that adds typing errors to texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.conditions.base import Strength
from plait.conditions.cells import TextCondition

_ROWS = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")


def _near() -> dict[str, str]:
    """Letter -> the letters beside it, above it and below it on an English keyboard."""
    near = {}
    for y, row in enumerate(_ROWS):
        for x, letter in enumerate(row):
            beside = row[max(0, x - 1) : x] + row[x + 1 : x + 2]
            above = _ROWS[y - 1][x : x + 2] if y else ""
            below = _ROWS[y + 1][max(0, x - 1) : x + 1] if y + 1 < len(_ROWS) else ""
            near[letter] = beside + above + below
    return near


_NEAR = _near()


@dataclass(kw_only=True)
class Typos(TextCondition):
    """Letters and digits that are swapped with the next one, left out, doubled, or hit beside.

    Formula: each letter or digit is hit with the chance strength, by one of the four with equal chances; beside is on an
    English keyboard, letters that are not on it are doubled.
    Shape: texts in, texts out.
    Source: Belinkov and Bisk 2018, Synthetic and Natural Noise Both Break Neural Machine Translation, arXiv 1711.02173.
    Use when: people type the texts.
    Not when: texts are scanned or heard: such errors are others.

    Example:
        >>> Typos(strength=0.2).changed("light and honest fusion", np.random.default_rng(4))
        'liight aand hone ttusio'
    """

    kinds = ("text",)
    measure = "chance of a letter to be hit"

    strength: Strength = 0.05

    def changed(self, text: str, generator: np.random.Generator) -> str:
        """The text with typos."""
        drawn = generator.random((len(text), 3))
        parts: list[str] = []
        held = ""  # a letter that its successor has overtaken
        for letter, (hit, way, which) in zip(text, drawn, strict=True):
            slips = letter.isalnum() and hit < self.strength
            if slips and way < 0.25 and not held:
                held = letter
            else:
                parts.append((_slip(letter, way, which) if slips and way >= 0.25 else letter) + held)
                held = ""
        return "".join(parts) + held


def _slip(letter: str, way: float, which: float) -> str:
    if way < 0.5:
        return ""
    near = _NEAR.get(letter.lower(), "")
    if way < 0.75 or not near:
        return letter * 2
    other = near[int(which * len(near))]
    return other.upper() if letter.isupper() else other
