"""What the sections of a report share: each data set's scores, resamples and comparisons, computed once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from plait.metrics.base import Metric
from plait.report.words import brief, number
from plait.study.statistics.compare import BEST, against_reference, best_of
from plait.study.statistics.comparison import CONSTANTS
from plait.study.statistics.resampling import Resampler
from plait.study.statistics.scores import StudyResults, datasets, first, headline, metric_of, scores, whole
from plait.study.statistics.summary import Summary, summary

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class Evidence:
    """One data set of a study, judged by one metric."""

    results: StudyResults
    dataset: str
    metric: Metric
    table: DataFrame
    resamples: int
    _summaries: dict[str, Summary] = field(default_factory=dict, repr=False)

    @cached_property
    def resampler(self) -> Resampler:
        """Of all its runs."""
        return Resampler(self.results, self.table, self.metric, resamples=self.resamples)

    @cached_property
    def headline(self) -> DataFrame:
        """Scores on all modalities, as they are."""
        return headline(self.table)

    @cached_property
    def comparison(self) -> DataFrame:
        """Every variant against the best."""
        return against_reference(self.headline, "label", self.metric, self.resampler)

    @property
    def constant(self) -> str:
        """What a constant answer is called."""
        return CONSTANTS[self.metric.task]

    @property
    def at_chance(self) -> bool:
        """Every variant is known to be no better than a constant answer: nothing follows from their scores."""
        return all(above is False for above in self.comparison["above"])

    @cached_property
    def best(self) -> str:
        """Label of the best variant."""
        return best_of(self.headline, "label", self.metric)

    @cached_property
    def names(self) -> dict[str, str]:
        """Label -> as short as it can be."""
        return brief([str(label) for label in dict.fromkeys(self.table["label"])])[0]

    @cached_property
    def named_by(self) -> str:
        """What the short names tell: the heading of their column."""
        return brief([str(label) for label in dict.fromkeys(self.table["label"])])[1]

    @cached_property
    def ranked(self) -> list[str]:
        """Labels, best first."""
        return [str(label) for label in self.comparison["label"]]

    @cached_property
    def full(self) -> str:
        """The subset with all modalities."""
        return whole(self.headline["subset"])

    @cached_property
    def clean(self) -> str:
        """The plain condition."""
        return first(self.table["condition"])

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.metric.direction == "higher"

    def summary(self, part: DataFrame) -> Summary:
        """Mean, spread and interval of rows that differ by seed and split only."""
        return summary(part, self.metric, self.resampler)

    def summary_of(self, label: str) -> Summary:
        """The same for a variant on all modalities, kept."""
        if label not in self._summaries:
            self._summaries[label] = self.summary(self.headline[self.headline["label"] == label])
        return self._summaries[label]

    def against(self, part: DataFrame, by: str, reference: str = BEST) -> DataFrame:
        """Values of a column against one of them."""
        return against_reference(part, by, self.metric, self.resampler, against=reference)

    def said(self, label: str) -> str:
        """A variant within a sentence."""
        return f"“{self.names[label]}”"

    def number(self, value: float) -> str:
        """A value of the metric."""
        return number(value, significant=not math.isfinite(self.metric.range[1]))

    def gain(self, value: float) -> float:
        """A difference, turned so that above 0 is better."""
        return value if self.higher else -value

    def label(self) -> str:
        """The metric, and which way is better."""
        return f"{self.metric.label}\N{NO-BREAK SPACE}{'↑' if self.higher else '↓'}"


def gather(results: StudyResults, metric: str | None, resamples: int) -> list[Evidence]:
    """The evidence of every data set with something to compare."""
    result = []
    for dataset in datasets(results, metric):
        known = metric_of(results, dataset, metric)
        evidence = Evidence(results, dataset, known, scores(results, dataset, known.name), resamples)
        if len(evidence.headline):
            result.append(evidence)
    return result


def signed(evidence: Evidence, value: Any) -> str:
    """A difference with its sign."""
    setting = evidence.number(abs(value))
    return setting if setting == "–" else ("+" if value >= 0 else "−") + setting


def records(frame: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame as mappings."""
    options: list[dict[str, Any]] = frame.to_dict("records")
    return options
