"""Learning curves of a page under docs/evidence: taken from a study's folder, kept as lines, drawn a picture per table."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import evidence_lines as ev
from plait.report.charts import Curve
from plait.study.results import Results

#: What the lines of curves are kept under.
STUDY = "curves"
#: What tells one curve from another.
KEYS = ("study", "data", "arm", "pooling", "branch")
#: Above so many epochs a mark at each would hide the line.
MARKED = 24


def beside(path: Path, curves: Iterable[ev.Line]) -> list[ev.Line]:
    """These curves behind all that the file has of anything else; of one arm the earliest seed, the new one if equal."""

    def of(line: ev.Line) -> tuple[str, ...]:
        return tuple(str(line.get(key)) for key in KEYS)

    known = {of(line): line.get("shown", 0) for line in ev.read(path)[1]} if path.is_file() else {}
    fresh: dict[tuple[str, ...], ev.Line] = {}
    for line in curves:
        if line["shown"] <= min(known.get(of(line), math.inf), fresh.get(of(line), line)["shown"]):
            fresh[of(line)] = line
    return ev.beside(path, fresh.values(), *KEYS)


def taken(
    folder: str | Path, named: Callable[[Mapping[str, Any]], str] | None = None, branch: str | None = "joint"
) -> list[ev.Line]:
    """A line per arm: loss on held-out rows by epoch, the mean over members, of the first run that has its epochs.

    Args:
        folder: of a study, finished or not; one that is not there has no curves.
        named: the arm of a run; empty: it is left out. None: its variant.
        branch: whose loss it is; of a run without it, the first one's. None: a line for each branch.
    """
    if not Path(folder, "results.jsonl").is_file():
        return []
    results, first = Results.open(folder), dict[tuple[str, str], list[ev.Line]]()
    done = [line for line in results.lines if line["status"] == "done"]
    for line in sorted(done, key=lambda x: (-len(x["subset"]), x["seed"], x["split"])):
        arm = named(line) if named else str(line["variant"])
        key = (str(line["dataset"]), arm)
        if arm and key not in first and (found := losses(results.epochs(line["run"]))):
            about = {"study": STUDY, "data": key[0], "arm": arm, "shown": line["seed"]}
            first[key] = [about | one for one in _lines(found, branch)]
    return [line for lines in first.values() for line in lines]


def losses(epochs: pd.DataFrame) -> dict[str, list[list[float]]]:
    """Branch -> losses on held-out rows by epoch, a list for each member; nothing where none were held out."""
    if "valid_loss" not in epochs:
        return {}
    result: dict[str, list[list[float]]] = {}
    for _, own in epochs.groupby("member") if "member" in epochs else [(0, epochs)]:
        parts = own["valid"] if "valid" in own else [{"": loss} for loss in own["valid_loss"]]
        for name in next(iter(parts)):
            result.setdefault(name, []).append([math.nan if p[name] is None else float(p[name]) for p in parts])
    return result


def _lines(found: Mapping[str, list[list[float]]], branch: str | None) -> Iterable[ev.Line]:
    if branch is not None:
        every = [curve for curves in found.values() for curve in curves]
        yield _line(found.get(branch, next(iter(found.values()))), every)
    else:
        for name, curves in found.items():
            yield {"branch": name} | _line(curves, curves)


def _line(shown: Sequence[Sequence[float]], every: Sequence[Sequence[float]]) -> ev.Line:
    """The mean until the first member stops; how many networks there are, and how many were best at their last epoch."""
    mean = np.mean([curve[: min(map(len, shown))] for curve in shown], axis=0)
    return {"valid_loss": [round(float(v), 4) for v in mean], "networks": len(every), "late": sum(map(_late, every))}


def _late(curve: Sequence[float]) -> bool:
    """Whether training ended because no more epochs were given: who is stopped early was better before."""
    return bool(np.isfinite(curve).any() and np.nanargmin(curve) == len(curve) - 1)


def late(lines: Iterable[ev.Line], what: str = "networks") -> str:
    """``3 of 40 networks were best at the last epoch ...``: of lines of curves, or of runs that keep their losses."""
    lines = [line for line in lines if "valid_loss" in line or "networks" in line]
    every = sum(line.get("networks", 1) for line in lines)
    count = sum(line["late"] if "late" in line else _late(line["valid_loss"]) for line in lines)
    told = f"{count} of {every} {what} were best at the last epoch that they were given"
    return told + (", and might gain by more" if count else "")


def counted(line: ev.Line) -> ev.Line:
    """A curve that is not drawn."""
    return {key: value for key, value in line.items() if key != "valid_loss"}


def apart(lines: Iterable[ev.Line]) -> tuple[list[ev.Line], list[ev.Line]]:
    """Lines of results, and lines of curves."""
    lines = list(lines)
    return [x for x in lines if x.get("study") != STUDY], [x for x in lines if x.get("study") == STUDY]


def section(
    curves: Sequence[ev.Line],
    page: Path,
    told: str,
    up: str = "validation loss",
    pictures: Sequence[ev.Line] | None = None,
) -> list[str]:
    """The part of a page: what is seen, how many were still learning, and a picture for each table of data.

    Args:
        curves: lines of curves; those without losses are counted and not drawn.
        page: its lines; pictures lie beside them.
        told: what the pictures show.
        up: what their axis is.
        pictures: what is drawn, where it is not all of the curves as they are.
    """
    if not curves:
        return ["## Learning curves\n", "Not kept.\n"]
    parts = ["## Learning curves\n", ev.wrapped(f"{told} {late(curves)}.") + "\n"]
    shown = [line for line in (curves if pictures is None else pictures) if "valid_loss" in line]
    for data in dict.fromkeys(line["data"] for line in shown):
        own = [line for line in shown if line["data"] == data]
        drawn = [
            Curve(line.get("branch") or line["arm"], range(1, len(line["valid_loss"]) + 1), line["valid_loss"])
            for line in own
        ]
        path = page.with_name(f"{page.stem}-{re.sub('[^A-Za-z0-9_.]+', '-', data)}.svg")
        marked = max(len(line["valid_loss"]) for line in own) <= MARKED
        parts.append(f"{data}:\n\n" + ev.draw_curves(path, drawn, "epoch", up, markers=marked))
    return parts
