"""The words of a text and how it looks, beside what a frozen encoder says of its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from plait.base import mapped
from plait.base.inputs import Inputs
from plait.base.tokens import Tokens
from plait.data.cells import joined
from plait.data.modality import Modality
from plait.encoders.pairs import FEWEST, TRIED_ROWS, ridge_error
from plait.encoders.shape import NAMES, Scaled, blocks_of, by_sign, measured, signs_of
from plait.encoders.syntax import cut

Array = NDArray[Any]
#: What is counted -> counts (n, PLACES); of ``shape`` measures (n, NAMES).
Counts = Mapping[str, Any]
#: Directions that are kept of words and of letters; places that each is hashed to; rows that a word must stand in.
COMPONENTS, PLACES, LEAST_ROWS = 32, 1 << 12, 3
#: Rows, evenly spread, that directions are learned from at most, and counts of one kind (of long texts fewer rows have as many).
LEARNED, COUNTED = 20_000, 1 << 24
#: They are kept if a ridge gains this share of its error by them, on rows that were left out.
GAIN = 0.01
#: Directions of the other modalities that the ridge sees.
OTHERS = 64
#: Variance, of rows of length one, below which texts are all alike and no direction tells them apart.
ALIKE = 1e-4
#: Rows whose words are counted at a time.
ROWS = 4096
#: What is counted, and how many characters of a text are read for it.
KINDS: Mapping[str, int] = {"words": 20_000, "letters": 4_000}
#: Numbers of the other kinds at most, and how loud they are beside the rest: many words by themselves are half as loud.
SCALED: Mapping[str, tuple[int, float]] = {"shape": (len(NAMES), 1.0), "frequent": (200, 0.5)}
#: What stands beside a text's features, in the order in which it is asked whether it helps.
ASKED: Sequence[Sequence[str]] = (("words", "letters"), ("shape",), ("frequent",))
#: Odd numbers of 64 bit by which characters, words and groups become keys, and keys places (Knuth 1973, section 6.4).
SIGN, PAIR, PLACE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93)


@dataclasses.dataclass(frozen=True, eq=False)
class Directions:
    """Counts of what stands in texts, as numbers on the directions of most variance.

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
    def fit(cls, counts: sparse.csr_matrix) -> Directions | None:
        """Learn from counts (n, PLACES); None where too little returns."""
        seen = np.asarray((counts > 0).sum(0)).ravel()
        places = np.flatnonzero(seen >= LEAST_ROWS)
        if len(places) <= 2 * COMPONENTS:
            return None
        rarity = (np.log((1 + counts.shape[0]) / (1 + seen[places])) + 1).astype(np.float32)
        rows = weighted(counts[:, places], rarity)
        if 1 - np.square(np.asarray(rows.mean(0))).sum() < ALIKE:
            return None
        svd = TruncatedSVD(min(COMPONENTS, rows.shape[0] - 1), random_state=0).fit(rows)
        spread = float(np.sqrt((rows @ svd.components_.T).var(0).mean())) or 1.0
        axes = (svd.components_.T / spread).astype(np.float16)
        centre = np.asarray(rows @ axes.astype(np.float32)).mean(0)
        return cls(places.astype(np.int32), rarity, axes, centre.astype(np.float32))

    @property
    def dim(self) -> int:
        """Numbers k."""
        return int(self.axes.shape[1])

    def __call__(self, counts: sparse.csr_matrix) -> Array:
        """Numbers (n, k) from counts (n, b)."""
        return np.asarray(weighted(counts, self.rarity) @ self.axes.astype(np.float32), np.float32) - self.centre


@dataclasses.dataclass(frozen=True, eq=False)
class Ngrams:
    """Which words, pairs of words and groups of 3 and 4 letters stand in a text, and how it looks, as a few numbers.

    Formula: z = (u V - m) / s; u_w = (1 + log c_w) (1 + log((1 + n) / (1 + n_w))), of length one, with c_w the count of the
    word, pair or group w and n_w of n training rows having it; V the first right singular vectors; m, s of the training rows. The
    words that vary most also stand by themselves, beside how a text looks (``plait.encoders.shape``).

    Shape: texts (n,), None where there is none; out (n, k) float32, zeros where there is none.

    Source: Deerwester et al. 1990, Indexing by Latent Semantic Analysis; Weinberger et al. 2009, feature hashing,
    arXiv 0902.2206; weighted and reduced as by scikit-learn's ``TfidfTransformer`` and ``TruncatedSVD``. Counted by numpy, which
    is ten times as fast as ``HashingVectorizer``.
    """

    parts: Mapping[str, Directions | Scaled]

    @classmethod
    def fit(cls, counts: Counts) -> Ngrams | None:
        """Learn the directions from training rows; None where too little returns."""
        learned = {kind: _learned(kind, part) for kind, part in counts.items()}
        parts = {kind: one for kind, one in learned.items() if one is not None}
        return cls(parts) if parts else None

    @property
    def dim(self) -> int:
        """Numbers k."""
        return sum(one.dim for one in self.parts.values())

    def of(self, counts: Counts) -> Array:
        """Numbers (n, k) from counts (n, PLACES)."""
        return np.hstack([one(counts[kind][:, one.places]) for kind, one in self.parts.items()])

    def __call__(self, texts: Sequence[str | None]) -> Array:
        """Numbers (n, k) of these rows."""
        result = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), ROWS):
            part = texts[start : start + ROWS]
            there = np.array([text is not None for text in part], dtype=bool)
            result[start : start + ROWS] = np.where(there[:, None], self.of(_counts(part, self.parts)), 0.0)
        return result

    def counts(self, texts: Sequence[str | None]) -> Counts:
        """Counts at the places that are read (n, b)."""
        return {kind: part[:, self.parts[kind].places] for kind, part in _counts(texts, self.parts).items()}

    def state(self) -> dict[str, Array]:
        """Arrays to save."""
        return {
            f"{kind}.{field.name}": getattr(one, field.name)
            for kind, one in self.parts.items()
            for field in dataclasses.fields(one)
        }

    @classmethod
    def restore(cls, state: Mapping[str, Array]) -> Ngrams:
        """From saved arrays."""
        own = {
            kind: {k.removeprefix(f"{kind}."): v for k, v in state.items() if k.startswith(f"{kind}.")}
            for asked in ASKED
            for kind in asked
        }
        return cls(
            {kind: (Scaled if kind in SCALED else Directions)(**arrays) for kind, arrays in own.items() if arrays}
        )


def _learned(kind: str, counts: Any) -> Directions | Scaled | None:
    return Scaled.fit(counts, *SCALED[kind]) if kind in SCALED else Directions.fit(counts)


def counted(texts: Sequence[str], kind: str) -> sparse.csr_matrix:
    """How often words and pairs of words, or groups of 3 and 4 letters, stand in texts (n, PLACES).

    Formula: a word's key is sum_i c_i A^i over its characters, of a pair (key_1 B + key_2) with key_2 that of the second word; of
    a group sum_i c_i A^(i + size); blanks that follow each other are one; place = (key C) >> 52; all modulo 2^64.
    """
    lowered = [f" {cut(text, KINDS[kind]).lower()} " for text in texts]
    parts = [_block(lowered[some], kind) for some in blocks_of(lowered)]
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((0, PLACES), dtype=np.float32)


def _block(lowered: Sequence[str], kind: str) -> sparse.csr_matrix:
    rows, keys = (_words if kind == "words" else _letters)(*signs_of(lowered))
    places = (keys * PLACE) >> np.uint64(64 - PLACES.bit_length() + 1)
    ones = np.ones(len(rows), np.float32)
    return sparse.coo_matrix((ones, (rows, places.astype(np.int64))), (len(lowered), PLACES)).tocsr()


def _words(signs: Array, rows: Array) -> tuple[Array, Array]:
    """Rows and keys of words and of pairs of words; a text's first and last sign is a blank."""
    inside = by_sign(signs, lambda sign: sign.isalnum() or sign == "_", bool)
    first = np.flatnonzero(inside[1:] & ~inside[:-1]) + 1
    last = np.flatnonzero(inside[:-1] & ~inside[1:])
    powers = np.cumprod(np.full(len(signs), SIGN))
    summed = np.cumsum(np.where(inside, signs, 0).astype(np.uint64) * powers)
    inverse = np.cumprod(np.full(len(signs), np.uint64(pow(int(SIGN), -1, 1 << 64))))
    keys = (summed[last] - summed[first - 1]) * inverse[first]
    own = rows[first]
    both = own[1:] == own[:-1]
    pairs = keys[:-1][both] * PAIR + keys[1:][both]
    return np.concatenate([own, own[1:][both]]), np.concatenate([keys, pairs])


def _letters(signs: Array, rows: Array) -> tuple[Array, Array]:
    """Rows and keys of groups of 3 and 4 signs; blanks that follow each other are one."""
    blank = by_sign(signs, str.isspace, bool)
    kept = np.ones(len(signs), dtype=bool)
    kept[1:] = ~(blank[1:] & blank[:-1] & (rows[1:] == rows[:-1]))
    signs, rows = np.where(blank, 32, signs)[kept].astype(np.uint64), rows[kept]
    groups = []
    for size in (3, 4):
        count = max(0, len(signs) - size + 1)
        powers = (np.uint64(pow(int(SIGN), i + size, 1 << 64)) for i in range(size))
        keys = np.zeros(count, np.uint64)
        for i, power in enumerate(powers):
            keys += signs[i : i + count] * power
        same = rows[len(rows) - count :] == rows[:count]
        groups.append((rows[:count][same], keys[same]))
    return np.concatenate([r for r, _ in groups]), np.concatenate([k for _, k in groups])


def weighted(counts: sparse.csr_matrix, rarity: Array) -> sparse.csr_matrix:
    """Counts (n, b) damped, weighted by rarity, each row of length one."""
    rows = counts.copy()
    rows.data = (1 + np.log(rows.data)) * rarity[rows.indices]
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    return sparse.diags((1.0 / np.maximum(length, 1e-12)).astype(np.float32)) @ rows


def fit_ngrams(
    modalities: Sequence[Modality], frame: pd.DataFrame, inputs: Inputs, target: Array, groups: Array | None = None
) -> tuple[dict[str, Ngrams], Inputs]:
    """The modalities whose words or looks tell more of the target than all that the encoders give; and the rows with them.

    Args:
        modalities: frozen; those of text or code are asked.
        frame: the training rows.
        inputs: the same, scaled.
        target: (n, k) numbers to be told by a linear fit.
        groups: (n,) integers; rows of one group are left out together. None: each row by itself.
    """
    learned: dict[str, Ngrams] = {}
    tokens = dict(inputs.tokens)
    for modality in modalities:
        name = modality.name
        if modality.kind not in ("text", "code") or name not in tokens or tokens[name].x.shape[1] != 1:
            continue  # of a sequence the tokens say themselves which words there are
        there = inputs.present[name].nonzero()[:, 0].numpy()
        if len(there) < FEWEST:
            continue
        texts = joined(frame, modality)
        tried = there[:: -(-len(there) // TRIED_ROWS)]
        counts = _counts([texts[row] for row in tried])
        together = None if groups is None else groups[tried]
        words = _worthwhile(counts, _features(inputs, name, tried), target[tried], together)
        if words is None:
            continue
        each = max(counts[kind].nnz for kind in KINDS) / len(tried)
        most = min(LEARNED, int(COUNTED / max(each, 1.0)))
        if len(tried) < min(most, len(there)):
            more = [texts[row] for row in there[:: -(-len(there) // most)]]
            words = Ngrams.fit(_counts(more, words.parts)) or words
        learned[name] = words
        tokens[name] = _joined(tokens[name], words, texts)
    sizes = {name: words.dim for name, words in learned.items()}
    return learned, dataclasses.replace(inputs, tokens=tokens, words=sizes)


def _worthwhile(counts: Counts, known: Array, target: Array, groups: Array | None) -> Ngrams | None:
    """What tells a ridge more of the target (n, k) than ``known`` features (n, D) and what was kept before; None: nothing."""
    kept: dict[str, Directions | Scaled] = {}
    error = ridge_error(known, target, groups)
    for kinds in ASKED:
        part = Ngrams.fit({kind: counts[kind] for kind in kinds})
        if part is None:
            continue
        more = np.hstack([known, part.of(counts)])
        left = ridge_error(more, target, groups)
        if left < (1 - GAIN) * error:
            kept, known, error = {**kept, **part.parts}, more, left
    return Ngrams(kept) if kept else None


def _counts(texts: Sequence[str | None], kinds: Collection[str] = (*KINDS, *SCALED)) -> Counts:
    known = [text or "" for text in texts]
    result: dict[str, Any] = {kind: counted(known, kind) for kind in KINDS if kind in kinds}
    if "shape" in kinds:
        result["shape"] = measured(known)
    if "frequent" in kinds:
        result["frequent"] = result["words"] if "words" in result else counted(known, "words")
    return result


def _features(inputs: Inputs, name: str, rows: Array) -> Array:
    """What the ridge sees without words (n, D) float64."""
    known = [t.pooled()[rows, : None if n == name else OTHERS] for n, t in inputs.tokens.items()]
    known += [t.pooled()[rows] for t in inputs.compared.values()]
    return torch.cat(known, 1).double().numpy()


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
