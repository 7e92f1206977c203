"""How often a study's words are wrong: studies in which all variants are worth the same, and intervals of known means.

Seeds x test rows: each row is more or less hard, each variant prefers rows of its own, each seed is more or less lucky; all
variants have the same expected accuracy. A study is wrong when any variant is said to be worse. Splits: small tables are
drawn, each seed draws test rows of its own, and nearest-mean classifiers see ten of twenty equally good features, so that
the true accuracy of all variants is the same.

    python benchmarks/study_error_rates.py --studies 400
"""

from __future__ import annotations

import argparse

import numpy as np

from plait.metrics.base import metrics
from plait.study.statistics.paired import crossed_t, family_variance, holm, resampled_t
from plait.study.statistics.summary import two_level

SEEDS, ROWS = 5, 200
Array = np.ndarray


def shared_rows(rng: np.random.Generator, variants: int, luck: float, taste: float) -> Array:
    """Hits of every variant, seed and row (K, S, n)."""
    hard, own = rng.normal(size=ROWS), taste * rng.normal(size=(variants, 1, ROWS))
    noise = 0.5 * rng.normal(size=(variants, SEEDS, ROWS))
    return (1 + hard + own + luck * rng.normal(size=(variants, SEEDS, 1)) + noise > 0).astype(float)


def wrong_crossed(hits: Array, reference: int, careful: bool, corrected: bool = True) -> bool:
    """Whether any variant is told from the reference."""
    others = [i for i in range(len(hits)) if i != reference]
    away = [hits[i].mean(1) - hits[reference].mean(1) for i in others]
    least = family_variance(away) if careful else 0.0
    by_row = [(hits[i] - hits[reference]).mean(0).var(ddof=1) / ROWS for i in others]
    p = np.array([crossed_t(d, v, ROWS, least).p for d, v in zip(away, by_row, strict=True)])
    return bool(np.nanmin(holm(p) if corrected else p) < 0.05)


def own_rows(rng: np.random.Generator, variants: int, seeds: int, table: int = 250, width: int = 20) -> Array:
    """Accuracies (K, S) of nearest-mean classifiers on splits of one table."""
    y = rng.integers(0, 2, table)
    x = rng.normal(size=(table, width)) + 0.35 * y[:, None]
    chosen = [rng.choice(width, width // 2, replace=False) for _ in range(variants)]
    found = np.empty((variants, seeds))
    for seed in range(seeds):
        order = rng.permutation(table)
        train, test = order[table // 5 :], order[: table // 5]
        means = [x[train][y[train] == c].mean(0) for c in (0, 1)]
        for k, features in enumerate(chosen):
            away = [((x[test][:, features] - m[features]) ** 2).sum(1) for m in means]
            found[k, seed] = ((away[1] < away[0]) == y[test]).mean()
    return found


def wrong_resampled(scores: Array, reference: int, careful: bool, ratio: float = 0.25) -> bool:
    """Whether any variant is told from the reference."""
    away = [s - scores[reference] for i, s in enumerate(scores) if i != reference]
    least = family_variance(away) if careful else 0.0
    p = np.array([resampled_t(d, ratio, least).p for d in away])
    return bool(np.nanmin(holm(p)) < 0.05)


def cases(x: np.ndarray, best: int) -> list[tuple[np.ndarray, int, bool]]:
    """Two variants, and all of them against one that is named beforehand or the best; with the family's variance or not."""
    return [(x[:2], 0, False), (x, 0, True), (x, best, False), (x, best, True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=400)
    studies = parser.parse_args().studies
    rng = np.random.default_rng(0)
    print(f"{studies} studies, {SEEDS} seeds; share in which some variant is wrongly told from the reference, in %")
    print("rows    variants luck taste | two, given | given | best | best, no variance below the family's median")
    for variants in (3, 10, 40):
        for luck, taste in ((0.05, 0.5), (0.2, 0.0), (0.2, 0.5)):
            told = np.zeros(4)
            for _ in range(studies):
                hits = shared_rows(rng, variants, luck, taste)
                best = int(hits.mean((1, 2)).argmax())
                told += [wrong_crossed(*case) for case in cases(hits, best)]
            print(f"shared  {variants:8} {luck:4} {taste:5} |", " | ".join(f"{100 * t / studies:.1f}" for t in told))
    for variants in (3, 10, 40):
        told = np.zeros(4)
        for _ in range(studies):
            scores = own_rows(rng, variants, SEEDS)
            best = int(scores.mean(1).argmax())
            told += [wrong_resampled(*case) for case in cases(scores, best)]
        print(f"own     {variants:8}    -     - |", " | ".join(f"{100 * t / studies:.1f}" for t in told))
    coverage(studies, rng)


def coverage(studies: int, rng: np.random.Generator) -> None:
    """Share of 95 % intervals that hold the true mean."""
    metric = metrics("regression")["r2"]
    print("interval over seeds and rows: seeds, spread of seeds | share that holds the true mean, in % | rows only")
    for seeds in (3, 5, 10):
        for luck in (0.0, 0.1, 0.3):
            inside = np.zeros(2)
            for study in range(studies):
                values = (
                    luck * rng.normal(size=(seeds, 1)) + rng.normal(size=ROWS) + 0.5 * rng.normal(size=(seeds, ROWS))
                )
                counts = rng.multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=300)
                drawn, mean = list(values @ counts.T / ROWS), float(values.mean())
                low, high = two_level(drawn, mean, metric, seed=study)
                ends = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
                inside += [low <= 0 <= high, ends[0] <= 0 <= ends[1]]
            print(f"{seeds:6} {luck:4} | {100 * inside[0] / studies:.1f} | {100 * inside[1] / studies:.1f}")


if __name__ == "__main__":
    main()
