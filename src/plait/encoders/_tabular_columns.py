"""What each type of tabular column becomes: a fixed number of features, learned from the training rows alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from plait.encoders._tabular_base import Features, Limits
from plait.encoders._tabular_numbers import Boolean, Date, Number
from plait.encoders._tabular_sets import Category, List

_BY_TYPE: dict[str, type[Features]] = {c.type: c for c in (Number, Category, Boolean, List, Date)}


def features_of(series: pd.Series, told: str, limits: Limits) -> Features:
    """The features of a column of the given type."""
    word, _, form = told.partition(" ")
    return _BY_TYPE[word].fit(series, limits, form)


def restore(state: Mapping[str, Any]) -> Features:
    """The features that gave this state."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state.items() if k != "type"}
    return _BY_TYPE[state["type"]](**fields)
