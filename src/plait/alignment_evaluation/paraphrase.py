"""Paraphrase (MRPC, QQP): a threshold on the cosine, learned on the training part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plait.errors import TableError


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
    told = np.asarray(test_cosines, dtype=np.float64) > threshold
    truth = np.asarray(test_same, dtype=bool)
    if told.shape != truth.shape or not len(truth):
        raise TableError(f"paraphrase: {told.shape} cosines and {truth.shape} labels; there must be one each")
    return Paraphrase(
        len(truth), threshold, float((told == truth).mean()), _of_class(~told, ~truth), _of_class(told, truth)
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


def _of_class(told: np.ndarray, truth: np.ndarray) -> OfClass:
    both = float((told & truth).sum())
    precision = both / max(1, int(told.sum()))
    recall = both / max(1, int(truth.sum()))
    return OfClass(precision, recall, 2 * precision * recall / max(1e-12, precision + recall))
