"""The section of modalities: which of them earn their keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from pandas import DataFrame

from plait.report import charts
from plait.report.blocks import Heading, Section, picture
from plait.report.words import listed, subset_name
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import INTERVAL, Evidence, against_sheet, scores_figure
from plait.study.statistics.scores import plain, size

#: What each verdict on "everything but this modality" means for the modality; the places are those of ``_forms``.
_SAID = {
    "subset": {
        "worse": "{0} earn{1} {3} keep (without {2} it is proven worse)",
        "equivalent": "{0} bring{1} nothing (without {2} it is proven equivalent)",
        "identical": "{0} bring{1} nothing (without {2} it is the same)",
        "better": "{0} do{5} harm (without {2} it is proven better)",
        "not decided": "whether {0} help{1} is not decided",
    },
    "present": {
        "worse": "the absence of {4} is proven to cost score",
        "equivalent": "the absence of {4} is proven to cost nothing",
        "identical": "the absence of {4} changes nothing",
        "better": "the absence of {4} is proven to help",
        "not decided": "whether the absence of {4} costs anything is not decided",
    },
}

NOTE = "● the reference; ▲ better than it; ≈ level with it, which is proven; ○ not decided; no sign: proven worse."
_VIEWS = {"subset": "Trained on only these", "present": "Trained on all, only these present at test"}


class Modalities(ReportSection):
    """Subsets at training and patterns at test, each against everything."""

    place = 20
    missing = ("Modalities", "one subset of modalities and one pattern of presence: nothing to compare")

    def sections(self, material: Material) -> Iterator[Section]:
        views = [(e, by, _part(e, by)) for e in material.evidence for by in _VIEWS]
        there = [(e, by, part) for e, by, part in views if len(part) and part[by].nunique() > 1]
        if not there:
            return
        section = Section("modalities", "Modalities", " ".join(_sentence(*view) for view in there[:3]))
        for e, by, part in there:
            title = _VIEWS[by] + f": {e.dataset}" * e.several
            section.add(Heading(f"{title} ({e.said(e.best)})" if e.headline["label"].nunique() > 1 else title))
            mine = part[part["label"] == e.best]
            value = e.against(mine, by, e.full)
            rows = e.compared(mine, value, by, names_of(e, value[by].astype(str)))
            rows.sort(key=lambda row: row["verdict"] != "reference")  # everything on top
            at, label = f"{by}{e.at}", e.metric.label
            intervals = f"{title}: {label}, 95\N{NO-BREAK SPACE}% intervals"
            section.add_row(
                picture(f"modalities-{at}", intervals, scores_figure(rows, e.label(), e.metric.range)),
                picture(f"modalities-map-{at}", f"{title}: mean {label} of every variant", _map(e, part, by)),
            )
            heads = ["modalities", e.label(), "against everything", INTERVAL, "difference", "sd"]
            section.add(against_sheet(e, rows, (f"modalities-{at}", "modalities"), heads, "everything", note=NOTE))
        yield section


def _part(evidence: Evidence, by: str) -> DataFrame:
    """Rows that differ in a subset at training, or in what is present at test."""
    table = evidence.table
    if by == "subset":
        return plain(table)
    result: DataFrame = table[(table["condition"] == evidence.clean) & (table["subset"] == evidence.full)]
    return result


def names_of(evidence: Evidence, subsets: Iterable[str]) -> dict[str, str]:
    """Subset -> as a reader sees it at a glance."""
    every = evidence.full.split("+")
    return {subset: subset_name(subset.split("+"), every) for subset in subsets}


def _sentence(evidence: Evidence, by: str, part: DataFrame) -> str:
    """Which modalities does the best variant need?"""
    value = evidence.against(part[part["label"] == evidence.best], by, evidence.full)
    verdicts = dict(zip(value[by].astype(str), value["verdict"].astype(str), strict=True))
    every = evidence.full.split("+")
    without = {m: verdicts.get("+".join(x for x in every if x != m), "") for m in every}
    parts = [
        text.format(*_forms([m for m, v in without.items() if v == verdict]))
        for verdict, text in _SAID[by].items()
        if verdict in without.values()
    ]
    if not parts:
        worse = [names_of(evidence, [s])[s] for s, v in verdicts.items() if v == "worse"]
        beaten = f"everything is proven better than {listed(worse)}"
        parts = [beaten if worse else "no subset is proven worse than everything"]
    return evidence.begun(f"{'trained' if by == 'subset' else 'tested'} on less than everything: {'; '.join(parts)}.")


def _forms(names: Sequence[str]) -> tuple[str, ...]:
    """Names, the verb's ending, what stands for them, whose; the names with "or", another ending."""
    one = len(names) == 1
    value = (listed(names, 6), "s", "it", "its") if one else (listed(names, 6), "", "any one of them", "their")
    return (*value, listed(names, 6, "or"), "es" if one else "")


def _map(evidence: Evidence, part: DataFrame, by: str) -> object:
    """Variants down, subsets across; None for one variant."""
    labels = [label for label in evidence.ranked if label in set(part["label"])]
    if len(labels) < 2:
        return None
    subsets = sorted({str(s) for s in part[by]}, key=lambda s: (-size(s), s))
    means = part.groupby(["label", by])["value"].mean()
    values = [[float(means.get((label, subset), math.nan)) for subset in subsets] for label in labels]
    texts = [[evidence.number(v) for v in line] for line in values]
    names = names_of(evidence, subsets)
    down, across = [evidence.names[label] for label in labels], [names[s] for s in subsets]
    axes = evidence.named_by, "modalities"
    return charts.map_figure(values, down, across, axes_are=axes, texts=texts, higher=evidence.higher)
