"""Judging similarities: retrieval across modalities (R@k, median rank, precision), sentence pairs (STS) and paraphrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import precision_recall_fscore_support

from plait.alignment.network import units
from plait.base.errors import TableError

#: Where the paper's curve runs.
CURVE = (100, 200, 500, 1000, 2000, 5000, 10_000)
#: Queries whose similarities are in memory at a time.
BLOCK = 256


@dataclass(frozen=True)
class Retrieval:
    """What ``retrieval`` gives.

    Attributes:
        queries: that have something to find.
        gallery: what is searched.
        recall: k -> share of the queries with one of their own among the first k (R@k).
        median_rank: of the best of their own.
        found: k -> the paper's precision: a query counts as right if one of its own is among the first k. It is R@k by
            another name, and rises with k.
        precision: k -> the usual precision: the share of the first k that are the query's own, averaged; it falls with k.
    """

    queries: int
    gallery: int
    recall: dict[int, float]
    median_rank: float
    found: dict[int, float]
    precision: dict[int, float]


def retrieval(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_things: np.ndarray,
    gallery_things: np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
    curve: Sequence[int] = CURVE,
) -> Retrieval:
    """Search the gallery (m, D) for what each query (q, D) shows: things (q,) and (m,) are equal where it is the same.

    Ties count against the model: vectors that are all alike find nothing. Queries without anything to find, absent ones
    and absent rows of the gallery are left out; so are k beyond the gallery.

    Source: Faye et al., Context-Based Multimodal Fusion, section IV.C and figure 4 (``found``); R@k and median rank as in
        Hodosh et al. 2013.

    Example:
        >>> eye = np.eye(3, dtype=np.float32)
        >>> retrieval(eye, eye, np.arange(3), np.arange(3), ks=(1,)).recall
        {1: 1.0}
    """
    queries, query_things = _present(queries, query_things)
    gallery, gallery_things = _present(gallery, gallery_things)
    requested = np.isin(query_things, gallery_things)
    queries, query_things = queries[requested], query_things[requested]
    if not len(queries):
        raise TableError("retrieval: no query has anything to find in the gallery")
    kept = sorted({k for k in (*ks, *curve) if 1 <= k <= len(gallery)})
    best, precision = [], np.zeros(len(kept))
    for start in range(0, len(queries), BLOCK):
        own = query_things[start : start + BLOCK, None] == gallery_things[None]  # (block, m)
        similar = queries[start : start + BLOCK] @ gallery.T
        ordered = np.take_along_axis(own, np.lexsort((own, -similar), axis=1), axis=1)  # of equals its own come last
        best.append(ordered.argmax(1) + 1)
        counted = ordered.cumsum(1)
        precision += np.array([(counted[:, k - 1] / k).sum() for k in kept])
    rank = np.concatenate(best)
    share = {k: float((rank <= k).mean()) for k in kept}
    usual = dict(zip(kept, (precision / len(queries)).tolist(), strict=True))
    return Retrieval(
        len(queries),
        len(gallery),
        {k: share[k] for k in ks if k in share},
        float(np.median(rank)),
        {k: share[k] for k in curve if k in share},
        {k: usual[k] for k in curve if k in usual},
    )


def _present(vectors: np.ndarray, things: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vectors, things = np.asarray(vectors, dtype=np.float32), np.asarray(things)
    if len(vectors) != len(things):
        raise TableError(f"retrieval: {len(vectors)} vectors and {len(things)} things; there must be one each")
    there = np.any(vectors, axis=1)
    return units(vectors[there]), things[there]


def top_k(probabilities: np.ndarray, truth: np.ndarray, ks: Sequence[int] = (1, 2, 3, 4, 5)) -> dict[int, float]:
    """Share of rows whose class (n,) is among the k most likely of (n, C); where probabilities are equal, the last.

    A row without probabilities (NaN: it is absent) is wrong at every k but the number of classes.

    Source: Faye et al., Context-Based Multimodal Fusion, table IV.

    Example:
        >>> top_k(np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([1, 2]), ks=(1, 2))
        {1: 0.5, 2: 1.0}
        >>> top_k(np.array([[np.nan, np.nan, np.nan], [0.1, 0.2, 0.7]]), np.array([1, 2]), ks=(1, 2))
        {1: 0.5, 2: 0.5}
    """
    probabilities, truth = np.nan_to_num(np.asarray(probabilities)), np.asarray(truth)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1] or not len(truth):
        raise TableError(
            f"top-k: probabilities {probabilities.shape} and classes {truth.shape}; expected (n, C) and (n,)"
        )
    own = probabilities[np.arange(len(truth)), truth]
    rank = (probabilities >= own[:, None]).sum(1)  # a model that knows nothing is not right by chance of the order
    return {k: float((rank <= k).mean()) for k in ks if k <= probabilities.shape[1]}


#: Scores run from 0 to so much; classes are [0, 1), [1, 2), [2, 3), [3, 4), [4, 5].
TOP = 5
#: A hundred tolerances from 0.1 to 1, as the paper takes them.
TOLERANCES = np.linspace(0.1, 1.0, 100)


@dataclass(frozen=True)
class SentenceSimilarity:
    """What ``sentence_similarity`` gives.

    Attributes:
        rows: pairs of sentences.
        pearson: of cosine and score; 0 where all cosines are equal.
        spearman: of their ranks.
        tolerances: (100,).
        accuracy: (5, 100) share of the pairs of each class whose cosine is nearer to score / 5 than the tolerance; NaN for a
            class without pairs.
        overall: (100,) the same over all pairs.
    """

    rows: int
    pearson: float
    spearman: float
    tolerances: np.ndarray
    accuracy: np.ndarray
    overall: np.ndarray

    def at(self, tolerance: float) -> list[float]:
        """Accuracy of each class at the nearest tolerance of the hundred."""
        place = int(np.abs(self.tolerances - tolerance).argmin())
        return [float(v) for v in self.accuracy[:, place]]


def sentence_similarity(cosines: np.ndarray, scores: np.ndarray) -> SentenceSimilarity:
    """Judge cosines (n,) by scores (n,) from 0 to 5.

    The paper says neither on which scale a prediction is compared nor what is done with negative cosines. Tolerances from
    0.1 to 1 fit scores divided by 5; cosines are taken as they are.

    Source: Cer et al. 2017 (correlations); Faye et al., Context-Based Multimodal Fusion, section IV.B (tolerances).

    Example:
        >>> judged = sentence_similarity(np.array([0.0, 0.5, 1.0]), np.array([0.0, 2.5, 5.0]))
        >>> round(judged.pearson, 6), judged.at(0.1)[0]
        (1.0, 1.0)
    """
    cosines, scores = np.asarray(cosines, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if cosines.shape != scores.shape or len(scores) < 2:
        raise TableError(
            f"sentence similarity: {cosines.shape} cosines and {scores.shape} scores; one each, two or more"
        )
    if scores.min() < 0 or scores.max() > TOP:
        raise TableError(f"sentence similarity: scores from {scores.min():g} to {scores.max():g}; expected 0 to {TOP}")
    away = np.abs(cosines - scores / TOP)  # (n,)
    near = away[:, None] < TOLERANCES  # (n, 100)
    kind = np.minimum(scores.astype(np.int64), TOP - 1)
    accuracy = np.full((TOP, len(TOLERANCES)), np.nan)
    for place in np.unique(kind):
        accuracy[place] = near[kind == place].mean(0)
    still = np.ptp(cosines) == 0 or np.ptp(scores) == 0
    pearson = 0.0 if still else float(pearsonr(cosines, scores).statistic)
    spearman = 0.0 if still else float(spearmanr(cosines, scores).statistic)
    return SentenceSimilarity(len(scores), pearson, spearman, TOLERANCES, accuracy, near.mean(0))


@dataclass(frozen=True)
class OfClass:
    """How well one class is told; 0 where nothing was predicted, as the paper counts."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Paraphrase:
    """What ``paraphrase`` gives; accuracy is over both classes (the paper prints it in the rows of both)."""

    rows: int
    threshold: float
    accuracy: float
    different: OfClass
    same: OfClass


def paraphrase(
    train_cosines: np.ndarray, train_same: np.ndarray, test_cosines: np.ndarray, test_same: np.ndarray
) -> Paraphrase:
    """Judge cosines (n,) of test pairs by a threshold that was best on training pairs; the test part never chooses it.

    Source: Faye et al., Context-Based Multimodal Fusion, tables II and III; the paper does not say how its threshold was found.

    Example:
        >>> same = np.array([False, True])
        >>> paraphrase(np.array([0.2, 0.8]), same, np.array([0.3, 0.9]), same).accuracy
        1.0
    """
    threshold = best_threshold(np.asarray(train_cosines, dtype=np.float64), np.asarray(train_same, dtype=bool))
    value = np.asarray(test_cosines, dtype=np.float64) > threshold
    truth = np.asarray(test_same, dtype=bool)
    if value.shape != truth.shape or not len(truth):
        raise TableError(f"paraphrase: {value.shape} cosines and {truth.shape} labels; there must be one each")
    return Paraphrase(
        len(truth), threshold, float((value == truth).mean()), _of_class(~value, ~truth), _of_class(value, truth)
    )


def best_threshold(cosines: np.ndarray, same: np.ndarray) -> float:
    """The threshold with the best accuracy: half-way between two neighbouring cosines; of equals the lowest."""
    if cosines.shape != same.shape or not len(same):
        raise TableError(f"paraphrase: {cosines.shape} cosines and {same.shape} labels; there must be one each")
    order = np.argsort(cosines, kind="stable")
    sorted_cosines, sorted_same = cosines[order], same[order]
    # right[i]: pairs told right when the first i are called different
    right = np.concatenate([[0], np.cumsum(~sorted_same)]) + same.sum() - np.concatenate([[0], np.cumsum(sorted_same)])
    edges = np.concatenate(
        [[sorted_cosines[0] - 1], (sorted_cosines[1:] + sorted_cosines[:-1]) / 2, [sorted_cosines[-1] + 1]]
    )
    possible = np.concatenate([[True], sorted_cosines[1:] > sorted_cosines[:-1], [True]])  # not between two equal ones
    return float(edges[np.where(possible, right, -1).argmax()])


def _of_class(value: np.ndarray, truth: np.ndarray) -> OfClass:
    return OfClass(*map(float, precision_recall_fscore_support(truth, value, average="binary", zero_division=0)[:3]))
