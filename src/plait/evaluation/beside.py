"""Baselines beside a fitted model: learned from a training table, judged row by row on the rows that the model is judged on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.base.inputs import Inputs
from plait.data.targets import Labels
from plait.evaluation.baselines import NAMES, Baselines, Lead, baselines
from plait.evaluation.plain_features import seen_by_baselines, table_of
from plait.evaluation.predictions import gather

if TYPE_CHECKING:
    from plait.estimators.base import FusionEstimator


def baselines_beside(
    model: FusionEstimator,
    train: tuple[pd.DataFrame, Any],
    test: tuple[pd.DataFrame, Any],
    outputs: Mapping[Any, Any] | None = None,
    names: Sequence[str] = NAMES,
    *,
    own_trees: bool = False,
) -> Baselines:
    """What a model must be better than, learned from training rows and judged on the same test rows.

    Args:
        model: fitted; its features are used where they are frozen.
        train: rows, and their target as the task takes it.
        test: the same of the rows that the model is judged on.
        outputs: what ``model.predict_subsets`` gave for the test rows already.
        names: of the baselines.
        own_trees: the training rows are those of the model, whose first member's trees are the baseline of that name.
    """
    seen = seen_by_baselines(model, train[0], test[0])
    y = [truth.indicator if isinstance(truth, Labels) else truth for truth in (train[1], test[1])]
    modalities = tuple(m.name for m in model.schema_.modalities)
    ours = gather(model, test[0], [modalities], y=y[1], outputs=outputs)
    lead, rows = (
        Lead(ours.main, ours.costs, names, grown(model) if own_trees else None),
        ((seen[0], y[0]), (seen[1], y[1])),
    )
    return baselines(model.task_, *rows, table=table_of(model.schema_), ours=ours.inputs(), lead=lead)


def grown(model: FusionEstimator) -> Callable[[Inputs], np.ndarray] | None:
    """What the first member's trees answer by themselves, where they see what the baseline of that name would see."""
    trees, task = model.members_.members[0].fitted.get("trees"), model.members_.task
    if trees is None or task.name == "multilabel" or any(m.learns for m in model.schema_.modalities):
        return None

    def answers(inputs: Inputs) -> np.ndarray:
        result = task.decode(trees.outputs(inputs)).numpy().astype(np.float64)
        return result[:, 0] if result.ndim == 2 and task.name == "regression" else result

    return answers
