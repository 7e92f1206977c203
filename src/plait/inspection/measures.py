"""Every measure of every representation, on rows the probes did not learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plait.inspection.cka import cka_of_grams, gram
from plait.inspection.embeddings import ALL, Embedding
from plait.inspection.hypersphere import alignment, class_alignment, uniformity
from plait.inspection.probe import linear_probe
from plait.inspection.rows import Rows

#: Rows that pairs are made of, at most: their number grows with the square.
PAIRED_ROWS = 1000


def measures(run: str, found: Sequence[Embedding], rows: Rows, *, seed: int = 0) -> pd.DataFrame:
    """One row per representation: run, modality, place, width, and what is measured of it.

    ``probe`` with its interval and ``chance``; ``class_alignment`` and ``uniformity`` on test rows (Wang and Isola).
    """
    return pd.DataFrame([_measured(run, each, rows, seed) for each in found])


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


def across_modalities(run: str, found: Sequence[Embedding], rows: Rows) -> pd.DataFrame:
    """Alignment of each pair of modalities in the joint space, the same row seen through one and through the other.

    ``shuffled`` is the same with rows paired at random: what is below it is more than a common place.
    """
    there = [each for each in found if each.place == "joint" and each.modality != ALL]
    records = []
    for i, a in enumerate(there):
        for b in there[i + 1 :]:
            both = np.flatnonzero(~rows.is_train & a.present & b.present)[:PAIRED_ROWS]
            other = np.roll(both, 1)
            told = {"run": run, "modality": a.modality, "other": b.modality, "rows": len(both)}
            told["alignment"] = alignment(a.x[both], b.x[both])
            told["shuffled"] = alignment(a.x[both], b.x[other]) if len(both) > 1 else math.nan
            records.append(told)
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
            told = {"a": a, "b": b, "rows": len(both)}
            told |= {"cka": cka_of_grams(k, m, debiased=True), "cka_biased": cka_of_grams(k, m, debiased=False)}
            records.append(told)
    return pd.DataFrame(records, columns=["a", "b", "rows", "cka", "cka_biased"])
