"""What evaluation and explanation share: a model's outputs for subsets of its modalities, beside the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.base.errors import ConfigError, ModelError, TableError, warn
from plait.data.labels import codes_of, label_text
from plait.data.row_numbers import numbered, whole_table
from plait.data.schema import absent
from plait.data.targets import target_array
from plait.data.values import object_array
from plait.estimators.preparing import with_missing_columns
from plait.metrics.base import MAIN, inputs
from plait.metrics.classification import true_probability

Array = NDArray[Any]
#: Rows that are encoded and answered at a time.
PIECE = 65_536
Subset = tuple[str, ...]


@dataclass(frozen=True)
class Predictions:
    """Outputs of one model on the rows of one table.

    Attributes:
        modalities: names in the schema's order.
        classes: labels as text; empty for a number.
        y: class indices (-1: unknown to the model), indicators or values; None without a target.
        outputs: subset -> probabilities (n, C) or values (n,).
        absent: (n, M) True where a row lacks the modality.
        threshold: from where on a multi-label probability is a label.
        costs: by which a class is answered (see ``plait.metrics.base.inputs``); None: the most probable one is.
        metric: that leads; empty: the task's usual one.
        thresholds: subset -> the same for each row (n, C), where a model has its own for what is present.
        intervals: (n, 2) for a number, where the model gives them.
    """

    task: str
    modalities: Subset
    classes: list[str]
    y: Array | None
    outputs: Mapping[Subset, Array]
    absent: Array
    threshold: float | Array = 0.5
    intervals: Array | None = None
    costs: Array | None = None
    metric: str = ""
    thresholds: Mapping[Subset, Array] = field(default_factory=dict)

    @property
    def truth(self) -> Array:
        """The target, which must be there."""
        if self.y is None:
            raise TableError(
                "the table has no target column, or the model was fitted without its name; add it, or give y"
            )
        return self.y

    @property
    def full(self) -> Array:
        """Output with every modality."""
        return self.outputs[self.modalities]

    def inputs(self, subset: Subset | None = None) -> dict[str, Array]:
        """Output of a subset (None: all modalities) as each kind of a metric's input."""
        if subset is None:
            limit = self.thresholds.get(self.modalities, self.threshold)
            return inputs(self.task, self.full, limit, self.intervals, self.costs)
        return inputs(self.task, self.outputs[subset], self.thresholds.get(subset, self.threshold), costs=self.costs)

    @property
    def main(self) -> str:
        """The metric that leads."""
        return self.metric or MAIN[self.task]


def check_one(model: object) -> None:
    """Refuse the models of several targets, where one is judged."""
    if isinstance(model, Mapping):
        raise ConfigError(f"the model answers for several targets ({', '.join(model)}); give one of them: model['...']")


def gather(
    model: Any,
    frame: pd.DataFrame,
    subsets: Sequence[Subset] | None,
    *,
    y: Any = None,
    outputs: Mapping[Subset, Array] | None = None,
    partial: bool = False,
) -> Predictions:
    """Run the model over the rows once for all subsets.

    ``subsets``: None for all and the empty one; ``y``: a target that is no column; ``outputs``: of ``model.predict_subsets``,
    where they are there already; ``partial``: columns that the frame lacks make their modality absent instead of being an error.
    """
    if not len(frame):
        raise TableError("the table has no rows; nothing can be scored")
    if partial or getattr(model, "partial", False):
        frame = with_missing_columns(model.schema_, frame)
    modalities = tuple(m.name for m in model.schema_.modalities)
    # The features of all rows would be much, and are neither there nor asked for again.
    if outputs is None and len(frame) > PIECE and not getattr(model, "remembers", True):
        result, missing, thresholds = _in_pieces(model, frame, subsets)
    else:
        result, missing, thresholds = _answered(model, frame, subsets, outputs)
    labels = [] if model.task_ == "regression" else list(model.classes_)
    truth = target_of(model, frame, y)
    for subset, output in result.items():
        if len(output) != len(frame):
            raise ModelError(f"subset {subset}: the model gives {len(output)} rows for {len(frame)}")
    return Predictions(
        task=model.task_,
        modalities=modalities,
        classes=[label_text(c) for c in labels],
        y=truth,
        outputs=result,
        absent=missing,
        threshold=_threshold(model),
        intervals=_intervals(model, frame, result.get(modalities), ~missing),
        costs=_costs(model),
        metric=getattr(model, "metric_", ""),
        thresholds=thresholds,
    )


#: Outputs and thresholds of each subset, and what is absent: see ``Predictions``.
Answered = tuple[Mapping[Subset, Array], Array, Mapping[Subset, Array]]


def _answered(
    model: Any, frame: pd.DataFrame, subsets: Sequence[Subset] | None, outputs: Mapping[Subset, Array] | None = None
) -> Answered:
    result = model.predict_subsets(frame, subsets) if outputs is None else outputs
    own = model.task_ == "multilabel" and hasattr(model, "thresholds_for")
    return result, _absent(model, frame), model.thresholds_for(frame, list(result)) if own else {}


def _in_pieces(model: Any, frame: pd.DataFrame, subsets: Sequence[Subset] | None) -> Answered:
    """The same, so many rows at a time, each encoded once; missing files are counted over all of them."""

    def answered() -> Iterator[Answered]:
        for start in range(0, len(frame), PIECE):
            piece = files.of(numbered(frame).iloc[start : start + PIECE])
            with model.remembering():
                yield _answered(model, piece, subsets)

    with whole_table() as files:
        parts = list(files.hearing(answered()))
    outputs, missing, thresholds = zip(*parts, strict=True)
    return _joined(outputs), np.concatenate(missing), _joined(thresholds)


def _joined(parts: Sequence[Mapping[Subset, Array]]) -> dict[Subset, Array]:
    return {subset: np.concatenate([part[subset] for part in parts]) for subset in parts[0]}


def _intervals(model: Any, frame: pd.DataFrame, values: Array | None, present: Array) -> Array | None:
    """Lower and upper bounds (n, 2) of a number, where the model has them."""
    if values is None or not getattr(model, "has_intervals", hasattr(model, "predict_interval")):
        return None
    around = (
        model.interval_around(values, present) if hasattr(model, "interval_around") else model.predict_interval(frame)
    )
    return np.asarray(around)


def _costs(model: Any) -> Array | None:
    """What ``predict`` reads the probabilities of one class of several by, where it is not the most probable one."""
    value = getattr(getattr(getattr(model, "members_", None), "task", None), "decides", None)
    return None if value is None or not np.size(value) else np.asarray(value)


def _threshold(model: object) -> float | Array:
    """What ``predict`` reads multi-label probabilities by: 0.5, unless the model has thresholds of its own."""
    value = getattr(model, "thresholds_", None)
    if value is None:
        value = getattr(getattr(getattr(model, "members_", None), "task", None), "thresholds", None)
    return 0.5 if value is None or not np.size(value) else np.asarray(value, dtype=float)


def _absent(model: Any, frame: pd.DataFrame) -> Array:
    if hasattr(model, "absent"):
        return np.asarray(model.absent(frame), dtype=bool)
    return absent(model.schema_, frame, getattr(model, "root", None))


def target_of(model: Any, frame: pd.DataFrame, y: Any = None) -> Array | None:
    """Class indices (-1: unknown to the model), indicators or values of a table's rows; None without a target."""
    if y is None and model.schema_.target not in frame.columns:
        return None
    raw = model.target_of(frame) if y is None else y
    labels = [] if model.task_ == "regression" else list(model.classes_)
    if len(raw) != len(frame):
        raise TableError(f"the target has {len(raw)} rows, the table {len(frame)}")
    if model.task_ == "classification":
        return _codes(raw, labels)
    if y is not None:
        raw = target_array(y, model.task_, labels)
    values = np.asarray(raw).astype(np.int64 if model.task_ == "multilabel" else np.float64)
    if not np.isfinite(values).all():
        raise TableError(f"the target is empty or infinite in {int((~np.isfinite(values)).sum())} rows; leave them out")
    return values


def _codes(raw: Any, labels: list[Any]) -> Array:
    values = raw if isinstance(raw, pd.Series) else object_array(raw)
    empty = int(np.sum(pd.isna(values)))
    if empty:
        raise TableError(f"the target is empty in {empty} of {len(raw)} rows; leave them out")
    result = codes_of(values, labels)
    if (result < 0).any():
        unknown = sorted({label_text(v) for v in np.asarray(values, dtype=object)[result < 0]})
        warn(
            f"{int((result < 0).sum())} of {len(raw)} rows have a class that the model was not fitted on "
            f"({', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}); they count as wrong"
        )
    return result


def as_read(predictions: Predictions, y: Array) -> Any:
    """Answers as a user reads them: labels, labels joined by a bar, or numbers."""
    if predictions.task == "classification":
        return [predictions.classes[c] if c >= 0 else None for c in y]
    if predictions.task == "multilabel":
        return ["|".join(name for name, there in zip(predictions.classes, row, strict=True) if there) for row in y]
    return y


def probability_of(task: str, output: Array, decided: Array) -> Array:
    """The probability (n,) of what is decided; of several labels the mean over them; of a number the prediction itself."""
    if task == "regression":
        return output
    if task == "classification":
        return np.asarray(true_probability(decided, output))
    return np.asarray(np.where(decided > 0, output, 1.0 - output).mean(1))
