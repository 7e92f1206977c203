"""A condition that leaves out words."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from plait.conditions.base import Strength
from plait.conditions.cells import TextCondition

_WORD = re.compile(r"\S+")


@dataclass(kw_only=True)
class DroppedWords(TextCondition):
    """Leaves out words with the punctuation on them; one word always stays.

    Formula: each word is dropped with the chance strength; of a text that would lose all, one is kept.
    Shape: texts in, texts out.
    Source: Iyyer et al. 2015, Deep Unordered Composition Rivals Syntactic Methods (word dropout).
    Use when: texts are cut, badly heard or badly scanned, or it is asked how many words a model needs.
    Not when: the whole text is gone: ``absent``.

    Example:
        >>> DroppedWords(strength=0.5).changed("one two three four five six", np.random.default_rng(0))
        'one five six'
    """

    kinds = ("text",)
    measure = "chance of a word to be dropped"

    strength: Strength = 0.3

    def changed(self, text: str, generator: np.random.Generator) -> str:
        """The text without the dropped words."""
        words = list(_WORD.finditer(text))
        drawn = generator.random(len(words))
        kept = drawn >= self.strength
        if not kept.any():
            kept[drawn.argmax()] = True
        # A word goes together with the space before it, so that lines stay lines.
        starts = [0, *(word.end() for word in words[:-1])]
        parts = (text[a : w.end()] for a, w, stays in zip(starts, words, kept, strict=True) if stays)
        return "".join(parts).strip()
