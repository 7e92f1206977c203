"""Features of a table's categories, ordered categories, spellings and lists."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer

from plait.base.errors import ConfigError, TableError, nearest
from plait.data.column import Column
from plait.data.typed import typed_array
from plait.data.values import answers, items_of, known_order, mapped, text_of
from plait.encoders.tabular_numbers import Boolean, Date, Features, Figure, Limits, Number, View

#: Levels of one column that have a code of their own in the plain view.
_MOST_LEVELS = 10_000
#: Values of a column that hardly come new, and rows that hardly all hold new ones.
_FEW, _MANY = 50, 20


def _ranked(counts: Mapping[str, int], limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The levels with a feature of their own, and the other ones: the most frequent first, equal ones by name."""
    order = sorted(counts, key=lambda level: (-counts[level], level))
    kept = min(limits.max_categories, sum(count >= limits.min_count for count in counts.values()))
    return tuple(order[:kept]), tuple(order[kept:_MOST_LEVELS])


def _words(column: Column) -> tuple[list[str | None], np.ndarray]:
    """The distinct cells of these rows as texts, None for nothing, and where each row finds its own (n,)."""
    read = typed_array(column.series)
    known = answers(read, text_of)
    codes, place = np.unique(read.codes, return_inverse=True)
    return [known[code] or None for code in codes.tolist()], place


def _places(column: Column, levels: Sequence[str]) -> np.ndarray:
    """(n,) the place of each cell among the levels; -1 for another one, -2 for null."""
    place = {level: i for i, level in enumerate(levels)}
    words, codes = _words(column)
    places = np.array([-2 if w is None else place.get(w, -1) for w in words], dtype=np.int64)
    return np.asarray(places[codes])


@dataclasses.dataclass(frozen=True)
class Category(Features):
    """One flag per frequent category, one for all others, one for missing; a category never seen counts as another."""

    type: ClassVar[str] = "category"
    later: ClassVar[tuple[str, ...]] = ("rare",)
    levels: tuple[str, ...]
    other: bool
    missing: bool
    rare: tuple[str, ...] = ()  # levels without a flag

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Learn the categories and which are frequent."""
        levels, rare = _ranked(column.counts, limits)
        return cls(
            column.name, levels, len(levels) < column.distinct, sum(column.counts.values()) < len(column.series), rare
        )

    def labels(self) -> list[str]:
        return [f"= {level}" for level in self.levels] + ["other"] * self.other + ["missing"] * self.missing

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.levels + self.rare

    def unseen(self, column: Column) -> np.ndarray | None:
        """(n,) bool: cells that no row of the fit had; None where not all that it saw are kept, or ``view`` tells of it."""
        kept = len(self.vocabulary) < _MOST_LEVELS and (bool(self.rare) or not self.other)
        codes = _places(column, self.vocabulary)
        return codes == -1 if kept and self._surprise(column, codes) is None else None

    def view(self, column: Column) -> View:
        """(n, levels + 2), and the place among all levels."""
        codes = _places(column, self.vocabulary)
        many = len(self.levels)
        other, gone = many if self.other else -1, many + self.other if self.missing else -1
        flagged = np.where(codes == -2, gone, np.where((codes < 0) | (codes >= many), other, codes))
        flags = np.zeros((len(codes), len(self.labels())), dtype=np.float32)
        rows = np.flatnonzero(flagged >= 0)
        flags[rows, flagged[rows]] = 1.0
        return View(flags, codes=np.maximum(codes, -1), surprise=self._surprise(column, codes))

    def _surprise(self, column: Column, codes: np.ndarray) -> str | None:
        """What to say where many rows hold none of the few values that there were."""
        cells = np.flatnonzero(codes != -2)
        few = 0 < len(self.vocabulary) <= _FEW
        if not few or len(cells) < _MANY or (codes[cells] >= 0).any():
            return None
        example = text_of(column.series.iloc[cells[0]])[:30]
        usual = self.vocabulary[0][:30]
        return f"none of the {len(cells):,} in '{self.name}' (e.g. {example!r}) is a value of the fit, as {usual!r}"


@dataclasses.dataclass(frozen=True)
class Rank(Features):
    """The place of a category in its order, from -1 for the lowest to 1 for the highest; 0 where it has none."""

    type: ClassVar[str] = "rank"
    order: tuple[str, ...]

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Take the order that is given (``low < medium < high``), else the usual one of such words.

        Raises:
            TableError: the words have no usual order, or most cells are not in the given one.
        """
        order = tuple(w.strip() for w in form.split("<")) if form else known_order(column.counts)
        where, example = f"encoder tabular: column '{column.name}'", ", ".join(map(repr, list(column.counts)[:4]))
        if order is None or len(set(order)) < 2:
            raise TableError(f"{where}: no order is known of {example}; write it: 'ordinal low < medium < high'")
        if len({word.lower() for word in order}) < len(order):
            raise TableError(f"{where}: a word stands twice in its order {' < '.join(order)}; keep one")
        result = cls(column.name, order)
        if (result._ranks(column) >= 0).sum() < 0.5 * column.present:
            raise TableError(f"{where}: most cells ({example}) are not in its order {' < '.join(order)}; correct it")
        return result

    def labels(self) -> list[str]:
        return ["rank"]

    def number_names(self) -> list[str]:
        return ["rank"]

    def _ranks(self, column: Column) -> np.ndarray:
        place = {level.lower(): i for i, level in enumerate(self.order)}
        words, codes = _words(column)
        ranks = np.array([-1 if w is None else place.get(w.lower(), -1) for w in words], dtype=np.int64)
        return np.asarray(ranks[codes])

    def view(self, column: Column) -> View:
        """(n, 1), and the place from 0 on."""
        ranks = self._ranks(column)
        scaled = np.where(ranks < 0, 0.0, 2.0 * ranks / (len(self.order) - 1) - 1.0)
        return View(scaled[:, None], numbers=np.where(ranks < 0, np.nan, ranks)[:, None])


#: Spellings from which a category has components of its letter groups (skrub's threshold), places that the groups are
#: hashed to, and spellings that the directions are learned from.
_SPELLINGS, _PLACES, _LEARNED = 40, 4096, 20_000


@dataclasses.dataclass(frozen=True, eq=False)
class Spelling(Features):
    """How a category is spelled, so that what is written alike is near: job titles, companies, names.

    Formula: groups of 3 and 4 letters within words, hashed, weighted by their rarity, of length one, times the first right
    singular vectors of the training rows' distinct spellings.
    Source: scikit-learn's ``TfidfTransformer`` and ``TruncatedSVD``, as in skrub's ``StringEncoder``.
    """

    type: ClassVar[str] = "spelling"
    places: np.ndarray  # (b,) of groups that were seen
    weights: np.ndarray  # (b,) their rarity
    axes: np.ndarray  # (b, k)

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self | None:
        """Learn the directions; None where the spellings are few, or hardly words."""
        spellings = list(column.counts)
        letters = np.mean([sum(map(str.isalpha, s)) for s in column.sample]) if spellings else 0
        if limits.ngrams == 0 or len(spellings) < _SPELLINGS or letters < 3:
            return None
        counts = _groups(spellings[:: -(-len(spellings) // _LEARNED)])
        seen = np.asarray((counts > 0).sum(0)).ravel()
        places = np.flatnonzero(seen)
        weights = np.log((1 + counts.shape[0]) / (1 + seen[places])) + 1
        rows = _unit(counts[:, places] @ sparse.diags(weights))
        svd = TruncatedSVD(min(limits.ngrams, *(n - 1 for n in rows.shape)), random_state=0).fit(rows)
        spread = np.sqrt(svd.explained_variance_.mean()) or 1.0
        axes = (svd.components_.T / spread).astype(np.float16)
        return cls(column.name, places.astype(np.int32), weights.astype(np.float32), axes)

    def labels(self) -> list[str]:
        return [f"spelling {i + 1}" for i in range(self.axes.shape[1])]

    def number_names(self) -> list[str]:
        return self.labels()

    def view(self, column: Column) -> View:
        """(n, k)."""
        words, codes = _words(column)
        counts = _groups([*(w or "" for w in words), ""])[:-1, self.places]
        result = np.asarray(_unit(counts @ sparse.diags(self.weights)) @ self.axes.astype(np.float32), dtype=np.float32)
        gone = np.array([w is None for w in words], dtype=bool)
        return View(result[codes], numbers=np.where(gone[:, None], np.nan, result)[codes])


def _groups(texts: Sequence[str]) -> sparse.csr_matrix:
    """Counts of the groups of letters (n, places)."""
    counter = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 4), n_features=_PLACES, alternate_sign=False, norm=None, dtype=np.float32
    )
    return counter.transform(texts)


def _unit(rows: sparse.csr_matrix) -> sparse.csr_matrix:
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(1)).ravel())
    return sparse.diags(1.0 / np.maximum(length, 1e-12)) @ rows


@dataclasses.dataclass(frozen=True)
class List(Features):
    """One flag per frequent item, one for any other item, how many there are, and a flag for missing."""

    type: ClassVar[str] = "list"
    levels: tuple[str, ...]
    most: int
    missing: bool

    @classmethod
    def fit(cls, column: Column, limits: Limits, form: str) -> Self:
        """Learn the frequent items."""
        rows = mapped(column.series, items_of)
        counts = Counter(item for row in rows for item in row or ())
        most = max((len(row) for row in rows if row), default=1)
        return cls(column.name, _ranked(counts, limits)[0], most, any(row is None for row in rows))

    def labels(self) -> list[str]:
        return [*(f"has {level}" for level in self.levels), "other", "count", *(["missing"] if self.missing else [])]

    def number_names(self) -> list[str]:
        return [*(f"has {level}" for level in self.levels), "count"]

    def view(self, column: Column) -> View:
        """(n, levels + 3); for trees the flags and the number of items."""
        rows = mapped(column.series, items_of)
        place = {level: i for i, level in enumerate(self.levels)}
        flags = np.zeros((len(rows), len(place) + 1), dtype=np.float32)
        for i, row in enumerate(rows):
            flags[i, [place.get(item, len(place)) for item in row or ()]] = 1.0
        count = np.array([[len(row or ())] for row in rows], dtype=np.float32).reshape(-1, 1)
        gone = np.array([[row is None] for row in rows], dtype=bool).reshape(-1, 1)
        features = [flags, np.minimum(count / self.most, 2.0), *([gone] if self.missing else [])]
        numbers = np.where(gone, np.nan, np.hstack([flags[:, :-1], count]))
        return View(np.hstack(features), numbers=numbers)


#: Type of a column -> the features that it has, those that decline left out.
_PARTS: dict[str, tuple[type[Features], ...]] = {
    "number": (Number,),
    "code": (Figure, Category),
    "category": (Category, Spelling),
    "ordinal": (Rank, Category),
    "boolean": (Boolean,),
    "list": (List,),
    "date": (Date,),
}
_BY_TYPE: dict[str, type[Features]] = {part.type: part for parts in _PARTS.values() for part in parts}


def features_of(column: Column, text: str, limits: Limits) -> list[Features]:
    """The features of a column of the given type."""
    word, _, form = text.partition(" ")
    if word not in _PARTS:
        raise ConfigError(f"encoder tabular: column '{column.name}': unknown type '{text}': {nearest(word, _PARTS)}")
    return [part for variant in _PARTS[word] if (part := variant.fit(column, limits, form)) is not None]


def restore(state: Mapping[str, Any]) -> Features:
    """The features that gave this state."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state.items() if k != "type"}
    return _BY_TYPE[state["type"]](**fields)
