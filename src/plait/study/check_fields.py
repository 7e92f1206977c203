"""Whether a value can be what a study's field of a model asks for: the estimator's own check, and the baselines' names."""

from __future__ import annotations

from typing import Any

from plait import setting_checks
from plait.baselines import ESTIMATORS
from plait.errors import nearest


def check_value(name: str, value: Any) -> str | None:
    """What is wrong with the value of a dotted field; None if nothing is.

    Example:
        >>> check_value("estimator", "lineal")
        "unknown estimator 'lineal' (did you mean 'linear'?)"
    """
    if name.partition(".")[0] != "estimator":
        return setting_checks.check_value(name, value)
    return None if value in ESTIMATORS else f"unknown estimator {value!r} ({nearest(str(value), ESTIMATORS)})"
