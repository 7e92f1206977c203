"""Which rows a run trains on and which it is judged on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

from plait.base.errors import TableError, nearest
from plait.data.parse import numbers
from plait.data.table import VALID, split, strata_of
from plait.study.spec import AUTO, SplitSpec
from plait.study.tables import StudyTable

Rows = tuple[np.ndarray, np.ndarray]


def count(table: StudyTable, spec: SplitSpec) -> int:
    """Splits per seed."""
    if spec.kind == "official" and spec.column is None and table.parts is None:
        return len(_folds(table))
    return {"kfold": spec.folds, "repeated": spec.times}.get(spec.kind, 1)


def rows_of(table: StudyTable, spec: SplitSpec, seed: int, index: int) -> Rows:
    """Positions of training and test rows, sorted."""
    if spec.kind == "official":
        result = _official(table, spec, index)
    elif spec.kind == "time":
        result = _by_time(table, spec)
    elif spec.kind == "kfold":
        result = _kfold(table, spec, seed, index)
    else:
        result = _holdout(table, spec, seed + 100_003 * index)
    if not len(result[0]) or not len(result[1]):
        raise TableError(
            f"{table.label}: split {spec.kind} leaves no row to {'learn' if len(result[1]) else 'judge'} from"
        )
    return result


def chosen_by(table: StudyTable, spec: SplitSpec, seed: int, index: int, train: np.ndarray) -> np.ndarray:
    """Which training rows (n,) bool only choose, where a model wants validation rows: official ones, or a middle part."""
    if spec.kind == "official":
        column = table.parts if spec.column is None else spec.column
        words = np.full(len(train), "") if column is None else table.frame[column].iloc[train].astype(str).str.lower()
        result = np.isin(np.asarray(words), VALID)
    elif spec.kind in ("holdout", "repeated") and len(spec.fractions) == 3:
        share = spec.fractions[1] / (spec.fractions[0] + spec.fractions[1])
        rows = table.frame.iloc[train].reset_index(drop=True)
        group = group_column(table, spec)
        drawn = split(rows, (1 - share, share), seed + 100_003 * index, table.target, group, table.task)[1]
        result = np.isin(np.arange(len(train)), drawn)
    else:
        result = np.zeros(len(train), dtype=bool)
    if not result.any() or result.all():
        raise TableError(
            f"{table.label}: validation: given, but split {spec.kind} has no validation rows; take three fractions, as "
            "[0.80, 0.05, 0.15], official parts that say valid, or validation: folds or none"
        )
    return result


def group_column(table: StudyTable, spec: SplitSpec) -> str | None:
    """The column whose equal values stay on one side."""
    if spec.group is None or spec.group == AUTO:
        return table.groups if spec.group == AUTO else None
    return _column(table, spec.group, "group")


def _column(table: StudyTable, name: str, what: str) -> str:
    if name not in table.frame.columns:
        raise TableError(
            f"{table.label}: split by {what}: no column '{name}'; {nearest(name, map(str, table.frame.columns))}"
        )
    return name


def _refuse_resplit(table: StudyTable) -> None:
    if not table.resplit:
        raise TableError(f"{table.label}: only the official parts keep training and test apart; take split: official")


def _holdout(table: StudyTable, spec: SplitSpec, seed: int) -> Rows:
    _refuse_resplit(table)
    share = spec.fractions[-1]
    group = group_column(table, spec)
    train, test = split(table.frame, (1 - share, share), seed, table.target, group, table.task)
    return train, test


def _kfold(table: StudyTable, spec: SplitSpec, seed: int, index: int) -> Rows:
    _refuse_resplit(table)
    group = group_column(table, spec)
    strata = strata_of(table.frame[table.target], table.task)
    rows = np.zeros(len(strata))
    splitter: Any
    if group is not None:
        splitter = StratifiedGroupKFold(spec.folds, shuffle=True, random_state=seed)
        parts = splitter.split(rows, strata, pd.factorize(table.frame[group].astype(str))[0])
    else:
        enough = np.bincount(strata).min() >= spec.folds
        kind = StratifiedKFold if enough else KFold
        parts = kind(spec.folds, shuffle=True, random_state=seed).split(rows, strata)
    train, test = list(parts)[index]
    return np.asarray(train), np.asarray(test)


def _by_time(table: StudyTable, spec: SplitSpec) -> Rows:
    _refuse_resplit(table)
    series = table.frame[_column(table, str(spec.column), "time")]
    when = numbers(series).values.astype(float)
    if np.isnan(when).all():
        dates = pd.to_datetime(series, errors="coerce", utc=True, format="mixed")
        when = np.where(dates.isna(), np.nan, dates.astype("int64").to_numpy(dtype=float))
    if np.isnan(when).any():
        bad = int(np.isnan(when).sum())
        raise TableError(f"{table.label}: column '{spec.column}' says no time in {bad} of {len(when)} rows")
    edge = np.sort(when)[round(len(when) * (1 - spec.fractions[-1]))]
    return np.flatnonzero(when < edge), np.flatnonzero(when >= edge)


def _official(table: StudyTable, spec: SplitSpec, index: int) -> Rows:
    column = table.parts if spec.column is None else _column(table, spec.column, "official part")
    if column is None:
        fold = _folds(table)[index]
        test = (table.frame[str(table.folds)] == fold).to_numpy()
    else:
        value = table.frame[column].astype(str).str.lower().to_numpy()
        test = value == "test"
        if not test.any() or test.all():
            result = sorted(set(value))[:5]
            raise TableError(
                f"{table.label}: column '{column}' must say 'test' for some rows, not for all; found {result}"
            )
    return np.flatnonzero(~test), np.flatnonzero(test)


def _folds(table: StudyTable) -> list[object]:
    if table.folds is None:
        raise TableError(
            f"{table.label}: it has no official parts; take another split, or name the column that says them"
        )
    return sorted(table.frame[table.folds].unique())
