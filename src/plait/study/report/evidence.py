"""What the sections of a report share: each data set's scores, resamples and comparisons, computed once, and their figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pandas import DataFrame

from plait.metrics.base import Metric
from plait.report.blocks import Sheet, Table
from plait.report.canvas import COLOURS, ENDLESS, bound, rows_axes, settings
from plait.report.words import brief, number, slug
from plait.study.results import Results
from plait.study.statistics.compare import BEST, against_reference, best_of
from plait.study.statistics.comparison import CONSTANTS
from plait.study.statistics.scores import datasets, first, headline, metric_of, scores, whole
from plait.study.statistics.summary import Resampler, Summary, summary


@dataclass
class Evidence:
    """One data set of a study, judged by one metric."""

    results: Results
    dataset: str
    metric: Metric
    table: DataFrame
    resamples: int
    #: The data sets of the report, in order.
    among: Sequence[str] = ()

    @property
    def several(self) -> bool:
        """There are other data sets in the report."""
        return len(self.among) > 1

    @property
    def at(self) -> str:
        """Suffix of the data set's file names; empty where there is one data set."""
        if not self.several:
            return ""
        place, slugs = list(self.among).index(self.dataset), [slug(name) for name in self.among]
        return f"-{slugs[place]}" if slugs.count(slugs[place]) == 1 else f"-{slugs[place]}-{place + 1}"

    def begun(self, text: str) -> str:
        """A sentence from a text that begins small; it says which data set is meant where there are several."""
        return f"On {self.dataset}, {text}" if self.several else text[:1].upper() + text[1:]

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
    def _brief(self) -> tuple[dict[str, str], str]:
        return brief([str(label) for label in dict.fromkeys(self.table["label"])])

    @property
    def names(self) -> dict[str, str]:
        """Label -> as short as it can be."""
        return self._brief[0]

    @property
    def named_by(self) -> str:
        """What the short names tell: the heading of their column."""
        return self._brief[1]

    @cached_property
    def verdicts(self) -> dict[str, str]:
        """Label -> verdict against the best, best first."""
        return dict(zip(self.comparison["label"], self.comparison["verdict"], strict=True))

    @cached_property
    def means(self) -> dict[str, float]:
        """Label -> mean on all modalities."""
        return {str(k): float(v) for k, v in self.headline.groupby("label")["value"].mean().items()}

    @property
    def ranked(self) -> list[str]:
        """Labels, best first."""
        return list(self.verdicts)

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

    def compared(self, part: DataFrame, frame: DataFrame, by: str, names: Mapping[str, str]) -> list[dict[str, Any]]:
        """What figures and tables show of a comparison of the values of a column (``against``): a record for each."""
        result = []
        for row in frame.to_dict("records"):
            mine = part[part[by] == row[by]]
            s = self.summary(mine)
            record = {"key": row[by], "name": names[row[by]], "verdict": row["verdict"], "runs": mine["value"].tolist()}
            result.append(record | {"mean": s.mean, "low": s.low, "high": s.high, "summary": s, "row": row})
        return result

    @cached_property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Label -> its record on all modalities, best first."""
        records = self.compared(self.headline, self.comparison, "label", self.names)
        return {record["key"]: record for record in records}

    def against(self, part: DataFrame, by: str, reference: str = BEST) -> DataFrame:
        """Values of a column against one of them."""
        return against_reference(part, by, self.metric, self.resampler, against=reference)

    def said(self, label: str) -> str:
        """A variant within a sentence."""
        return f"“{self.names[label]}”"

    def number(self, value: float) -> str:
        """A value of the metric."""
        return number(value, significant=not math.isfinite(self.metric.range[1]))

    def signed(self, value: float) -> str:
        """A difference with its sign."""
        text = self.number(abs(value))
        return text if text == "–" else ("+" if value >= 0 else "−") + text

    def interval(self, low: float, high: float) -> str:
        """Two ends."""
        return f"{self.number(low)} to {self.number(high)}" if math.isfinite(low) else "–"

    def label(self) -> str:
        """The metric, and which way is better."""
        return f"{self.metric.label}\N{NO-BREAK SPACE}{'↑' if self.higher else '↓'}"


def gather(results: Results, metric: str | None, resamples: int) -> list[Evidence]:
    """The evidence of every data set with something to compare."""
    result: list[Evidence] = []
    for dataset in datasets(results, metric):
        known = metric_of(results, dataset, metric)
        evidence = Evidence(results, dataset, known, scores(results, dataset, known.name), resamples)
        result += [evidence] if len(evidence.headline) else []
    for evidence in result:
        evidence.among = [other.dataset for other in result]
    return result


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
_WORDS = {"reference": "the reference", "identical": "equivalent"}


def scores_figure(rows: Sequence[Mapping[str, Any]], label: str, ends: tuple[float, float] = ENDLESS) -> Any:
    """Mean with its interval, and every run as a tick; None without rows.

    Rows, best first, have name, mean, low, high, verdict and runs (values); ``ends``: of the metric's range.
    """

    def ticks(ax: Any, places: Sequence[float]) -> None:
        for place, row in zip(places, rows, strict=True):
            ax.plot(row["runs"], [place] * len(row["runs"]), "|", ms=5, mew=0.8, color=COLOURS["muted"], alpha=0.55)

    return _intervals_figure(rows, "mean", label, ticks, ends)


def differences_figure(rows: Sequence[Mapping[str, Any]], label: str, margin: float) -> Any:
    """Differences from the reference with their intervals; the band is what does not matter. None without rows.

    Rows have name, difference, low, high and verdict; the reference is none of them.
    """

    def band(ax: Any, places: Sequence[float]) -> None:
        if math.isfinite(margin):
            ax.axvspan(-margin, margin, color=COLOURS["sky"], alpha=0.22, lw=0)
        ax.axvline(0, color=COLOURS["muted"], lw=0.8)

    return _intervals_figure([row for row in rows if math.isfinite(row["difference"])], "difference", label, band)


def _intervals_figure(
    rows: Sequence[Mapping[str, Any]],
    key: str,
    label: str,
    behind: Callable[[Any, Sequence[float]], None],
    ends: tuple[float, float] = ENDLESS,
) -> Any:
    """A line per row: its value in the form of its verdict, with its interval."""
    if not rows:
        return None
    with settings():
        per_row = 13.5 if len(rows) > 12 else 18.0
        figure, ax, places = rows_axes([row["name"] for row in rows], per_row=per_row, top=26.0, most=28)
        behind(ax, places)
        for place, row in zip(places, rows, strict=True):
            name, marker, filled = LOOKS[row["verdict"]]
            colour = COLOURS[name]
            if math.isfinite(row["low"]) and math.isfinite(row["high"]):
                ax.plot(
                    [row["low"], row["high"]], [place, place], color=colour, lw=1.7, alpha=0.55, solid_capstyle="butt"
                )
            ax.plot([row[key]], [place], marker, ms=5.5, color=colour, mfc=colour if filled else "none", mew=1.3)
        ax.margins(x=0.05)
        bound(ax.xaxis, ends)
        ax.set_xlabel(label)
        _legend(ax, [row["verdict"] for row in rows])
    return figure


def _legend(ax: Any, verdicts: Sequence[str]) -> None:
    """What the forms mean, of those that are there."""
    options: dict[str, tuple[str, str, bool]] = {}
    for verdict, look in LOOKS.items():
        if verdict in verdicts:
            options.setdefault(_WORDS.get(verdict, verdict), look)
    handles = [
        ax.plot([], [], m, color=COLOURS[c], mfc=COLOURS[c] if full else "none", ms=5.5, label=word)[0]
        for word, (c, m, full) in options.items()
    ]
    spaces = {"borderpad": 0.1, "borderaxespad": 0.2, "handletextpad": 0.1, "columnspacing": 1.0}
    ax.figure.legend(handles=handles, loc="upper left", ncols=4, **spaces)


#: Heading of a column.
INTERVAL = "95\N{NO-BREAK SPACE}% interval"


def signed_number(value: float) -> str:
    """A number with its sign."""
    return ("+" if value >= 0 else "−") + number(abs(value))


def against_sheet(
    evidence: Evidence,
    rows: Sequence[Mapping[str, Any]],
    table: tuple[str, str],
    heads: Sequence[str],
    itself: str,
    *,
    title: str = "",
    note: str = "",
) -> Sheet:
    """A comparison with a reference, which ``itself`` says in words; folded where it has a title.

    ``table``: of the CSV file, its name and what the first column is; ``heads``: of as many cells as are shown.
    """
    full, shown = [], []
    for record in rows:
        row, s, plain = record["row"], record["summary"], record["verdict"] == "reference"
        compared = [row.get(k, math.nan) for k in ("difference", "low", "high", "p_holm", "d", "equivalence")]
        full.append([record["key"], s.runs, s.mean, s.sd, s.low, s.high, *compared, row["verdict"], row["words"]])
        said = [record["name"], evidence.number(s.mean), itself if plain else row["words"]]
        said += [evidence.interval(s.low, s.high), "" if plain else evidence.signed(row["difference"])]
        shown.append([*said, evidence.number(s.sd)][: len(heads)])
    columns = [table[1], "runs", "mean", "sd", "low", "high", "difference", "difference_low", "difference_high"]
    columns += ["p_holm", "d", "equivalence", "verdict", "words"]
    marks, numeric = [record["verdict"] for record in rows], [1, *range(3, len(heads))]
    return Sheet(Table(table[0], columns, full), title, heads, shown, numeric, marks, note, bool(title))
