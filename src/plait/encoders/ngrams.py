"""The words and pairs of words of a text, beside what a frozen encoder says of its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer

from plait.base import mapped
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.data.cells import joined
from plait.data.modality import Modality
from plait.encoders.pairs import FEWEST, TRIED_ROWS, ridge_error
from plait.encoders.syntax import cut

Array = NDArray[Any]
#: Directions that are kept; places that words are hashed to; rows that a word must stand in.
COMPONENTS, PLACES, LEAST_ROWS = 64, 1 << 14, 3
#: Rows, evenly spread, that directions are learned from; characters of a text that are read.
LEARNED, CHARACTERS = 20_000, 20_000
#: They are kept if a ridge gains this share of its error by them, on rows left out one by one.
GAIN = 0.01
#: Directions of the other modalities that the ridge sees.
OTHERS = 64
#: Rows whose words are counted at a time.
BLOCK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Ngrams:
    """How often which words and pairs of words stand in a text, as numbers on the directions of most variance.

    Formula: z = (u V - m) / s; u_w = (1 + log c_w) (1 + log((1 + n) / (1 + n_w))), of length one, with c_w the count of the
    word or pair w and n_w of n training rows having it; V the first right singular vectors; m, s of the training rows.

    Shape: texts (n,), None where there is none; out (n, k) float32, zeros where there is none.

    Source: Deerwester et al. 1990, Indexing by Latent Semantic Analysis; scikit-learn's ``HashingVectorizer`` (MurmurHash3),
    ``TfidfTransformer`` and ``TruncatedSVD``.

    Attributes:
        places: (b,) hashed places that are read, of ``PLACES``.
        rarity: (b,) by which they are weighted.
        axes: (b, k) float16, divided by s.
        centre: (k,) what is taken away, m / s.
    """

    places: Array
    rarity: Array
    axes: Array
    centre: Array

    @classmethod
    def fit(cls, texts: Sequence[str | None]) -> Ngrams | None:
        """Learn the directions from training rows; None where too few words return."""
        there = [text for text in texts if text is not None]
        there = there[:: -(-len(there) // LEARNED) or 1]
        if len(there) < FEWEST:
            return None
        counts = counted(there)
        seen = np.asarray((counts > 0).sum(0)).ravel()
        places = np.flatnonzero(seen >= LEAST_ROWS)
        if len(places) <= 2 * COMPONENTS:
            return None
        rarity = np.log((1 + len(there)) / (1 + seen[places])) + 1
        rows = weighted(counts[:, places], rarity)
        svd = TruncatedSVD(min(COMPONENTS, rows.shape[0] - 1), random_state=0).fit(rows)
        out = rows @ svd.components_.T
        spread = float(np.sqrt(out.var(0).mean())) or 1.0
        axes = (svd.components_.T / spread).astype(np.float16)
        centre = np.asarray(rows @ axes.astype(np.float32)).mean(0)
        return cls(places.astype(np.int32), rarity.astype(np.float32), axes, centre.astype(np.float32))

    @property
    def dim(self) -> int:
        """Directions k."""
        return self.axes.shape[1]

    def counts(self, texts: Sequence[str | None]) -> sparse.csr_matrix:
        """Counts at the places that are read (n, b)."""
        return counted([text or "" for text in texts])[:, self.places]

    def __call__(self, texts: Sequence[str | None]) -> Array:
        """Numbers (n, k) of these rows."""
        result, axes = np.zeros((len(texts), self.dim), np.float32), self.axes.astype(np.float32)
        for start in range(0, len(texts), BLOCK):
            part = texts[start : start + BLOCK]
            values = np.asarray(weighted(self.counts(part), self.rarity) @ axes, np.float32) - self.centre
            there = np.array([text is not None for text in part], dtype=bool)
            result[start : start + BLOCK] = np.where(there[:, None], values, 0.0)
        return result

    def state(self) -> dict[str, Array]:
        """Arrays to save."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def counted(texts: Sequence[str]) -> sparse.csr_matrix:
    """How often words and pairs of words stand in texts (n, PLACES)."""
    counter = HashingVectorizer(
        ngram_range=(1, 2), token_pattern=r"\w+", n_features=PLACES, alternate_sign=False, norm=None, dtype=np.float32
    )
    return counter.transform(cut(text, CHARACTERS) for text in texts)


def weighted(counts: sparse.csr_matrix, rarity: Array) -> sparse.csr_matrix:
    """Counts (n, b) damped, weighted by rarity, each row of length one."""
    rows = counts.copy().astype(np.float32)
    rows.data = 1 + np.log(rows.data)
    rows = rows @ sparse.diags(rarity.astype(np.float32))
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    return sparse.diags((1.0 / np.maximum(length, 1e-12)).astype(np.float32)) @ rows


def fit_ngrams(modalities: Sequence[Modality], frame: pd.DataFrame, inputs: Inputs, target: Array) -> dict[str, Ngrams]:
    """The modalities whose words tell more of the target than all that the encoders give, each with its directions.

    Args:
        modalities: of text or code, frozen.
        frame: the training rows.
        inputs: the same, scaled.
        target: (n, k) numbers to be told by a linear fit.
    """
    result = {}
    for modality in modalities:
        tokens = inputs.tokens.get(modality.name)
        if tokens is None or tokens.x.shape[1] != 1:  # sequences say themselves which words there are
            continue
        there = tokens.present.nonzero()[:, 0]
        rows = there[:: -(-len(there) // TRIED_ROWS) or 1].numpy()
        texts = joined(frame, modality)
        tried = Ngrams.fit([texts[row] for row in rows])
        if tried is None:
            continue
        known = [t.pooled()[rows, : None if n == modality.name else OTHERS] for n, t in inputs.tokens.items()]
        own = torch.cat(known, 1).double().numpy()
        words, left_out = tried([texts[row] for row in rows]), target[rows]
        before = ridge_error(own, left_out)
        if 1 - ridge_error(np.hstack([own, words]), left_out) / max(before, 1e-12) > GAIN:
            whole = tried if len(rows) == len(there) else Ngrams.fit(texts)
            result |= {modality.name: whole} if whole is not None else {}
    return result


def appended(
    ngrams: Mapping[str, Ngrams], modalities: Sequence[Modality], frame: pd.DataFrame, inputs: Inputs
) -> Inputs:
    """Scaled rows with their words behind what the encoders gave."""
    tokens, more = dict(inputs.tokens), {}
    for modality in modalities:
        words = ngrams.get(modality.name)
        if words is not None:
            more[modality.name] = words.dim
            tokens[modality.name] = _joined(tokens[modality.name], words, joined(frame, modality))
    return dataclasses.replace(inputs, tokens=tokens, words=more) if more else inputs


def _joined(tokens: Tokens, words: Ngrams, texts: Sequence[str | None]) -> Tokens:
    if not mapped.is_mapped(tokens.x):
        return Tokens(_beside(tokens, words, texts), tokens.mask)
    result = mapped.zeros((*tokens.x.shape[:2], tokens.dim + words.dim), limit=0)
    for rows in mapped.blocks(tokens.x):
        result[rows] = _beside(Tokens(tokens.x[rows], tokens.mask[rows]), words, texts[rows])
        mapped.release(result)
    return Tokens(result, tokens.mask)


def _beside(tokens: Tokens, words: Ngrams, texts: Sequence[str | None]) -> torch.Tensor:
    more = torch.from_numpy(words(texts))[:, None] * tokens.mask[..., None]
    return torch.cat([tokens.x, more], 2)


def without(inputs: Inputs) -> Inputs:
    """The same rows without words."""
    tokens = {n: Tokens(t.x[..., : t.dim - inputs.words.get(n, 0)], t.mask) for n, t in inputs.tokens.items()}
    return dataclasses.replace(inputs, tokens=tokens, words={})


def restored(states: Mapping[str, Mapping[str, Array]]) -> dict[str, Ngrams]:
    """From saved arrays by modality."""
    return {name: Ngrams(**state) for name, state in states.items()}
