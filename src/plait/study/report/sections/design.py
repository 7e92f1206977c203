"""The section of design: depth by operator, or whichever two fields a grid has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from plait.report import charts
from plait.report.blocks import Picture, Section, Sheet, Table, picture
from plait.report.words import counted
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import Evidence

#: Order of words that have one.
ORDERED = ("early", "middle", "late", "decision")


class Design(ReportSection):
    """Maps of two settings: depth by operator, or whichever two fields a grid has."""

    place = 30
    missing = ("Depth by operator", "the grid does not have two fields that vary")

    def sections(self, material: Material) -> Iterator[Section]:
        result = [(e, fields) for e in material.evidence if (fields := _fields(e)) is not None]
        if not result:
            return
        down, across = result[0][1]
        title = f"{down.capitalize()} by {across}" if (down, across) != ("depth", "fusion") else "Depth by operator"
        section = Section("design", title, " ".join(_sentence(e, f) for e, f in result[:2]))
        for e, fields in result:
            drawn, table = _picture(e, fields, f"design{e.at}")
            section.add_row(drawn)
            section.add(table)
        yield section


def _fields(evidence: Evidence) -> tuple[str, str] | None:
    """Rows and columns: depth and fusion, else the only two fields that vary."""
    runs = evidence.results.runs
    part = runs[runs["variant"].isin(set(evidence.headline["variant"]))]
    varied = [str(c)[4:] for c in part if str(c).startswith("set.") and part[c].nunique(dropna=True) > 1]
    if "depth" in varied and "fusion" in varied:
        return "depth", "fusion"
    fields = (varied[0], varied[1]) if len(varied) == 2 else None
    return fields if fields and _cells(evidence, fields) else None  # no variant may have both


def _cells(evidence: Evidence, fields: tuple[str, str]) -> dict[tuple[str, str], list[str]]:
    """Labels of the variants in each cell; other fields than the two may tell several apart."""
    runs = evidence.results.runs.drop_duplicates("variant").set_index("variant")
    result: dict[tuple[str, str], list[str]] = {}
    for label, variant in dict(zip(evidence.headline["label"], evidence.headline["variant"], strict=True)).items():
        place = tuple(runs.loc[variant, f"set.{field}"] for field in fields)
        if all(value is not None and value == value for value in place):
            result.setdefault((str(place[0]), str(place[1])), []).append(str(label))
    return result


def _sorted(values: Sequence[str]) -> list[str]:
    """Words in their order, numbers by size, the rest as they come."""
    names = list(dict.fromkeys(values))

    def key(value: str) -> tuple[int, float]:
        if value in ORDERED:
            return 0, float(ORDERED.index(value))
        try:
            return 1, float(value)
        except ValueError:
            return 2, float(names.index(value))

    return sorted(names, key=key)


def _sentence(evidence: Evidence, fields: tuple[str, str]) -> str:
    cells = _cells(evidence, fields)
    where = next((place for place, labels in cells.items() if evidence.best in labels), None)
    if where is None:
        return evidence.begun("the best variant lies outside this map.")
    level = sum(not _all_worse(evidence, labels) for place, labels in cells.items() if place != where)
    message = evidence.begun(f"“{where[0]}” with “{where[1]}” holds the best variant")
    others = f"the {counted(len(cells) - 1, 'other cell')}"
    if level == 0:
        return f"{message}; all in {others} are proven worse."
    return f"{message}; {level} of {others} hold one that is not proven worse (dashed)."


def _all_worse(evidence: Evidence, labels: Sequence[str]) -> bool:
    return all(evidence.verdicts[label] == "worse" for label in labels)


def _picture(evidence: Evidence, fields: tuple[str, str], name: str) -> tuple[Picture | None, Sheet]:
    cells = _cells(evidence, fields)
    rows, columns = _sorted([a for a, _ in cells]), _sorted([b for _, b in cells])
    if len(columns) < len(rows) and fields != ("depth", "fusion"):
        rows, columns, fields = columns, rows, (fields[1], fields[0])
        cells = {(b, a): labels for (a, b), labels in cells.items()}
    values = [[_mean([evidence.means[x] for x in cells.get((a, b), [])]) for b in columns] for a in rows]
    places = {(rows.index(a), columns.index(b)): labels for (a, b), labels in cells.items()}
    best = next((place for place, labels in places.items() if evidence.best in labels), None)
    ties = [place for place, labels in places.items() if place != best and not _all_worse(evidence, labels)]
    texts = [[evidence.number(v) if math.isfinite(v) else "" for v in line] for line in values]
    looks: Any = {"axes_are": fields, "texts": texts, "framed": (best, ties), "higher": evidence.higher}
    figure = charts.map_figure(values, rows, columns, **looks)
    several = ", mean over the other settings" if any(len(labels) > 1 for labels in cells.values()) else ""
    caption = f"{evidence.metric.label} on {evidence.dataset}{several}"
    caption += "; darker: better; framed: with the best variant; dashed: not proven worse"
    full = [[a, *line] for a, line in zip(rows, values, strict=True)]
    shown = [[a, *[evidence.number(v) for v in line]] for a, line in zip(rows, values, strict=True)]
    table = Table(name, [f"{fields[0]} \\ {fields[1]}", *columns], full)
    folded = Sheet(table, "The same as a table", table.columns, shown, range(1, len(columns) + 1), folded=True)
    return picture(name, caption, figure), folded


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
