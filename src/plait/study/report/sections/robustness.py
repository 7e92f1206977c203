"""The section of robustness: what noise and absence cost, as curves, maps and a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from pandas import DataFrame

from plait.base.errors import ConfigError
from plait.report import charts
from plait.report.blocks import Heading, Picture, Section, Sheet, Table, picture
from plait.report.words import counted, slug
from plait.study.report import Material, ReportSection
from plait.study.report.evidence import INTERVAL, Evidence, against_sheet

#: Maps of two strengths that are shown, best variants first.
MAPS = 4
#: Lines with an interval: more of them hide each other.
BANDS = 3
KINDS = ("axis.kind", "axis.modality", "axis.strength")
NOTE = "● without any condition; ▲ better; ≈ level with it, which is proven; ○ not decided; no sign: proven worse."


class Robustness(ReportSection):
    """Every condition at test against none: curves, maps and a table."""

    place = 40
    missing = ("Robustness", "no conditions at test")

    def sections(self, material: Material) -> Iterator[Section]:
        result = [(e, part) for e in material.evidence if (part := judged(e))["condition"].nunique() > 1]
        if not result:
            return
        section = Section("robustness", "Robustness", " ".join(_sentence(e, part) for e, part in result[:3]))
        for e, part in result:
            if e.several:
                section.add(Heading(e.dataset))
            section.add_row(*_curves(e, part))
            for maps in _maps(e, part):
                section.add_row(*maps)
            section.add(_sheet(e, part), _everyone(e, part))
        yield section


def judged(evidence: Evidence) -> DataFrame:
    """Models of all modalities under every condition, with all present."""
    table = evidence.table
    result: DataFrame = table[(table["subset"] == evidence.full) & (table["present"] == table["subset"])]
    return result


def _sentence(evidence: Evidence, part: DataFrame) -> str:
    value = evidence.against(part[part["label"] == evidence.best], "condition", evidence.clean)
    others = value[value["verdict"] != "reference"]
    worse, level = others[others["verdict"] == "worse"], others[others["verdict"].isin(("equivalent", "identical"))]
    on = f"on {evidence.dataset} " if evidence.several else ""
    name = evidence.said(evidence.best)
    free = f"{counted(len(level), 'is', 'are')} proven to cost nothing"
    if worse.empty:
        return f"No condition {on}is proven to cost {name} anything; {free} (of {len(others)})."
    most: Any = worse.iloc[int(worse["difference"].abs().argmax())]
    return (
        f"{len(worse)} of {counted(len(others), 'condition')} {on}{'are' if len(worse) > 1 else 'is'} proven to cost {name} "
        f"something, most of all {most['condition']} ({evidence.signed(most['difference'])})"
        + (f"; {free}." if len(level) else ".")
    )


def _curves(evidence: Evidence, part: DataFrame) -> list[Picture | None]:
    """One figure for each kind of condition and modality with several strengths."""
    if not set(KINDS) <= set(part):
        return []
    single = part[part["axis.strength"].notna()]
    pictures = []
    for (kind, modality), group in single.groupby(["axis.kind", "axis.modality"], sort=False):
        if group["axis.strength"].nunique() > 1 or (group["axis.strength"] != 0).any():
            figure = _curve(evidence, part, group, str(kind))
            caption = f"{evidence.metric.label} on {evidence.dataset} under {spoken(kind)} ({modality})"
            caption += "; bands: 95\N{NO-BREAK SPACE}% intervals" if len(evidence.ranked) <= BANDS else ""
            pictures.append(picture(f"curve-{slug(f'{kind} {modality}')}{evidence.at}", caption, figure))
    return pictures


def _curve(evidence: Evidence, part: DataFrame, group: DataFrame, kind: str) -> object:
    labels = [label for label in evidence.ranked if label in set(group["label"])]
    curves = []
    for place, label in enumerate(labels):
        mine = group[group["label"] == label]
        points = {s: mine[mine["axis.strength"] == s] for s in _levels(mine["axis.strength"])}
        if 0.0 not in points:
            clean = part[(part["label"] == label) & (part["condition"] == evidence.clean)]
            points |= {0.0: clean} if len(clean) else {}
        xs = sorted(points)
        ys = [float(points[x]["value"].mean()) for x in xs]
        ends: list[Any] = [(), ()]
        if len(labels) <= BANDS:
            values = [evidence.summary(points[x]) for x in xs]
            ends = [[s.low for s in values], [s.high for s in values]]
        name = evidence.names[label] if place < charts.NAMED and len(labels) > 1 else ""
        named = name or (evidence.names[label] if len(labels) == 1 else "")
        curves.append(charts.Curve(named, xs, ys, *ends))
    return charts.curves_figure(curves, _strength(kind), evidence.label(), ends=evidence.metric.range)


def _strength(kind: str) -> str:
    """What the x axis measures."""
    from plait.base import registry

    try:
        return str(registry.find("conditions", kind).measure)
    except ConfigError:  # a chain of several kinds, or a condition of another package
        return "strength"


def _maps(evidence: Evidence, part: DataFrame) -> list[list[Picture | None]]:
    """For conditions on two modalities at once: a map for each of the best variants, and the difference of the first two."""
    factors = [str(c) for c in part if str(c).startswith("axis.") and c not in KINDS]
    both = [f for f in factors if part[f].notna().any()]
    result = []
    for i, down in enumerate(both):
        for across in both[i + 1 :]:
            others = [f for f in both if f not in (down, across)]
            group = part[part[[down, across]].notna().all(axis=1) & part[others].isna().all(axis=1)]
            for kind, value in group.groupby("axis.kind", sort=False):
                result.append(_map_row(evidence, part, value, str(kind), down, across))
    return result


def _map_row(
    evidence: Evidence, part: DataFrame, group: DataFrame, kind: str, down: str, across: str
) -> list[Picture | None]:
    labels = [label for label in evidence.ranked if label in set(group["label"])][:MAPS]
    ys, xs = _levels(group[down]), _levels(group[across])
    heads = [f"{y:g}" for y in ys], [f"{x:g}" for x in xs]
    axes = (down[5:], across[5:])
    named = f"map-{slug(kind)}-{slug(axes[0])}-{slug(axes[1])}{evidence.at}"
    tables = {label: _table(group[group["label"] == label], down, across, ys, xs) for label in labels}
    limits = charts.fenced([v for value in tables.values() for line in value for v in line if math.isfinite(v)])
    shades: Any = {"higher": evidence.higher, "limits": limits}
    pictures = []
    for place, (label, values) in enumerate(tables.items(), start=1):
        marked = _trained(part, group, label, down, across, ys, xs)
        texts = [[_digits(v) for v in line] for line in values]
        figure = charts.map_figure(values, *heads, axes_are=axes, texts=texts, framed=(marked, ()), **shades)
        caption = f"{evidence.metric.label} of {evidence.said(label)} under {spoken(kind)}; all maps on one scale"
        caption += "; framed: what it was trained under" if marked else ""
        pictures.append(picture(f"{named}-{place}", caption, figure))
    if len(labels) > 1:
        one, other = (np.array(tables[label]) for label in labels[:2])
        values = ((one - other) * (1 if evidence.higher else -1)).tolist()
        texts = [[signed_digits(v) for v in line] for line in values]
        figure = charts.map_figure(values, *heads, axes_are=axes, texts=texts, higher=None)
        first, second = (evidence.said(label) for label in labels[:2])
        caption = f"Difference: blue where {first} is better, orange where {second} is"
        pictures.append(picture(f"{named}-difference", caption, figure))
    return pictures


def _levels(values: Any) -> list[float]:
    return sorted(float(v) for v in values.dropna().unique())


def _table(group: DataFrame, down: str, across: str, ys: Any, xs: Any) -> list[list[float]]:
    means = group.groupby([down, across])["value"].mean()
    return [[float(means.get((y, x), math.nan)) for x in xs] for y in ys]


def _trained(
    part: DataFrame, group: DataFrame, label: str, down: str, across: str, ys: Any, xs: Any
) -> tuple[int, int] | None:
    """The cell of the condition that a variant was trained under, where it is one of the map."""
    trained = str(part.loc[part["label"] == label, "train_condition"].iloc[0])
    value = group[group["condition"] == trained.replace(",redraw=true", "")]  # what tests is never drawn anew
    return (ys.index(float(value[down].iloc[0])), xs.index(float(value[across].iloc[0]))) if len(value) else None


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return ""
    return f"{value:.2f}".replace("-", "−") if abs(value) < 100 else f"{value:.0f}"


def spoken(kind: object) -> str:
    """A kind of condition in a sentence.

    Example:
        >>> spoken("white_noise")
        'white noise'
    """
    return str(kind).replace("_", " ")


def signed_digits(value: float) -> str:
    """Two digits and a sign.

    Example:
        >>> signed_digits(0.123), signed_digits(-0.5), signed_digits(float("nan"))
        ('+0.12', '−0.50', '')
    """
    return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else ""


def _sheet(evidence: Evidence, part: DataFrame) -> Sheet:
    """Every condition for the best variant."""
    mine = part[part["label"] == evidence.best]
    frame = evidence.against(mine, "condition", evidence.clean)
    rows = evidence.compared(mine, frame, "condition", {name: name for name in frame["condition"]})
    against = f"{evidence.names[evidence.best]} against itself without"
    heads = ["at test", evidence.label(), against, INTERVAL, "cost"]
    title = f"All {len(rows)} conditions in numbers" if len(rows) > 25 else ""
    table = f"robustness{evidence.at}", "condition"
    return against_sheet(evidence, rows, table, heads, "without any condition", title=title, note=NOTE)


def _everyone(evidence: Evidence, part: DataFrame) -> Sheet | None:
    """Mean of every variant under every condition."""
    labels = [label for label in evidence.ranked if label in set(part["label"])]
    if len(labels) < 2:
        return None
    conditions = list(dict.fromkeys(part["condition"]))
    means = part.groupby(["condition", "label"])["value"].mean()
    full = [[c, *[float(means.get((c, label), math.nan)) for label in labels]] for c in conditions]
    rows = [[line[0], *[evidence.number(v) for v in line[1:]]] for line in full]
    heads = ["at test", *[evidence.names[label] for label in labels]]
    table = Table(f"conditions{evidence.at}", ["condition", *labels], full)
    return Sheet(table, "Every variant under every condition", heads, rows, range(1, len(heads)), folded=True)
