"""What each column was taken for, what is absent, and how the target is spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plait.data.modality import Modality
from plait.evaluation.evaluate import Evaluation
from plait.report.blocks import Facts, Heading, Section, Sheet, Table, picture
from plait.report.canvas import COLOURS, WIDTH, axes, rows_axes, settings, tick
from plait.report.fit import FitReport

PLACE = 70
#: Classes that the figure shows.
SHOWN = 20


def section(report: FitReport) -> Section:
    """Modalities, columns left out, doubts, the target."""
    evaluation, schema = report.evaluation, report.schema
    result = Section("data", "Data", "")
    rows = [_modality(modality, report) for modality in schema.modalities]
    columns = ["modality", "kind", "columns", "encoder", "absent"]
    result.add(
        Sheet(Table("modalities", columns, [list(row) for row in rows]), "", columns, rows, (4,), [""] * len(rows))
    )
    for title, values in (("Columns left out", schema.ignored), ("Doubts", schema.doubts)):
        if values:
            result.add(Heading(title), Facts([(str(k), str(v)) for k, v in values.items()], brief=False))
    result.add_row(
        picture("target", "The target in the test rows", target_figure(evaluation)),
        picture("absences", "Rows without a modality, of the test rows", absences_figure(evaluation)),
    )
    spread = [[r["label"], r["rows"]] for r in evaluation.distribution]
    result.tables.append(Table("target", ["target", "rows"], spread))
    return result


def _modality(modality: Modality, report: FitReport) -> list[str]:
    """One line of the schema's table."""
    used = (report.record.get("encoders") or {}).get(modality.name)
    encoder = used if used is not None else modality.encoder
    if isinstance(encoder, Mapping):
        encoder = encoder.get("name", "")
    types = report.schema.types_of(modality)
    named = encoder if isinstance(encoder, str) else "(default)" if encoder is None else type(encoder).__name__
    return [
        modality.name,
        modality.kind,
        ", ".join(f"{c}: {types[c]}" if c in types else str(c) for c in modality.columns),
        named + (f" ({modality.train})" if modality.train != "frozen" else ""),
        f"{100 * report.evaluation.absences.get(modality.name, 0) / report.evaluation.rows:.1f} %",
    ]


def target_figure(evaluation: Evaluation) -> Any:
    """Rows of each class, most first, or a histogram of a number."""
    if evaluation.task == "regression":
        return _histogram(evaluation)
    value = evaluation.distribution[:SHOWN]
    names = [record["label"] for record in value]
    rows = [record["rows"] for record in value]
    left = evaluation.distribution[SHOWN:]
    if left:
        names.append(f"{len(left)} more")
        rows.append(sum(record["rows"] for record in left))
    with settings():
        figure, ax, places = rows_axes(names, per_row=15.0)
        bars = ax.barh(places, rows, height=0.6, color=COLOURS["sky"])
        if left:
            bars[-1].set_alpha(0.4)
        ax.set_xlabel("rows")
    return figure


def _histogram(evaluation: Evaluation) -> object:
    value = evaluation.distribution
    with settings():
        edges = [record["low"] for record in value]
        longest = max(len(tick(round(edge))) for edge in edges)
        figure, ax = axes(WIDTH, 170.0, left=44, bottom=34, right=8 + 2.4 * longest)  # half of a number at the edge
        widths = [record["high"] - record["low"] for record in value]
        ax.bar(edges, [r["rows"] for r in value], widths, align="edge", color=COLOURS["sky"], ec="none")
        ax.locator_params(nbins=4 if longest > 7 else 5)
        ax.tick_params(labelcolor=COLOURS["muted"])
        ax.yaxis.grid(True)
        ax.set_ylabel("rows")
    return figure


def absences_figure(evaluation: Evaluation) -> Any:
    """Share of rows that lack each modality; None where nothing is absent."""
    shares = {name: count / evaluation.rows for name, count in evaluation.absences.items()}
    if not any(shares.values()):
        return None
    with settings():
        figure, ax, places = rows_axes(list(shares), per_row=15.0)
        ax.barh(places, [100 * s for s in shares.values()], height=0.6, color=COLOURS["amber"])
        ax.set_xlim(0, max(5.0, min(100.0, 110 * max(shares.values()))))
        ax.set_xlabel("% of rows without it")
    return figure
