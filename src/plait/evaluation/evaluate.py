"""How good a model is on unseen rows: every metric with its interval, and what each subset of modalities gives."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypedDict, cast

import pandas as pd
from numpy.typing import NDArray

from plait.base import notebook
from plait.base.errors import ConfigError, TableError
from plait.base.inputs import subsets_of
from plait.data.schema import validate
from plait.data.table import as_frame
from plait.data.targets import with_target
from plait.evaluation import breakdown
from plait.evaluation.baselines import Baselines
from plait.evaluation.beside import baselines_beside
from plait.evaluation.breakdown import Confusion
from plait.evaluation.predictions import Predictions, Subset, as_read, check_one, gather
from plait.metrics.base import SECOND, Metric, metrics
from plait.metrics.bootstrap import interval, resample_metrics, resample_outputs
from plait.store.model_files import plain_values

Array = NDArray[Any]
#: Modalities up to which every subset is scored; beyond it: none, each alone, all but one, all.
EVERY_SUBSET = 8
#: Of the dictionary that an evaluation becomes.
FORMAT = 1


class Estimate(TypedDict):
    """A metric's value and its 95 % percentile bootstrap interval over rows.

    Attributes:
        value: on the rows as they are; NaN where undefined.
        low: and ``high``: bounds of the interval.
        note: why it is undefined, or what it leaves out.
        resamples: how many resamples the interval comes from.
    """

    value: float
    low: float
    high: float
    note: str
    resamples: int


class SubsetScore(Estimate):
    """The main metric with only some modalities present, and its paired difference to the full input.

    Attributes:
        modalities: those present, in the schema's order.
        difference: value minus that of the full input.
        difference_low: and ``difference_high``: bounds, both scored on the same resamples.
    """

    modalities: list[str]
    difference: float
    difference_low: float
    difference_high: float


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of one model on one table.

    Attributes:
        main_metric: name of the metric that leads.
        classes: labels as text; empty for a number.
        metrics: name -> estimate.
        per_class: one record per class: label, support, predicted, precision, recall, f1, auc.
        confusion: of a classification; None otherwise.
        reliability: one record per bin that holds rows: low, high, rows, confidence, hit_rate; empty for a number.
        distribution: rows per class, label or range of the target.
        points: of a regression: pairs of true and predicted value.
        subsets: one per subset of modalities, the full input last.
        absences: modality -> rows that lack it.
        worst: the rows with the largest loss: row, loss, true, answer, cells.
        baselines: what the model must beat, on the same rows; None where no training table was given.
    """

    task: str
    target: str
    rows: int
    main_metric: str
    classes: list[str]
    metrics: dict[str, Estimate]
    per_class: list[dict[str, Any]]
    confusion: Confusion | None
    reliability: list[dict[str, float]]
    distribution: list[dict[str, Any]]
    points: list[list[float]]
    subsets: list[SubsetScore]
    absences: dict[str, int]
    seed: int
    worst: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    baselines: Baselines | None = None

    @property
    def score(self) -> Estimate:
        """The main metric's estimate."""
        return self.metrics[self.main_metric]

    @property
    def frame(self) -> pd.DataFrame:
        """Every metric with its value, its interval and what is to be noted, the one that leads first."""
        known = metrics(self.task)
        rows = {known[name].label: result for name, result in self.metrics.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric").drop(columns="resamples")

    @property
    def subset_frame(self) -> pd.DataFrame:
        """The main metric with only some modalities present, everything last."""
        most = max((len(s["modalities"]) for s in self.subsets), default=0)
        names = [" + ".join(s["modalities"]) or "(none)" for s in self.subsets]
        rows = [
            {**s, "modalities": f"everything: {name}" if len(s["modalities"]) == most > 1 else name}
            for s, name in zip(self.subsets, names, strict=True)
        ]
        kept = ["modalities", "value", "low", "high", "difference", "difference_low", "difference_high"]
        return pd.DataFrame(rows, columns=kept).set_index("modalities")

    @property
    def baseline_frame(self) -> pd.DataFrame:
        """The main metric of every baseline, and how much better the model is, paired row by row; empty without any."""
        main, given = self.main_metric, self.baselines or Baselines({})
        rows = [{"baseline": n, "value": s.get(main), **(given.beside(n, main) or {})} for n, s in given.items()]
        return pd.DataFrame(rows, columns=["baseline", "value", "difference", "low", "high"]).set_index("baseline")

    def _tables(self) -> dict[str, pd.DataFrame]:
        """What is shown, each with its title."""
        label = metrics(self.task)[self.main_metric].label
        title = f"'{self.target}' ({self.task}) on {self.rows:,} rows; low and high: 95 % intervals"
        shown = {title: self.frame.drop(columns="note")}
        if self.baselines is not None:
            shown[f"{label} of the baselines; difference: how much better the model is"] = self.baseline_frame
        if len(self.subsets) > 1:
            shown[f"{label} with only these modalities present"] = self.subset_frame
        return shown

    def __repr__(self) -> str:
        """Tables of the metrics, of the baselines and of the subsets."""
        tables = self._tables().items()
        return "\n\n".join(f"{title}\n{table.to_string(float_format='{:,.3f}'.format)}" for title, table in tables)

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        (title, first), *rest = self._tables().items()
        parts = [notebook.table(notebook.records_of(first))]
        for heading, table in rest:
            parts += [notebook.heading(heading), notebook.table(notebook.records_of(table))]
        return notebook.box(title, *parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; NaN becomes None."""
        plain = plain_values({"format": FORMAT, **dataclasses.asdict(self)})
        assert isinstance(plain, dict)
        return plain

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Self:
        """What ``to_dict`` gave."""
        if spec.get("format") != FORMAT:
            raise ConfigError(f"an evaluation of format {spec.get('format')!r}; this version of plait reads {FORMAT}")
        later = ("worst", "baselines")  # what earlier versions did not write
        values = {f.name: spec[f.name] for f in dataclasses.fields(cls) if f.name not in later or f.name in spec}
        if values.get("baselines") is not None:
            values["baselines"] = Baselines(**values["baselines"])
        values["metrics"] = {name: _revived(record) for name, record in spec["metrics"].items()}
        for part in ("per_class", "subsets"):
            values[part] = [_revived(record) for record in spec[part]]
        return cls(**values)


def evaluate(
    model: Any,
    frame: pd.DataFrame,
    *,
    y: Any = None,
    subsets: bool | Mapping[Subset, Array] = True,
    bootstrap: int = 1000,
    seed: int = 0,
    partial: bool = False,
    baselines: pd.DataFrame | None = None,
) -> Evaluation:
    """Score a fitted model on the rows of a table.

    Args:
        model: a fitted estimator.
        frame: rows that the model has not seen, with the target.
        y: the target where it is not a column of the frame.
        subsets: score every subset of modalities too; or what ``model.predict_subsets`` gave already for these rows.
        bootstrap: resamples of the rows; fewer are drawn where rows and classes are very many. 0: no intervals.
        seed: of the resamples.
        partial: columns that the frame lacks make their modality absent instead of being an error.
        baselines: the rows that the model was fitted on, with the target: simple models are fitted on them, and compared
            with the model row by row, as ``plait fit`` does.
    """
    check_one(model)
    frame, baselines = as_frame(frame), None if baselines is None else as_frame(baselines)
    outputs = subsets if isinstance(subsets, Mapping) else None
    modalities = tuple(m.name for m in model.schema_.modalities)
    wanted = _subsets(modalities) if subsets or outputs is not None else [modalities]
    predictions = gather(model, frame, wanted, y=y, outputs=outputs, partial=partial)
    truth, given = predictions.truth, predictions.inputs()
    task, names, by_class = predictions.task, predictions.classes, predictions.task != "regression"
    scores = estimates(task, truth, given, bootstrap, seed)
    return Evaluation(
        task=task,
        target=str(model.schema_.target if model.schema_.target is not None else "y"),
        rows=len(truth),
        main_metric=predictions.main,
        classes=names,
        metrics={name: scores[name] for name in dict.fromkeys([predictions.main, *scores])},
        per_class=breakdown.per_class(names, truth, given["labels"], given["probabilities"]) if by_class else [],
        confusion=breakdown.confusion(names, truth, given["labels"]) if task == "classification" else None,
        reliability=_reliability(predictions, given),
        distribution=breakdown.distribution(names, truth),
        points=[] if by_class else breakdown.points(truth, given["values"], seed),
        subsets=_subset_scores(predictions, [s for s in wanted if s], bootstrap, seed) if len(wanted) > 1 else [],
        absences={name: int(k) for name, k in zip(modalities, predictions.absent.sum(0), strict=True)},
        seed=seed,
        worst=_worst(predictions, frame, given, model.schema_.columns),
        baselines=None if baselines is None else _beside(model, baselines, frame, y, predictions),
    )


def _beside(model: Any, train: pd.DataFrame, frame: pd.DataFrame, y: Any, predictions: Predictions) -> Baselines:
    """Baselines fitted on the rows of a training table that have a target."""
    if model.schema_.target is None:
        raise TableError("baselines need a model that knows its target's column; fit it with a schema")
    train = with_target(train, model.schema_.target)
    partial = getattr(model, "partial", False)
    validate(model.schema_, train, partial=partial)
    truth = model.target_of(frame) if y is None else y
    return baselines_beside(model, (train, model.target_of(train)), (frame, truth), predictions.outputs)


def _worst(predictions: Predictions, frame: pd.DataFrame, given: Mapping[str, Array], used: Sequence[str]) -> list[Any]:
    metric = metrics(predictions.task)[SECOND[predictions.task]]
    said = [as_read(predictions, y) for y in (predictions.truth, given["labels" if "labels" in given else "values"])]
    said = [[breakdown.UNKNOWN if s is None else s for s in values] for values in said]
    kept = frame[[c for c in used if c in frame.columns]]
    return breakdown.worst_rows(metric, predictions.truth, given[metric.input], kept, said)


def estimates(task: str, y: Array, given: Mapping[str, Array], bootstrap: int, seed: int) -> dict[str, Estimate]:
    """Every metric that the inputs (see ``plait.metrics.base``) allow, with its interval."""
    drawn = resample_metrics(task, y, given, bootstrap, seed) if bootstrap else {}
    result = {}
    for name, metric in metrics(task).items():
        if metric.input in given:
            score = metric.score(y, given[metric.input])
            result[name] = _bounded(metric, score.value, drawn.get(name), score.note)
    return result


def _bounded(metric: Metric, value: float, drawn: Array | None, note: str = "") -> Estimate:
    if drawn is None or math.isnan(value):
        return {"value": value, "low": math.nan, "high": math.nan, "note": note, "resamples": 0}
    low, high = interval(drawn, centre=value if metric.biased else None, limits=metric.range)
    return {"value": value, "low": low, "high": high, "note": note, "resamples": len(drawn)}


def _subsets(modalities: Subset) -> list[Subset]:
    if len(modalities) <= EVERY_SUBSET:
        return subsets_of(modalities)
    single = [(name,) for name in modalities]
    without = [tuple(other for other in modalities if other != name) for name in modalities]
    return [(), *single, *without, modalities]


def _reliability(predictions: Predictions, given: Mapping[str, Array]) -> list[dict[str, float]]:
    if predictions.task == "regression":
        return []
    p = given["probabilities"]
    if predictions.task == "multilabel":
        return breakdown.reliability(p.ravel(), predictions.truth.ravel().astype(float))
    return breakdown.reliability(p.max(1), (predictions.truth == given["labels"]).astype(float))


def _subset_scores(predictions: Predictions, subsets: Sequence[Subset], bootstrap: int, seed: int) -> list[SubsetScore]:
    metric = metrics(predictions.task)[predictions.main]
    outputs = [predictions.inputs(s)[metric.input] for s in subsets]
    values = [metric.score(predictions.truth, o) for o in outputs]
    full = list(subsets).index(predictions.modalities)
    drawn = resample_outputs(metric, predictions.truth, outputs, bootstrap, seed) if bootstrap else None  # (R, subsets)
    scores: list[SubsetScore] = []
    for i, subset in enumerate(subsets):
        score = _bounded(metric, values[i].value, None if drawn is None else drawn[:, i], values[i].note)
        low, high = (math.nan, math.nan) if drawn is None else interval(drawn[:, i] - drawn[:, full])
        apart = {"difference": values[i].value - values[full].value, "difference_low": low, "difference_high": high}
        scores.append(cast(SubsetScore, {"modalities": list(subset), **score, **apart}))
    return scores


def _revived(record: Mapping[str, object]) -> dict[str, object]:
    return {k: math.nan if v is None else v for k, v in record.items()}
