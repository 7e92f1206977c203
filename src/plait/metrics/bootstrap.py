"""Percentile bootstrap over rows: every metric on many resamples at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from plait.metrics.base import METRICS, Array, Metric

#: Share of resamples within an interval.
LEVEL = 0.95
#: Row-times-resample cells beyond which fewer resamples are drawn: some seconds of work for all metrics together.
BUDGET = 2e8
#: The same for metrics that sort the rows of every class, counted per class.
RANKED_BUDGET = 1.5e8
#: Never fewer resamples than this, however many rows.
LEAST = 100


def affordable(resamples: int, n: int, columns: int = 1, *, ranked: bool = False) -> int:
    """Resamples that stay within the budget for n rows and so many classes."""
    budget = RANKED_BUDGET / columns if ranked else BUDGET
    return min(resamples, max(LEAST, int(budget / max(n, 1))))


def draws(n: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each of n rows is in each resample, block by block: (n, b) float. One seed, one sequence."""
    rng = np.random.default_rng(seed)
    block = int(np.clip(2**16 // max(n, 1), 32, 256))  # half a MB at a time: it stays in the cache, 4 times faster
    for start in range(0, resamples, block):
        b = min(block, resamples - start)
        cells = rng.integers(0, n, size=(b, n)) * b + np.arange(b)[:, None]
        yield np.bincount(cells.ravel(), minlength=n * b).reshape(n, b).astype(np.float64)


def resample_metrics(task: str, y: Array, given: Mapping[str, Array], resamples: int, seed: int) -> dict[str, Array]:
    """Values of every metric that ``given`` (see ``plait.metrics.base``) allows on resamples: name -> (R,)."""
    wanted = [m for (owner, _), m in METRICS.items() if owner == task and m.input in given]
    n, columns = len(y), next(iter(given.values())).size // len(y)
    limit = {m.name: affordable(resamples, n, _columns(m, given, columns), ranked=m.ranked) for m in wanted}
    parts: dict[str, list[Array]] = {m.name: [] for m in wanted}
    done = 0
    for counts in draws(n, max(limit.values()), seed):
        for metric in wanted:
            if done < limit[metric.name]:
                left = counts[:, : limit[metric.name] - done]
                parts[metric.name].append(metric.resampled(y, given[metric.input], left))
        done += counts.shape[1]
    return {name: np.concatenate(values) for name, values in parts.items()}


def _columns(metric: Metric, given: Mapping[str, Array], columns: int) -> int:
    return max(columns, given[metric.input].size // len(given[metric.input])) if metric.ranked else 1


def resample_outputs(metric: Metric, y: Array, outputs: Sequence[Array], resamples: int, seed: int) -> Array:
    """One metric for several outputs on the same resamples, so that they can be compared in pairs: (R, outputs)."""
    if metric.rows:
        return resample_means(np.stack([metric.rows(y, o) for o in outputs]), resamples, seed)
    blocks = []
    for counts in draws(len(y), affordable(resamples, len(y)), seed):
        blocks.append(np.stack([metric.resampled(y, o, counts) for o in outputs], axis=1))
    return np.concatenate(blocks)


def resample_means(terms: Array, resamples: int, seed: int) -> Array:
    """Means over rows of several terms (k, n) on the same resamples: (R, k)."""
    n = terms.shape[1]
    return np.concatenate([(terms @ counts / n).T for counts in draws(n, affordable(resamples, n), seed)])


def interval(
    values: Array, *, centre: float | None = None, limits: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[float, float]:
    """Percentile interval of resampled values, NaN where over half of them are undefined.

    Args:
        values: (R,) values on resamples.
        centre: the value on the rows themselves: given, the resamples are moved so that their mean lies there. For
            metrics that are off on average on resamples (``Metric.biased``).
        limits: the metric's range.
    """
    defined = values[~np.isnan(values)]
    if len(defined) * 2 < len(values) or not len(defined):
        return float("nan"), float("nan")
    if centre is not None:
        defined = defined - (defined.mean() - centre)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.clip(np.percentile(defined, [tail, 100 - tail]), *limits)
    return float(low), float(high)
