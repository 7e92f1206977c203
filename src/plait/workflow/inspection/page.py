"""The page of an inspection."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from plait.metrics.base import MAIN, metrics
from plait.report.figures.inspection import planes_figure, probes_figure, similarity_figure
from plait.report.sections import Facts, Heading, Section, Sheet, Text, picture
from plait.report.sections_page import write_sections
from plait.workflow.inspection.embeddings import ABOUT, ALL, PLACES
from plait.workflow.inspection.projection import LABELS
from plait.workflow.inspection.result import Inspection, as_table

CAUTION = (
    "Probes learn on the rows that the network learned on, too: after layers that know those rows by heart a probe may read less "
    "of new rows than before them, without the network's answer being worse."
)


def write_page(inspection: Inspection, folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` (extra ``report``)."""
    sections = [
        _probes(inspection),
        *_pictures(inspection),
        _similarity(inspection),
        _spread(inspection),
        _costs(inspection),
        _origin(inspection),
    ]
    return write_sections(
        "inspection.html.j2",
        folder,
        name=" and ".join(inspection.runs),
        lead=sections[0].sentence,
        facts=_facts(inspection),
        sections=sections,
    )


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    test = len(inspection.rows.frame) - inspection.rows.train
    facts = [("training rows", f"{inspection.rows.train:,}"), ("test rows", f"{test:,}")]
    if inspection.rows.labels:
        facts.append(("classes", str(len(inspection.rows.labels))))
    return [*facts, ("representations", str(len(inspection.measures)))]


def _label(inspection: Inspection) -> str:
    return metrics(inspection.task)[MAIN[inspection.task]].label


def _probes(inspection: Inspection) -> Section:
    section = Section("probes", "What a linear probe reads", _probe_sentence(inspection))
    records = [
        {"name": f"{r['modality']} · {r['place']}", "run": r["run"], "value": r["probe"], "low": r["probe_low"]}
        | {"high": r["probe_high"], "chance": r["chance"]}
        for r in inspection.measures.to_dict("records")
    ]
    order = [f"{m} · {p}" for m in dict.fromkeys(inspection.measures["modality"]) for p in PLACES]
    records.sort(key=lambda r: order.index(r["name"]))
    label = f"{_label(inspection)} of a linear probe on test rows"
    section.add_row(picture("probes", f"{label}, with 95 % intervals over rows.", probes_figure(records, label)))
    shown = inspection.measures[["run", "modality", "place", "width", "probe", "probe_low", "probe_high", "chance"]]
    section.add(_sheet("measures", inspection.measures, shown, "The same as a table", folded=True))
    section.add(Facts([(place, ABOUT[place]) for place in PLACES if place in set(inspection.measures["place"])]))
    section.add(Text(CAUTION))
    return section


def _probe_sentence(inspection: Inspection) -> str:
    """What changed from before to after, of the first run; with two, what the second reads more before fusion."""
    table = inspection.measures.set_index(["run", "modality", "place"])["probe"]
    first = inspection.runs[0]
    parts = []
    names = [m for m in dict.fromkeys(inspection.measures["modality"]) if m != ALL]
    for name in names:
        before, after = (table.get((first, name, place), math.nan) for place in ("encoder", "joint"))
        if len(inspection.runs) > 1:
            other = table.get((inspection.runs[1], name, "encoder"), math.nan)
            parts.append(f"{name} {_written(before)} in “{first}” and {_written(other)} in “{inspection.runs[1]}”")
        else:
            parts.append(
                f"{name} {_written(before)}"
                + (f" and, after fusion, {_written(after)}" if math.isfinite(after) else "")
            )
    words = "before fusion" if len(inspection.runs) > 1 else "before fusion, with that modality alone"
    label = _label(inspection)
    return f"{label[0].upper()}{label[1:]} that a linear probe reads {words}: {'; '.join(parts)}."


def _written(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "(not to be said)"


def _pictures(inspection: Inspection) -> list[Section]:
    section = Section(
        "pictures",
        "On a plane",
        "Test rows, coloured by class; what lies together in t-SNE or UMAP are neighbours, other distances mean nothing.",
    )
    names = inspection.rows.names()
    for place_of_run, run in enumerate(inspection.runs):
        if len(inspection.runs) > 1:
            section.add(Heading(run))
        drawn = []
        for way, each in inspection.pictures[run].items():
            panels = {
                (e.modality, e.place): (each[e.name][1], [names[i] for i in each[e.name][0]])
                for e in inspection.embeddings[run]
                if e.name in each
            }
            caption = f"{LABELS[way]} of “{run}”, one plane per modality (down) and place (across)."
            drawn.append(picture(f"{way}-{place_of_run + 1}", caption, planes_figure(panels)))
        section.add_row(*drawn)
    return [section] if section.pictures else []


def _similarity(inspection: Inspection) -> Section:
    down, across = (list(dict.fromkeys(inspection.cka[side])) for side in ("a", "b"))
    grid = inspection.cka.pivot(index="a", columns="b", values="cka").loc[down, across].to_numpy()
    runs = (inspection.runs[0], inspection.runs[-1])
    value = "between both runs" if len(inspection.runs) > 1 else "within the run"
    section = Section(
        "similarity", "How alike they are", f"Debiased linear CKA {value}: 1 is the same up to rotation, 0 unrelated."
    )
    which = f"“{runs[0]}” down, “{runs[1]}” across" if len(set(runs)) > 1 else f"“{runs[0]}”"
    caption = f"Debiased linear CKA of test rows: {which}."
    section.add_row(picture("cka", caption, similarity_figure((down, across), grid, runs)))
    return section


def _spread(inspection: Inspection) -> Section:
    section = Section(
        "spread",
        "Alignment and uniformity",
        "Rows of one class near each other (class alignment: 0 best) while all rows are spread out (uniformity: lower is more).",
    )
    shown = inspection.measures[["run", "modality", "place", "class_alignment", "uniformity"]]
    section.add(_sheet("spread", shown, shown, ""))
    if len(inspection.alignment):
        title = "The same row through two modalities, in the joint space (shuffled: through another row)"
        section.add(_sheet("alignment", inspection.alignment, inspection.alignment, title))
    return section


def _costs(inspection: Inspection) -> Section:
    several = len(inspection.runs) > 1
    title = "What one has over the other" if several else "Scores and costs"
    words = (
        "Scores on the same unseen rows; differences with paired 95 % bootstrap intervals."
        if several
        else "On unseen rows."
    )
    section = Section("comparison", title, words)
    section.add(_sheet("comparison", inspection.comparison, inspection.comparison, ""))
    return section


def _origin(inspection: Inspection) -> Section:
    section = Section(
        "origin",
        "Where this comes from",
        f"Target “{inspection.target}”; probes never learn from the rows they are judged on.",
    )
    pairs = [
        (run, "fitted on exactly the training rows here: its test rows are unseen" if known else
         "fitted on other rows: it may have seen test rows, so that probes of what it learned may be too good")
        for run, known in inspection.unseen.items()
    ]  # fmt: skip
    section.add(Facts(pairs))
    section.add(Text(inspection.command, code=True) if inspection.command else None)
    return section


def _sheet(name: str, full: pd.DataFrame, shown: pd.DataFrame, title: str, *, folded: bool = False) -> Sheet:
    numeric = [i for i, c in enumerate(shown.columns) if pd.api.types.is_numeric_dtype(shown[c])]
    rows = [[_cell(v) for v in row] for row in shown.itertuples(index=False)]
    columns = [str(c).replace("_", " ") for c in shown.columns]
    return Sheet(as_table(name, full), title, columns, rows, numeric, folded=folded)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"
    return str(value)
