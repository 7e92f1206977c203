"""Sentence similarity (STS): correlations, and the accuracy under a tolerance of Faye et al., figure 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr

from plait.base.errors import TableError

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
    both = float((value & truth).sum())
    precision = both / max(1, int(value.sum()))
    recall = both / max(1, int(truth.sum()))
    return OfClass(precision, recall, 2 * precision * recall / max(1e-12, precision + recall))
