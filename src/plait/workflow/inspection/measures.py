"""Every measure of every representation, on rows the probes did not learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from plait.evaluation.learners import fit_linear
from plait.metrics.base import MAIN, metrics
from plait.metrics.bootstrap import interval, resample_outputs
from plait.workflow.inspection.embeddings import ALL, Embedding
from plait.workflow.inspection.result import Rows

#: Rows that pairs are made of, at most: their number grows with the square.
PAIRED_ROWS = 1000


def measures(run: str, result: Sequence[Embedding], rows: Rows, *, seed: int = 0) -> pd.DataFrame:
    """One row per representation: run, modality, place, width, and what is measured of it.

    ``probe`` with its interval and ``chance``; ``class_alignment`` and ``uniformity`` on test rows (Wang and Isola).
    """
    return pd.DataFrame([_measured(run, each, rows, seed) for each in result])


def _measured(run: str, each: Embedding, rows: Rows, seed: int) -> dict[str, Any]:
    known = rows.y >= 0 if rows.task == "classification" else np.ones(len(rows.frame), bool)
    train = np.flatnonzero(rows.is_train & each.present & known)
    test = np.flatnonzero(~rows.is_train & each.present)
    probe = linear_probe(each.x[train], rows.y[train], each.x[test], rows.y[test], rows.task, seed=seed)
    few = test[:PAIRED_ROWS]
    return {
        "run": run,
        "modality": each.modality,
        "place": each.place,
        "width": each.x.shape[1],
        "metric": probe.metric,
        "probe": probe.value,
        "probe_low": probe.low,
        "probe_high": probe.high,
        "chance": probe.chance,
        "class_alignment": class_alignment(each.x[few], rows.together(few)),
        "uniformity": uniformity(each.x[few]),
        "train_rows": probe.rows,
        "test_rows": probe.test_rows,
    }


def across_modalities(run: str, result: Sequence[Embedding], rows: Rows) -> pd.DataFrame:
    """Alignment of each pair of modalities in the joint space, the same row seen through one and through the other.

    ``shuffled`` is the same with rows paired at random: what is below it is more than a common place.
    """
    there = [each for each in result if each.place == "joint" and each.modality != ALL]
    records = []
    for i, a in enumerate(there):
        for b in there[i + 1 :]:
            both = np.flatnonzero(~rows.is_train & a.present & b.present)[:PAIRED_ROWS]
            other = np.roll(both, 1)
            options = {"run": run, "modality": a.modality, "other": b.modality, "rows": len(both)}
            options["alignment"] = alignment(a.x[both], b.x[both])
            options["shuffled"] = alignment(a.x[both], b.x[other]) if len(both) > 1 else math.nan
            records.append(options)
    return pd.DataFrame(records, columns=["run", "modality", "other", "rows", "alignment", "shuffled"])


def similarities(left: Mapping[str, Embedding], right: Mapping[str, Embedding], rows: Rows) -> pd.DataFrame:
    """CKA of every representation of one run with every one of another (or of itself), on test rows that have both.

    Returns:
        ``a``, ``b`` (names of ``left`` and ``right``), ``rows``, ``cka`` (debiased) and ``cka_biased``.
    """
    test = np.flatnonzero(~rows.is_train)[:PAIRED_ROWS]
    grams = {name: gram(each.x[test]) for name, each in left.items()}
    others = grams if left is right else {name: gram(each.x[test]) for name, each in right.items()}
    records = []
    for a, first in left.items():
        for b, second in right.items():
            both = np.flatnonzero(first.present[test] & second.present[test])
            k, m = grams[a][np.ix_(both, both)], others[b][np.ix_(both, both)]
            options = {"a": a, "b": b, "rows": len(both)}
            options |= {"cka": cka_of_grams(k, m, debiased=True), "cka_biased": cka_of_grams(k, m, debiased=False)}
            records.append(options)
    return pd.DataFrame(records, columns=["a", "b", "rows", "cka", "cka_biased"])


#: Rows below which the unbiased estimate divides by nothing.
LEAST = 4


def gram(x: np.ndarray) -> np.ndarray:
    """Inner products of all rows, (n, D) to (n, n), in double precision."""
    x = np.asarray(x, dtype=np.float64)
    x = x - x.mean(0)  # changes nothing of either estimate, and keeps large means from eating the digits
    result: np.ndarray = x @ x.T
    return result


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear centred kernel alignment: 1 for rotations and scalings of each other, 0 for nothing in common.

    Formula: ``CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))``, ``K = X X^T``, ``L = Y Y^T``,
        ``HSIC(K, L) = tr(K H L H)``, ``H = I - 1/n``. Biased upwards where rows are few beside the widths.

    Shape: (n, D) and (n, E) to a number from 0 to 1; NaN where one of them does not vary.

    Source: Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, section 3.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 4))
        >>> round(linear_cka(x, 3 * x[:, ::-1]), 6)
        1.0
    """
    return cka_of_grams(gram(x), gram(y), debiased=False)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The same with the unbiased estimate of HSIC: near 0 for independent noise even where D is far above n.

    Formula: ``HSIC_1(K, L) = [tr(K~ L~) + 1^T K~ 1 1^T L~ 1 / ((n-1)(n-2)) - 2/(n-2) 1^T K~ L~ 1] / (n(n-3))``,
        ``K~`` is ``K`` with a diagonal of zeros; then as ``linear_cka``. May be a little below 0.

    Shape: (n, D) and (n, E), n >= 4, to a number up to about 1; NaN where there are fewer rows or one does not vary.

    Source: Song et al. 2012, Feature Selection via Dependence Maximization, equation 5; in CKA: Nguyen et al. 2021, Do Wide
        and Deep Networks Learn the Same Things?, equation 3.

    Example:
        >>> draws = np.random.default_rng(0)
        >>> x, y = draws.normal(size=(60, 500)), draws.normal(size=(60, 500))
        >>> round(linear_cka(x, y), 1), round(abs(debiased_cka(x, y)), 1)
        (0.9, 0.0)
    """
    return cka_of_grams(gram(x), gram(y), debiased=True)


def cka_of_grams(k: np.ndarray, m: np.ndarray, *, debiased: bool) -> float:
    """Either from Gram matrices (n, n) that are there already."""
    hsic = _unbiased if debiased else _biased
    if k.shape != m.shape:
        raise ValueError(f"CKA compares the same rows; found {len(k)} and {len(m)}")
    if len(k) < (LEAST if debiased else 2):
        return float("nan")
    both, own = hsic(k, m), hsic(k, k) * hsic(m, m)
    return float(both / np.sqrt(own)) if own > 0 else float("nan")


def _biased(k: np.ndarray, m: np.ndarray) -> float:
    centred = k - k.mean(0) - k.mean(1)[:, None] + k.mean()
    return float((centred * m).sum())


def _unbiased(k: np.ndarray, m: np.ndarray) -> float:
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    together = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k.sum(0) @ m.sum(0))
    return float(together / (n * (n - 3)))


def unit(x: np.ndarray) -> np.ndarray:
    """Rows (n, D) of length one; a row of zeros stays."""
    x = np.asarray(x, dtype=np.float64)
    lengths: np.ndarray = np.linalg.norm(x, axis=1, keepdims=True)
    result: np.ndarray = x / np.where(lengths > 0, lengths, 1.0)
    return result


def alignment(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared distance of pairs, on the sphere: 0 where both are the same, 2 on average where they are unrelated.

    Formula: ``mean_i |x_i / |x_i| - y_i / |y_i||^2``.

    Shape: (n, D) and (n, D), row by row a pair, to a number from 0 (best) to 4; NaN without a pair.

    Source: Wang and Isola 2020, Understanding Contrastive Representation Learning through Alignment and Uniformity on the
        Hypersphere, equation for L_align with alpha = 2.

    Example:
        >>> alignment(np.array([[1.0, 0.0]]), np.array([[0.0, 5.0]]))
        2.0
    """
    if np.shape(x) != np.shape(y):
        raise ValueError(f"alignment compares pairs in one space; found {np.shape(x)} and {np.shape(y)}")
    return float(((unit(x) - unit(y)) ** 2).sum(1).mean()) if len(x) else math.nan


def class_alignment(x: np.ndarray, together: np.ndarray) -> float:
    """``alignment`` of every pair of different rows that belong together.

    Formula: mean of ``|u_i - u_j|^2`` over ``i < j`` with ``together[i, j]``; ``u`` are rows of length one.

    Shape: x (n, D), together (n, n) bool, to a number from 0 to 4; NaN without such a pair.

    Source: Wang and Isola 2020, as ``alignment``, with pairs of one class as the positive pairs.
    """
    pairs = np.triu(np.asarray(together, dtype=bool), k=1)
    return float(_squared_distances(x)[pairs].mean()) if pairs.any() else math.nan


def uniformity(x: np.ndarray, t: float = 2.0) -> float:
    """How evenly rows lie on the sphere: 0 where all are one point, below -3.5 where they are spread over many directions.

    Formula: ``log mean_{i<j} exp(-t |u_i - u_j|^2)``; at least ``-4 t``. Two opposite points give ``-4 t``.

    Shape: (n, D), n >= 2, to a number from -4 t to 0; NaN with fewer rows. What a ReLU gives lies in one corner of the sphere and
        is never as uniform as what may be negative: compare like with like.

    Source: Wang and Isola 2020, equation for L_uniform with t = 2.

    Example:
        >>> uniformity(np.array([[1.0, 0.0], [-3.0, 0.0]]))
        -8.0
    """
    if len(x) < 2:
        return math.nan
    apart = -t * _squared_distances(x)[np.triu_indices(len(x), k=1)]
    top = apart.max()
    return float(top + np.log(np.exp(apart - top).mean()))


def _squared_distances(x: np.ndarray) -> np.ndarray:
    """(n, n) on the sphere; a row of zeros is at distance 1 from all others."""
    u = unit(x)
    square = (u * u).sum(1)
    result: np.ndarray = np.maximum(square[:, None] + square[None] - 2 * u @ u.T, 0.0)
    return result


#: Inverse strengths of the penalty, one of which a fifth of the training rows chooses.
STRENGTHS = (0.003, 0.03, 0.3, 3.0)
#: Steps of the solver at most.
STEPS = 300
#: Rows a probe learns from at most, drawn with the seed.
ROWS = 4000


@dataclass(frozen=True)
class Probe:
    """What a probe reached on rows it did not learn from.

    Attributes:
        metric: name; the task's main one.
        value: on the test rows; NaN where it could not be fitted.
        low: lower end of the 95 % bootstrap interval over test rows.
        high: upper end.
        chance: of an answer that looks at nothing (the largest class, the labels that most have, the mean).
        rows: it learned from.
        test_rows: it was judged on.
    """

    metric: str
    value: float
    low: float
    high: float
    chance: float
    rows: int
    test_rows: int


def linear_probe(
    train: np.ndarray, y: np.ndarray, test: np.ndarray, y_test: np.ndarray, task: str, *, seed: int = 0
) -> Probe:
    """Logistic regression (several labels: one each; a number: ridge) on standardised features, judged on other rows.

    The strength of its penalty is chosen on a fifth of its training rows; the test rows are looked at once.

    Formula: ``argmin_W sum_i loss(W z_i, y_i) + |W|^2 / (2 C)``, ``z`` standardised by the training rows, C of ``STRENGTHS``.

    Shape: train (n, D), y (n,) codes, indicators (n, C) or values (n,); test (m, D), y_test alike.

    Source: Alain and Bengio 2017, Understanding Intermediate Layers Using Linear Classifier Probes.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> linear_probe(x[:150], (x > 0)[:150, 0] * 1, x[150:], (x > 0)[150:, 0] * 1, "classification").value > 0.9
        True
    """
    metric = metrics(task)[MAIN[task]]
    if len(train) < 10 or len(test) < 2 or (task != "regression" and not _varies(y)):
        return Probe(metric.name, math.nan, math.nan, math.nan, math.nan, len(train), len(test))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(train))[:ROWS]
    mean, scale = train[order].mean(0), train[order].std(0)
    scale = np.where(scale > 1e-8, scale, 1.0)
    x, held, known = (train[order] - mean) / scale, (test - mean) / scale, y[order]
    cut = len(order) // 5
    strength = max(STRENGTHS, key=lambda c: _sign(metric) * _score(x[cut:], known[cut:], x[:cut], known[:cut], task, c))
    output = _output(x, known, held, task, strength)
    value = metric.score(y_test, output).value
    drawn = resample_outputs(metric, y_test, [output], 500, seed)
    low, high = interval(drawn[:, 0], centre=value if metric.biased else None, limits=metric.range)
    blind = metric.score(y_test, _blind(known, len(y_test), task)).value
    return Probe(metric.name, value, low, high, blind, len(order), len(test))


def _varies(y: np.ndarray) -> bool:
    return bool((y != y[:1]).any())


def _sign(metric: object) -> float:
    return -1.0 if getattr(metric, "direction", "higher") == "lower" else 1.0


def _score(x: np.ndarray, y: np.ndarray, held: np.ndarray, y_held: np.ndarray, task: str, strength: float) -> float:
    if task == "classification" and not _varies(y):
        return -math.inf
    value = metrics(task)[MAIN[task]].score(y_held, _output(x, y, held, task, strength)).value
    return value if math.isfinite(value) else -math.inf


def _output(x: np.ndarray, y: np.ndarray, held: np.ndarray, task: str, strength: float) -> np.ndarray:
    """Labels (m,), indicators (m, C) or values (m,): what the main metric of the task takes."""
    outputs = y.shape[1] if y.ndim == 2 else int(y.max()) + 1 if task == "classification" else 1
    result = fit_linear(x, y, task, outputs, strength=strength, steps=STEPS)(held)
    if task == "classification":
        return np.asarray(result.argmax(1))
    return result if task == "regression" else (result >= 0.5).astype(np.int64)


def _blind(y: np.ndarray, rows: int, task: str) -> np.ndarray:
    """The answer that looks at nothing."""
    if task == "regression":
        return np.full(rows, y.mean())
    if task == "classification":
        values, counts = np.unique(y, return_counts=True)
        return np.full(rows, values[counts.argmax()])
    share = y.mean(0)
    return np.tile((share >= min(0.5, share.max())).astype(np.int64), (rows, 1))
