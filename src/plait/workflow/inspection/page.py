"""An inspection as files: embeddings, tables, figures and one page."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from plait.base.errors import MissingDependencyError, need, warn
from plait.base.folders import claim_folder
from plait.metrics.base import MAIN, metrics
from plait.report.blocks import Facts, Heading, Page, Section, Text, frame_table, picture, sheet
from plait.report.canvas import COLOURS, LINES, clean, distinct, rows_axes, settings, short
from plait.report.charts import map_figure
from plait.report.page import csv_text, write_bytes, write_page, write_text
from plait.workflow.inspection.embeddings import ABOUT, ALL, LABELS, PLACES, Embedding
from plait.workflow.inspection.result import Inspection, Rows

#: Classes that get a colour of their own; the others are grey.
COLOURED = 12
_MARKERS = ("o", "^")
#: Places in the order of the columns; what joins all stands under the first.
ORDER, JOINED = ("encoder", "own", "fused", "joint"), "fused"
_RUNS = ("o", "D")
_PANEL = 132.0


def probes_figure(records: Sequence[Mapping[str, Any]], label: str) -> Any:
    """One line per representation, a mark with its interval per run, a tick where looking at nothing ends up.

    Args:
        records: name, run, value, low, high, chance; in the order of the picture.
        label: of the metric.
    """
    names, runs = list(dict.fromkeys(r["name"] for r in records)), list(dict.fromkeys(r["run"] for r in records))
    if not any(math.isfinite(r["value"]) for r in records):
        return None
    with settings():
        figure, ax, places = rows_axes(names, per_row=15.0 + 6.0 * len(runs), top=24.0, most=30)
        at = dict(zip(names, places, strict=True))
        step = 0.3 if len(runs) > 1 else 0.0
        for number, run in enumerate(runs):
            colour = COLOURS[LINES[number]]
            mine = [r for r in records if r["run"] == run and math.isfinite(r["value"])]
            for r in mine:
                y = at[r["name"]] + step * (0.5 * (len(runs) - 1) - number)
                ax.plot([r["low"], r["high"]], [y, y], color=colour, lw=1.6, alpha=0.5, solid_capstyle="butt")
                ax.plot([r["chance"]], [y], "|", ms=7, mew=1.2, color=COLOURS["muted"])
                ax.plot([r["value"]], [y], _RUNS[number % 2], ms=5.2, color=colour, mew=0)
            ax.plot([], [], _RUNS[number % 2], ms=5.2, mew=0, color=colour, label=short(run, 24))
        ax.plot([], [], "|", ms=7, mew=1.2, color=COLOURS["muted"], label="without looking")
        ax.margins(x=0.05)
        ax.set_xlabel(label)
        figure.legend(loc="upper left", ncols=3, borderpad=0.1, borderaxespad=0.2, handletextpad=0.1, columnspacing=1.0)
    return figure


def planes_figure(panels: Mapping[tuple[str, str], tuple[np.ndarray, Sequence[str]]]) -> Any:
    """Small planes in a grid: one row per modality, one column per place; rows of the table as dots, coloured by class.

    Args:
        panels: (modality, place) -> points (n, 2) and the class of each, as text.
    """
    if not panels:
        return None
    down, across = list(dict.fromkeys(m for m, _ in panels)), [p for p in ORDER if p in {p for _, p in panels}]
    columns_of = {place: at for at, place in enumerate(p for p in across if p != JOINED)} | {JOINED: 0}
    counts = Counter(name for _, names in panels.values() for name in names)
    known = [name for name, _ in counts.most_common(COLOURED)]
    looks = {n: (COLOURS[LINES[i % len(LINES)]], _MARKERS[i // len(LINES)]) for i, n in enumerate(known)}
    words = [*known, *(["others"] if len(counts) > len(known) else [])]
    columns = max(2, min(6, int(_PANEL * max(2, len(across) - 1) // 66)))
    head, left, gap = 14.0 * -(-len(words) // columns) + 20.0, 20.0, 10.0
    wide = max(2, max(columns_of.values()) + 1)
    width, height = left + wide * (_PANEL + gap), head + len(down) * (_PANEL + gap) + 12.0
    first = {place: next(m for m, p in panels if p == place) for place in across}
    with settings():
        figure = need("matplotlib.figure", "report").Figure(figsize=(width / 72, height / 72))
        for (modality, place), (points, names) in panels.items():
            i, j = down.index(modality), columns_of[place]
            x, y = (
                left + j * (_PANEL + gap),
                height - head - (i + 1) * _PANEL - i * gap - 12.0 * (JOINED in across) * (i == len(down) - 1),
            )
            ax = figure.add_axes((x / width, y / height, _PANEL / width, _PANEL / height))
            _plane(ax, points, names, looks)
            if first[place] == modality:
                ax.set_title(place, pad=3, color=COLOURS["muted"])
            if j == min(columns_of[p] for m, p in panels if m == modality):
                ax.set_ylabel(short(modality, 22), color=COLOURS["ink"], labelpad=3)
        _class_legend(figure, words, looks, columns)
    return figure


def _plane(ax: Any, points: np.ndarray, names: Sequence[str], looks: Mapping[str, tuple[str, str]]) -> None:
    named = np.asarray(names, dtype=object)
    grey = np.asarray([name not in looks for name in names], dtype=bool)
    ax.plot(*points[grey].T, "o", ms=1.8, mew=0, color=COLOURS["muted"], alpha=0.45)
    for name, (colour, marker) in looks.items():
        ax.plot(
            *points[(named == name) & ~grey].T, marker, ms=3.0 if marker == "o" else 3.4, mew=0, color=colour, alpha=0.8
        )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)
    ax.margins(0.05)


def _class_legend(figure: Any, words: Sequence[str], looks: Mapping[str, tuple[str, str]], columns: int) -> None:
    handles = []
    line = need("matplotlib.lines", "report").Line2D
    for word, text in zip(words, distinct(words, 13), strict=True):
        colour, marker = looks.get(word, (COLOURS["muted"], "o"))
        handles.append(line([], [], ls="", marker=marker, ms=5, mew=0, color=colour, label=clean(text)))
    figure.legend(
        handles=handles,
        loc="upper left",
        ncols=columns,
        borderpad=0.1,
        borderaxespad=0.2,
        handletextpad=0.1,
        columnspacing=0.9,
        labelspacing=0.3,
    )


CAUTION = (
    "Probes learn on the rows that the network learned on, too: after layers that know those rows by heart a probe may read less "
    "of new rows than before them, without the network's answer being worse."
)


def _page(inspection: Inspection, folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.svg`` (extra ``report``)."""
    sections = [
        _probes(inspection),
        *_pictures(inspection),
        _similarity(inspection),
        _spread(inspection),
        _costs(inspection),
        _origin(inspection),
    ]
    name, foot = " and ".join(inspection.runs), "the vectors in embeddings/"
    page = Page(name, sections[0].sentence, _facts(inspection), sections, kind="plait inspect", foot=foot)
    return write_page(folder, page)


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
    shown = ["run", "modality", "place", "width", "probe", "probe_low", "probe_high", "chance"]
    section.add(sheet("measures", inspection.measures, "The same as a table", shown=shown, folded=True))
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
    texts = [[f"{value:.2f}" if math.isfinite(value) else "" for value in row] for row in grid]
    heads = runs if len(set(runs)) > 1 else ("representation", "representation")
    figure = map_figure(grid.tolist(), down, across, axes_are=heads, texts=texts, limits=(0.0, 1.0))
    section.add_row(picture("cka", caption, figure))
    return section


def _spread(inspection: Inspection) -> Section:
    section = Section(
        "spread",
        "Alignment and uniformity",
        "Rows of one class near each other (class alignment: 0 best) while all rows are spread out (uniformity: lower is more).",
    )
    shown = inspection.measures[["run", "modality", "place", "class_alignment", "uniformity"]]
    section.add(sheet("spread", shown))
    if len(inspection.alignment):
        title = "The same row through two modalities, in the joint space (shuffled: through another row)"
        section.add(sheet("alignment", inspection.alignment, title))
    return section


def _costs(inspection: Inspection) -> Section:
    several = len(inspection.runs) > 1
    title = "What one has over the other" if several else "Scores and costs"
    words = "Scores on the same unseen rows; differences with paired 95 % bootstrap intervals."
    section = Section("comparison", title, words if several else "On unseen rows.")
    section.add(sheet("comparison", inspection.comparison))
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


def write_inspection(inspection: Inspection, folder: str | Path) -> Path:
    """Write ``embeddings/``, ``tables/*.csv``, and with the extra ``report`` ``figures/*.svg`` and ``report.html``.

    Returns:
        The page, or the folder where there is none.
    """
    folder = claim_folder(folder, ["report.html"])
    for run in inspection.runs:
        write_embeddings(folder / "embeddings" / _file_name(run), inspection.embeddings[run], inspection.rows)
    for name, frame in tables_of(inspection).items():
        write_text(folder / "tables" / f"{name}.csv", csv_text(frame_table(name, frame)))
    try:
        return _page(inspection, folder)
    except MissingDependencyError as error:
        warn(f"no page and no figures: {error}")
        return folder


def tables_of(inspection: Inspection) -> dict[str, pd.DataFrame]:
    """Every table by the name of its file; points of pictures too."""
    options = {
        "measures": inspection.measures,
        "alignment": inspection.alignment,
        "cka": inspection.cka,
        "comparison": inspection.comparison,
    }
    names = np.asarray(inspection.rows.names(), dtype=object)
    points = [
        pd.DataFrame(
            {
                "run": run,
                "way": way,
                "representation": name,
                "row": inspection.rows.number[places],
                "x": p[:, 0],
                "y": p[:, 1],
            }
        ).assign(**{"class": names[places]})
        for run, ways in inspection.pictures.items()
        for way, each in ways.items()
        for name, (places, p) in each.items()
    ]
    return options | ({"points": pd.concat(points, ignore_index=True)} if points else {})


def write_embeddings(folder: Path, result: Sequence[Embedding], rows: Rows) -> list[Path]:
    """One file per modality: ``row`` (in the table given, from 0), ``part``, ``class``, ``present``, and vectors of each place.

    Parquet where pyarrow is installed, else ``.npz`` (no pickle: ``np.load`` reads it as it is).
    """
    written = []
    part = np.where(rows.is_train, "train", "test")
    for modality in dict.fromkeys(each.modality for each in result):
        mine = [each for each in result if each.modality == modality]
        columns = {"row": rows.number, "part": part, "class": np.asarray(rows.names()), "present": mine[0].present}
        vectors = {each.place: np.ascontiguousarray(each.x, dtype=np.float32) for each in mine}
        written.append(_write_one(folder / _file_name("all" if modality == ALL else modality), columns, vectors))
    return written


def _write_one(path: Path, columns: dict[str, np.ndarray], vectors: dict[str, np.ndarray]) -> Path:
    held = io.BytesIO()
    if find_spec("pyarrow") is None:
        np.savez_compressed(held, **cast(dict[str, Any], {**columns, **vectors}))
        return write_bytes(path.with_name(path.name + ".npz"), held.getvalue())
    import pyarrow as pa
    from pyarrow import parquet

    lists = {place: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1]) for place, x in vectors.items()}
    about = {f"plait.{place}": ABOUT[place] for place in PLACES if place in vectors}
    parquet.write_table(pa.table({**columns, **lists}).replace_schema_metadata(about), held)
    return write_bytes(path.with_name(path.name + ".parquet"), held.getvalue())


def _file_name(text: str) -> str:
    """A name that any file system takes.

    Example:
        >>> _file_name("my images/2")
        'my_images_2'
    """
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "unnamed"
