"""What the sections of a report share: each data set's scores, resamples and comparisons, computed once, and their figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from plait.metrics.base import Metric
from plait.report.blocks import Table
from plait.report.canvas import COLOURS, rows_axes, settings
from plait.report.words import brief, number, slug
from plait.study.results import Results
from plait.study.statistics.compare import BEST, against_reference, best_of
from plait.study.statistics.comparison import CONSTANTS
from plait.study.statistics.scores import datasets, first, headline, metric_of, scores, whole
from plait.study.statistics.summary import Resampler, Summary, summary

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass
class Evidence:
    """One data set of a study, judged by one metric."""

    results: Results
    dataset: str
    metric: Metric
    table: DataFrame
    resamples: int
    _summaries: dict[str, Summary] = field(default_factory=dict, repr=False)

    @cached_property
    def resampler(self) -> Resampler:
        """The resampler of all runs of the data set."""
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


def gather(results: Results, metric: str | None, resamples: int) -> list[Evidence]:
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


#: Verdict -> colour, marker, filled. The form says it too, for whoever does not see the colour.
LOOKS: dict[str, tuple[str, str, bool]] = {
    "best": ("blue", "o", True),
    "reference": ("blue", "o", True),
    "better": ("blue", "^", True),
    "equivalent": ("green", "s", True),
    "identical": ("green", "s", True),
    "not decided": ("muted", "o", False),
    "worse": ("orange", "d", True),
}
_WORDS = {
    "reference": "the reference",
    "equivalent": "equivalent",
    "identical": "equivalent",
    "not decided": "not decided",
    "worse": "worse",
}


def scores_figure(rows: Sequence[Mapping[str, Any]], label: str) -> Any:
    """Mean with its interval, and every run as a tick; None without rows.

    Args:
        rows: best first: name, mean, low, high, verdict, runs (values).
        label: of the metric.
    """
    if not rows:
        return None
    with settings():
        figure, ax, places = _rows(rows)
        for place, row in zip(places, rows, strict=True):
            ax.plot(row["runs"], [place] * len(row["runs"]), "|", ms=5, mew=0.8, color=COLOURS["muted"], alpha=0.55)
            _line(ax, place, row["low"], row["high"], row["verdict"])
            _dot(ax, row["mean"], place, row["verdict"])
        ax.margins(x=0.05)
        ax.set_xlabel(label)
        _legend(ax, [row["verdict"] for row in rows])
    return figure


def differences_figure(rows: Sequence[Mapping[str, Any]], label: str, margin: float) -> Any:
    """Differences from the reference with their intervals; the band is what does not matter. None without rows.

    Args:
        rows: name, difference, low, high, verdict; without the reference itself.
        label: of the axis.
        margin: of equivalence.
    """
    values = [row for row in rows if math.isfinite(row["difference"])]
    if not values:
        return None
    with settings():
        figure, ax, places = _rows(values)
        if math.isfinite(margin):
            ax.axvspan(-margin, margin, color=COLOURS["sky"], alpha=0.22, lw=0)
        ax.axvline(0, color=COLOURS["muted"], lw=0.8)
        for place, row in zip(places, values, strict=True):
            _line(ax, place, row["low"], row["high"], row["verdict"])
            _dot(ax, row["difference"], place, row["verdict"])
        ax.margins(x=0.05)
        ax.set_xlabel(label)
        _legend(ax, [row["verdict"] for row in values])
    return figure


def _rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    many = len(rows) > 12
    return rows_axes([row["name"] for row in rows], per_row=13.5 if many else 18.0, top=26.0, most=28)


def _line(ax: Any, place: float, low: float, high: float, verdict: str) -> None:
    if math.isfinite(low) and math.isfinite(high):
        ax.plot(
            [low, high], [place, place], color=COLOURS[LOOKS[verdict][0]], lw=1.7, alpha=0.55, solid_capstyle="butt"
        )


def _dot(ax: Any, value: float, place: float, verdict: str) -> None:
    colour, marker, filled = LOOKS[verdict]
    face = COLOURS[colour] if filled else "none"
    ax.plot([value], [place], marker, ms=5.5, color=COLOURS[colour], mfc=face, mew=1.3)


def _legend(ax: Any, verdicts: Sequence[str]) -> None:
    """What the forms mean, of those that are there."""
    options: dict[str, tuple[str, str, bool]] = {}
    for verdict in ("best", "reference", "better", "equivalent", "identical", "not decided", "worse"):
        if verdict in verdicts:
            options.setdefault(_WORDS.get(verdict, verdict), LOOKS[verdict])
    handles = [
        ax.plot([], [], m, color=COLOURS[c], mfc=COLOURS[c] if full else "none", ms=5.5, label=word)[0]
        for word, (c, m, full) in options.items()
    ]
    ax.figure.legend(
        handles=handles,
        loc="upper left",
        ncols=4,
        borderpad=0.1,
        borderaxespad=0.2,
        handletextpad=0.1,
        columnspacing=1.0,
    )


#: Heading of a column.
INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def interval(evidence: Evidence, low: float, high: float) -> str:
    """Two ends."""
    return f"{evidence.number(low)} to {evidence.number(high)}" if math.isfinite(low) else "–"


def suffix(evidence: Evidence, all_of_them: Sequence[Evidence]) -> str:
    """Suffix of a data set's file names; empty where there is one data set."""
    if len(all_of_them) == 1:
        return ""
    place = [e.dataset for e in all_of_them].index(evidence.dataset)
    slugs = [slug(e.dataset) for e in all_of_them]
    return f"-{slugs[place]}" if slugs.count(slugs[place]) == 1 else f"-{slugs[place]}-{place + 1}"


def signed_number(value: float) -> str:
    """A number with its sign."""
    return ("+" if value >= 0 else "−") + number(abs(value))


def against_table(name: str, head: str, rows: Sequence[tuple[Mapping[str, Any], Summary]]) -> Table:
    """Every number of comparisons with a reference, for their CSV file; each row's first cell is its value under ``head``."""
    columns = [head, "runs", "mean", "sd", "low", "high", "difference", "difference_low", "difference_high"]
    columns += ["p_holm", "d", "equivalence", "verdict", "words"]
    full = []
    for row, s in rows:
        compared = [row.get(k, math.nan) for k in ("difference", "low", "high", "p_holm", "d", "equivalence")]
        full.append([row["value"], s.runs, s.mean, s.sd, s.low, s.high, *compared, row["verdict"], row["words"]])
    return Table(name, columns, full)
