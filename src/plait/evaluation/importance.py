"""What each column of a table is worth to a model, and each text, picture or sound as a whole: by shuffling it among rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from plait.base.errors import TableError
from plait.base.inputs import Inputs, together
from plait.data.modality import Modality
from plait.data.table import as_frame
from plait.evaluation.explain import Explanation
from plait.evaluation.parts import one_modality
from plait.evaluation.predictions import target_of
from plait.metrics.base import SECOND, Array, metrics
from plait.metrics.base import inputs as inputs_of
from plait.metrics.bootstrap import interval, resample_means

if TYPE_CHECKING:
    from plait.estimators.base import FusionEstimator

#: Rows that are looked at, at most; drawn with the seed.
ROWS = 500
#: Rows that are answered at a time.
AT_ONCE = 4000
#: What a data frame of importances holds.
COLUMNS = ("modality", "column", "importance", "low", "high", "share", "worth")


def importance(
    model: FusionEstimator,
    frame: pd.DataFrame,
    *,
    y: object = None,
    repeats: int = 2,
    bootstrap: int = 1000,
    seed: int = 0,
    explanation: Explanation | None = None,
) -> pd.DataFrame:
    """How much the loss grows when the cells of one column are shuffled among the rows: permutation importance.

    Columns of tabular modalities are shuffled one by one, other modalities as a whole, which needs no encoding.

    Formula: ``mean over repeats and rows of loss(y, f(shuffled row)) - loss(y, f(row))``; the loss is the log loss, or the
        absolute error of a number.

    Source: Breiman 2001, Random Forests, section 10; Fisher et al. 2019.

    Args:
        model: a fitted estimator.
        frame: rows that it has not seen, with the target.
        y: the target where it is not a column of the frame.
        repeats: how often each column is shuffled.
        bootstrap: resamples of the rows for the intervals; 0: none.
        seed: of rows, shuffles and resamples.
        explanation: of the same rows: each modality's worth is shared out among its columns.

    Returns:
        One row per column or modality, the most important first: ``importance`` with its 95 % interval over rows (each row's
        mean over the repeats), ``share`` of its modality's columns, and ``worth``: that share of the modality's Shapley value.
    """
    frame, rng = as_frame(frame), np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(frame))[:ROWS])
    truth = target_of(model, frame, y)
    if truth is None:
        raise TableError("the table has no target column; add it, or give y")
    truth = truth[rows]
    inputs = model._inputs(frame).take(torch.from_numpy(rows))
    frame = frame.iloc[rows].reset_index(drop=True)
    lacking = {c for m in model.schema_.modalities for c in m.columns} - set(frame.columns)  # let through by partial
    frame = frame.assign(**dict.fromkeys(sorted(lacking)))
    names = [(m, c) for m in model.schema_.modalities for c in (m.columns if m.kind == "tabular" else ("",))]
    known = model.members_.outputs(inputs)
    losses = _losses(model, known, inputs, truth)
    orders = [np.concatenate([rng.permutation(len(frame)) for _ in range(repeats)]) for _ in names]
    mixture, sources, terms = model.members_.mixture, model.members_.members[0].sources, []
    for group in _groups(names, max(1, AT_ONCE // max(1, len(frame) * repeats))):
        modality, copies = names[group.start][0], repeats * len(group)
        columns = [names[place][1] for place in group]
        changed = _shuffled(model, frame, inputs, modality, columns, np.stack(orders[group.start : group.stop]))
        moved = [name for name in mixture.weighing(changed.present) if modality.name in sources[name]]
        outputs = {name: out.repeat(copies, 1) for name, out in known.items()}
        outputs |= model.members_.outputs(changed, moved)  # what the others say stays as it was
        truths = np.tile(truth, (copies, *[1] * (truth.ndim - 1)))
        terms.append(_losses(model, outputs, changed, truths).reshape(len(group), repeats, -1).mean(1))
    return _table(names, np.concatenate(terms) - losses, bootstrap, seed, explanation)


def _losses(model: FusionEstimator, outputs: Mapping[str, torch.Tensor], inputs: Inputs, truth: Array) -> Array:
    """(n,) the finer metric's term of every row, from what the branches say."""
    metric = metrics(model.task_)[SECOND[model.task_]]
    assert metric.rows is not None
    members = model.members_
    decoded = model._read(members.mixture.combine(outputs, inputs.present, members.task))
    return metric.rows(truth, inputs_of(model.task_, decoded)[metric.input])


def _groups(names: list[tuple[Modality, str]], most: int) -> list[range]:
    """Places of columns of one modality that are looked at together, at most so many."""
    groups: list[range] = []
    for place, (modality, _) in enumerate(names):
        last = groups[-1] if groups else range(0)
        if len(last) and len(last) < most and names[last.start][0] is modality:
            groups[-1] = range(last.start, place + 1)
        else:
            groups.append(range(place, place + 1))
    return groups


def _shuffled(
    model: FusionEstimator, frame: pd.DataFrame, inputs: Inputs, modality: Modality, columns: list[str], orders: Array
) -> Inputs:
    """The rows over and over, each time the cells of a column (or a modality: "") as one of ``orders`` (columns, m) has them."""
    rows = np.tile(np.arange(len(frame)), orders.size // len(frame))
    if columns == [""]:
        own = inputs.take(torch.from_numpy(orders[0]))
    else:
        several = frame[list(modality.columns)].iloc[rows].reset_index(drop=True)
        for place, column in enumerate(columns):
            taken = rows.copy()
            taken[place * orders.shape[1] : (place + 1) * orders.shape[1]] = orders[place]
            several[column] = frame[column].iloc[taken].to_numpy()
        own = one_modality(model, several, modality)
    same = inputs.take(torch.from_numpy(rows))
    return together({name: own if name == modality.name else same for name in inputs.present})


def _table(
    names: list[tuple[Modality, str]], terms: Array, bootstrap: int, seed: int, explanation: Explanation | None
) -> pd.DataFrame:
    values = terms.mean(1)
    drawn = resample_means(terms, bootstrap, seed) if bootstrap else np.full((1, len(values)), np.nan)
    finer = explanation.games[1:2] if explanation is not None else []
    worths = {worth["modality"]: worth["value"] for game in finer for worth in game["values"]}
    totals: dict[str, float] = {}
    for (modality, _), value in zip(names, values, strict=True):
        totals[modality.name] = totals.get(modality.name, 0.0) + max(value, 0.0)
    records = []
    for place, ((modality, column), value) in enumerate(zip(names, values, strict=True)):
        low, high = interval(drawn[:, place])
        total = totals[modality.name]
        share = 0.0 if total <= 0 else max(value, 0.0) / total
        record = (modality.name, column or ", ".join(modality.columns), value, low, high, share)
        records.append((*record, share * worths.get(modality.name, np.nan)))
    result = pd.DataFrame(records, columns=list(COLUMNS))
    return result.sort_values("importance", ascending=False, kind="stable", ignore_index=True)
