"""The words of a text and how it looks, beside what a frozen encoder says of its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
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
from plait.data.cells import texts_of
from plait.data.modality import Modality
from plait.encoders.pairs import FEWEST, TRIED_ROWS, ridge_error
from plait.encoders.shape import NAMES, Scaled, measured
from plait.encoders.word_counts import KINDS, counted, frequent, weighted
from plait.encoders.word_ridge import WordRidge

Array = NDArray[Any]
#: What is counted -> counts (n, PLACES); of ``shape`` measures (n, NAMES).
Counts = Mapping[str, Any]
#: Directions that are kept of words and of letters.
COMPONENTS = 32
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
#: Numbers of the other kinds at most, and how loud they are beside the rest: many words by themselves are half as loud.
SCALED: Mapping[str, tuple[int, float]] = {"shape": (len(NAMES), 1.0), "frequent": (200, 0.5)}
#: What stands beside a text's features, in the order in which it is asked whether it helps.
ASKED: Sequence[Sequence[str]] = (("words", "letters"), ("shape",), ("frequent",))
#: What a kind begins with whose numbers are a ridge's answer (they are added up); columns that are counted by themselves at most.
RIDGE, SEVERAL = "ridge", 4


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
        places, rarity = frequent(counts)
        if len(places) <= 2 * COMPONENTS:
            return None
        rows = weighted(counts[:, places], rarity)
        if 1 - np.square(np.asarray(rows.mean(0))).sum() < ALIKE:
            return None
        svd = TruncatedSVD(min(COMPONENTS, rows.shape[0] - 1), random_state=0).fit(rows)
        spread = float(np.sqrt((rows @ svd.components_.T).var(0).mean())) or 1.0
        axes = (svd.components_.T / spread).astype(np.float16)
        centre = np.asarray(rows @ axes.astype(np.float32)).mean(0)
        return cls(places, rarity, axes, centre.astype(np.float32))

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
    words that vary most also stand by themselves, beside how a text looks (``plait.encoders.shape``); last stands what a ridge on
    all u at once answers (``plait.encoders.word_ridge``).

    Shape: texts (n,), None where there is none, of several columns followed by those of each; out (n, k) float32, zeros where
    there is none.

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
        return sum(one.dim for kind, one in self.parts.items() if not kind.startswith(RIDGE)) + self.answers

    @property
    def answers(self) -> int:
        """How many of them, the last ones, are a ridge's."""
        return next((one.dim for kind, one in self.parts.items() if kind.startswith(RIDGE)), 0)

    def of(self, counts: Counts) -> Array:
        """Numbers (n, k) from counts (n, PLACES)."""
        numbers = {kind: one(counts[kind][:, one.places]) for kind, one in self.parts.items()}
        return np.asarray(beside(numbers, np.hstack))

    def __call__(self, *texts: Sequence[str | None]) -> Array:
        """Numbers (n, k) of these rows."""
        result = np.zeros((len(texts[0]), self.dim), np.float32)
        for start in range(0, len(result), ROWS):
            part = [column[start : start + ROWS] for column in texts]
            there = np.array([text is not None for text in part[0]], dtype=bool)
            result[start : start + ROWS] = np.where(there[:, None], self.of(_counts(part, self.parts)), 0.0)
        return result

    def counts(self, *texts: Sequence[str | None]) -> Counts:
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
        own: dict[str, dict[str, Array]] = {}
        for key, array in state.items():
            kind, _, field = key.rpartition(".")
            own.setdefault(kind, {})[field] = array
        usual = [kind for kinds in ASKED for kind in kinds]
        order = [*(kind for kind in usual if kind in own), *sorted(kind for kind in own if kind.startswith(RIDGE))]
        return cls({kind: (Scaled if kind in SCALED else Directions)(**own[kind]) for kind in order})


def beside(numbers: Mapping[str, Any], stack: Callable[[list[Any]], Any]) -> Any:
    """Numbers of all kinds side by side; those of a ridge are added up and stand last."""
    ridge = [part for kind, part in numbers.items() if kind.startswith(RIDGE)]
    plain = [part for kind, part in numbers.items() if not kind.startswith(RIDGE)]
    return stack([*plain, sum(ridge[1:], ridge[0])] if ridge else plain)


def _learned(kind: str, counts: Any) -> Directions | Scaled | None:
    return Scaled.fit(counts, *SCALED[kind]) if kind in SCALED else Directions.fit(counts)


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
        texts = texts_of(frame, modality)
        tried = there[:: -(-len(there) // TRIED_ROWS)]
        some = [[column[row] for row in tried] for column in texts]
        counts = _counts(some)
        judge = Judge(_features(inputs, name, tried), target[tried], None if groups is None else groups[tried])
        words = _worthwhile(counts, judge)
        if words is None:
            continue
        ridge = _ridge(some, counts, judge)
        each = max(counts[kind].nnz for kind in KINDS) / len(tried)
        most = min(LEARNED, int(COUNTED / max(each, 1.0)))
        if len(tried) < min(most, len(there)):
            more = [texts[0][row] for row in there[:: -(-len(there) // most)]]
            words = Ngrams.fit(_counts([more], words.parts)) or words
        if ridge is not None:
            words = Ngrams({**words.parts, **ridge[0]})
        learned[name] = words
        tokens[name] = _joined(tokens[name], words, texts)
        if ridge is not None:  # rows that it learned from are answered by what other rows taught
            tokens[name].x[tried, 0, -words.answers :] = torch.from_numpy(ridge[1])
    sizes = {name: words.dim for name, words in learned.items()}
    return learned, dataclasses.replace(inputs, tokens=tokens, words=sizes)


class Judge:
    """Asks of training rows whether numbers tell a ridge more of the target (n, k) than features (n, D) and what was kept before.

    Args:
        known: features.
        target: numbers to be told.
        groups: (n,) integers; rows of one group are left out together. None: each row by itself.
    """

    def __init__(self, known: Array, target: Array, groups: Array | None) -> None:
        self.known, self.target, self.groups = known, target, groups
        self.error = ridge_error(known, target, groups)

    def keeps(self, numbers: Array) -> bool:
        """Whether these (n, d) are worth keeping; if so, they are known from now on."""
        more = np.hstack([self.known, numbers])
        error = ridge_error(more, self.target, self.groups)
        if error >= (1 - GAIN) * self.error:
            return False
        self.known, self.error = more, error
        return True


def _worthwhile(counts: Counts, judge: Judge) -> Ngrams | None:
    """The kinds that are worth keeping; None: nothing is."""
    kept: dict[str, Directions | Scaled] = {}
    for kinds in ASKED:
        part = Ngrams.fit({kind: counts[kind] for kind in kinds})
        if part is not None and judge.keeps(part.of(counts)):
            kept |= part.parts
    return Ngrams(kept) if kept else None


def _ridge(
    texts: Sequence[Sequence[str | None]], joined: Counts, judge: Judge
) -> tuple[dict[str, Directions | Scaled], Array] | None:
    """A ridge on all words of a text, of several columns also of each; and its answers to its rows, cross-fitted (n, c)."""
    places = range(len(texts) if len(texts) <= 1 + SEVERAL else 1)
    kinds = [f"{RIDGE}_{kind}_{place}" for kind in sorted(KINDS) for place in places]
    counts = _counts(texts, kinds, {(kind, 0): joined[kind] for kind in KINDS})
    read = {kind: frequent(part) for kind, part in counts.items()}
    read = {kind: one for kind, one in read.items() if len(one[0])}
    if not read:
        return None
    rows = [weighted(counts[kind][:, where], rarity) for kind, (where, rarity) in read.items()]
    ridge = WordRidge.fit(rows, judge.target, judge.groups)
    spread = float(np.sqrt(ridge.crossed.var(0).mean())) or 1.0
    centre = ridge.crossed.mean(0) / spread
    answers = ridge.crossed / spread - centre
    if not judge.keeps(answers):
        return None
    shift = (centre / len(read)).astype(np.float32)  # each kind takes its part away
    maps = [(one / spread).astype(np.float16) for one in ridge.maps]
    parts = {kind: Directions(*read[kind], axes, shift) for kind, axes in zip(read, maps, strict=True)}
    return dict(parts), answers.astype(np.float32)


def _counts(
    texts: Sequence[Sequence[str | None]],
    kinds: Collection[str] = (*KINDS, *SCALED),
    known: Mapping[tuple[str, int], Any] | None = None,
) -> Counts:
    """Counts and measures of the joined text, of kinds such as ``ridge_words_2`` of a column; ``known`` ones are taken."""
    cells = [[text or "" for text in column] for column in texts]
    made = dict(known or {})
    result: dict[str, Any] = {}
    for kind in kinds:
        what, place = source_of(kind)
        if (what, place) not in made:
            made[what, place] = measured(cells[place]) if what == "shape" else counted(cells[place], what)
        result[kind] = made[what, place]
    return result


def source_of(kind: str) -> tuple[str, int]:
    """What is counted, and where: 0 is the joined text, i the i-th column.

    Example:
        >>> source_of("frequent"), source_of("ridge_letters_1")
        (('words', 0), ('letters', 1))
    """
    if kind.startswith(RIDGE):
        _, what, place = kind.split("_")
        return what, int(place)
    return ("words" if kind == "frequent" else kind), 0


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
            tokens[modality.name] = _joined(tokens[modality.name], words, texts_of(frame, modality))
    return dataclasses.replace(inputs, tokens=tokens, words=more) if more else inputs


def _joined(tokens: Tokens, words: Ngrams, texts: Sequence[Sequence[str | None]]) -> Tokens:
    if not mapped.is_mapped(tokens.x):
        return Tokens(_beside(tokens, words, texts), tokens.mask)
    result = mapped.zeros((*tokens.x.shape[:2], tokens.dim + words.dim), limit=0)
    for rows in mapped.blocks(tokens.x):
        result[rows] = _beside(Tokens(tokens.x[rows], tokens.mask[rows]), words, [column[rows] for column in texts])
        mapped.release(result)
    return Tokens(result, tokens.mask)


def _beside(tokens: Tokens, words: Ngrams, texts: Sequence[Sequence[str | None]]) -> torch.Tensor:
    more = torch.from_numpy(words(*texts))[:, None] * tokens.mask[..., None]
    return torch.cat([tokens.x, more], 2)


def without(inputs: Inputs) -> Inputs:
    """The same rows without words."""
    tokens = {n: Tokens(t.x[..., : t.dim - inputs.words.get(n, 0)], t.mask) for n, t in inputs.tokens.items()}
    return dataclasses.replace(inputs, tokens=tokens, words={})
