"""Learning curves: many trainings in a table become one mean line per label, with the range of its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.base.errors import ConfigError, nearest
from plait.base.folders import write_file
from plait.training.history.files import read
from plait.training.history.stages import PRETRAIN, STAGES, TRAIN
from plait.training.history.table import epochs_to, of_stage, select

if TYPE_CHECKING:
    import pandas as pd

    from plait.report.figures.curves import Panel

FORMATS = (".svg", ".png", ".html")
#: Every stage that was recorded.
ALL = "all"


def gather(folders: Sequence[str | Path], stage: str = TRAIN) -> pd.DataFrame:
    """The records of several folders in one table; folders of one name are told apart by their paths.

    Args:
        folders: of models, studies, runs.
        stage: ``train``, ``pretrain`` (encoders alone), or ``all``.

    Raises:
        ConfigError: an unknown stage, or one that nobody recorded.
    """
    import pandas as pd

    names = [Path(folder).name for folder in folders]
    parts = []
    for folder, name in zip(folders, names, strict=True):
        result = read(folder)
        if names.count(name) > 1:
            result["label"] = [f"{folder}" if label == name else f"{folder} · {label}" for label in result["label"]]
        parts.append(result)
    return _of_stage(pd.concat(parts, ignore_index=True), stage)


def _of_stage(frame: pd.DataFrame, stage: str) -> pd.DataFrame:
    """Rows of a stage; an encoder alone is a line of its own: ``model · image alone``."""
    if stage not in (*STAGES, ALL):
        raise ConfigError(f"unknown stage '{stage}': {nearest(stage, (*STAGES, ALL))}")
    kept = frame if stage == ALL else of_stage(frame, stage)
    kept = kept.sort_values("stage", kind="stable", key=lambda value: value != TRAIN)  # lines of whole models first
    alone = kept["stage"] == PRETRAIN
    named = kept["label"] + " · " + kept["modality"] + " alone"
    return kept.assign(label=kept["label"].where(~alone, named)).reset_index(drop=True)


def chosen(
    frame: pd.DataFrame, metrics: Sequence[str], parts: Sequence[str], patterns: Sequence[str]
) -> list[tuple[str, str, str]]:
    """Metric, part and pattern of every panel; without patterns the full one of each metric, and those of encoders alone."""
    values = []
    for metric in metrics:
        for part in parts:
            rows = select(frame, metric, part, patterns[0] if patterns and metric != "loss" else None, None)
            codes = list(patterns if rows["pattern"].iloc[0] else [""]) or _usual(frame, metric, part)
            for code in codes:
                select(frame, metric, part, code, None)
                values.append((metric, part, code))
    return values


def _usual(frame: pd.DataFrame, metric: str, part: str) -> list[str]:
    rows = frame[(frame["metric"] == metric) & (frame["part"] == part)]
    members, alone = rows[rows["stage"] == TRAIN]["pattern"], rows[rows["stage"] == PRETRAIN]["pattern"]
    return list(dict.fromkeys([*members[:1], *alone]))


def curve(frame: pd.DataFrame, metric: str, part: str, pattern: str) -> pd.DataFrame:
    """Per label and epoch: mean, least and greatest value over runs and members, and how many there are."""
    rows = select(frame, metric, part, pattern, None).dropna(subset="value")
    value = rows.groupby(["label", "epoch"], sort=False)["value"].agg(["mean", "min", "max", "count"])
    return value.reset_index()


def summaries(frame: pd.DataFrame, values: Sequence[tuple[str, str, str]], reach: float | None) -> list[dict[str, Any]]:
    """Per panel and label: first, best and last value, the best epoch, and epochs to ``reach``, means over trainings."""
    rows = []
    for metric, part, pattern in values:
        each = epochs_to(frame, float("nan") if reach is None else reach, metric, part, pattern, None)
        for label, one in each.groupby("label", sort=False):
            row: dict[str, Any] = {"label": label, "metric": metric, "part": part, "pattern": pattern or None}
            row |= {"trainings": len(one), **{k: float(one[k].mean()) for k in ("first", "best", "best_epoch", "last")}}
            if reach is not None:
                got = one.dropna(subset="epochs_to")
                row |= {"reached": len(got), "epochs_to": float(got["epochs_to"].mean()) if len(got) else None}
                row |= {"seconds_to": float(got["seconds_to"].mean()) if len(got) else None}
            rows.append(row)
    return rows


def panels(frame: pd.DataFrame, values: Sequence[tuple[str, str, str]], reach: float | None) -> list[Panel]:
    """What the figure draws; every panel has the labels in the same order."""
    from plait.report.figures.curves import Panel
    from plait.report.figures.lines import Curve

    labels = list(dict.fromkeys(frame["label"]))
    made = []
    for metric, part, pattern in values:
        lines = curve(frame, metric, part, pattern)
        curves = []
        for label in labels:
            one = lines[lines["label"] == label].sort_values("epoch")
            ends = [one["min"].tolist(), one["max"].tolist()] if (one["count"] > 1).any() else [[], []]
            curves.append(Curve(label, one["epoch"].tolist(), one["mean"].tolist(), *ends))
        title = f"{part}{', ' + pattern if pattern else ''}"
        made.append(Panel(title, metric.replace("_", " "), curves, reach if metric == values[0][0] else None))
    return made


def draw(made: Sequence[Panel], out: Path, caption: str = "") -> Path:
    """Write the figure as SVG, PNG or an HTML page, by the ending of ``out``.

    Raises:
        ConfigError: another ending, or nothing to draw.
    """
    from plait.report.figures import canvas
    from plait.report.figures.curves import panels_figure

    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out {out}: expected a name that ends with {', '.join(FORMATS)}")
    figure = panels_figure(made)
    if figure is None:
        raise ConfigError("nothing to draw: no value is a number")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".png":
        import io

        held = io.BytesIO()
        with canvas.settings():
            figure.savefig(held, format="png", dpi=150, facecolor="white")
        write_file(out, held.getvalue())
    elif out.suffix.lower() == ".svg":
        write_file(out, canvas.svg(figure).encode())
    else:
        write_file(out, _page(canvas.svg(figure), caption).encode())
    return out


def _page(document: str, caption: str) -> str:
    """A page with the figure, dark where the reader's system is."""
    from html import escape

    from plait.report.figures import canvas

    light = "".join(f"--{role}:{colour};" for role, colour in canvas.COLOURS.items())
    dark = "--ink:#e6edf3;--muted:#9198a1;--rule:#3d444d;--blue:#58a6ff;--orange:#ff8f47;--green:#3fc79a;"
    style = (
        f":root{{{light}--sans:{canvas.FONTS};color-scheme:light dark}}"
        f"@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
        "body{margin:24px;font:15px/1.5 var(--sans);color:var(--ink);background:Canvas}svg{width:100%;height:auto}"
    )
    drawing = canvas.inline(document, "curves", escape(caption or "learning curves", quote=True))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Learning curves</title><style>{style}</style>'
        f"<main><h1>Learning curves</h1><p>{escape(caption)}</p>{drawing}</main></html>"
    )
