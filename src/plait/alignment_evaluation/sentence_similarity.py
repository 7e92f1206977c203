"""Sentence similarity (STS): correlations, and the accuracy under a tolerance of Faye et al., figure 3."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import pearsonr, spearmanr

from plait.errors import TableError

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
