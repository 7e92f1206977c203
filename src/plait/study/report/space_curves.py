"""The curves of a study of spaces, averaged over its runs, and how they are drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plait.evaluation.similarity import TOLERANCES, sentence_similarity
from plait.report.blocks import Section, picture
from plait.report.canvas import COLOURS, LINES, distinct, settings
from plait.report.words import slug
from plait.study.folder import RUNS
from plait.study.lines_file import read_arrays
from plait.study.statistics.scores import StudyResults

#: Evaluation and curve -> axes, whether x is logarithmic, and what is seen.
LOOKS = {
    ("retrieval", "found"): ("k", "share of queries", True, "share of queries with one of their own among the first k"),
    ("retrieval", "precision"): ("k", "precision", True, "precision: share of the first k that are the query's own"),
    ("linear_probe", "accuracy"): ("epochs", "accuracy", False, "accuracy of the linear probe over epochs"),
    ("fine_tuning", "accuracy"): ("epochs", "accuracy", False, "accuracy over epochs of fine-tuning"),
}
#: Of the ways that an alignment gives, the one that the figure of tolerances shows.
JOINED = "joined"


def add_curves(section: Section, results: StudyResults, evaluation: str, dataset: str, at: str) -> None:
    """All figures of one evaluation of a data set; nothing where runs kept no curves."""
    if evaluation == "sentence_similarity":
        shares = _tolerances(results, dataset)
        text = "share of pairs whose cosine is nearer to score / 5 than the tolerance, by class of similarity"
        section.add_row(picture(f"{at}-tolerance", text, tolerance_figure(shares, TOLERANCES)))
        return
    for (name, part), curves in _curves(results, evaluation, dataset).items():
        across, up, log, text = LOOKS[evaluation, name]
        drawn = lines_figure(curves, across, up, log=log)
        value = "-".join(filter(None, [at, part and slug(part), name]))
        section.add_row(picture(value, f"{part}: {text}" if part else text, drawn))


def _curves(
    results: StudyResults, evaluation: str, dataset: str
) -> dict[tuple[str, str], dict[str, Mapping[float, float]]]:
    """(curve, part) -> variant -> place -> mean."""
    result: dict[tuple[str, str], dict[str, list[Mapping[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for line in results.lines:
        if line["status"] != "done" or line["dataset"] != dataset:
            continue
        for value in line["evaluations"]:
            name, _, part = value["condition"].partition(": ")
            for curve, values in value.get("curves", {}).items() if name == evaluation else ():
                label = part if value["frozen"] else line["variant"]
                whole = {float(x): y for x, y in values.items()}
                result[curve, "" if evaluation == "linear_probe" else part][label].append(whole)
    return {key: {label: _mean(curves) for label, curves in lines.items()} for key, lines in result.items()}


def _mean(curves: list[Mapping[float, float]]) -> Mapping[float, float]:
    """Of the places that all have."""
    shared = set.intersection(*(set(c) for c in curves))
    return {x: float(np.mean([c[x] for c in curves])) for x in sorted(shared)}


def _tolerances(results: StudyResults, dataset: str) -> dict[str, np.ndarray]:
    """Way -> (classes, tolerances), the mean over runs: what has no alignment, and the joined vectors of every space."""
    result: dict[str, list[np.ndarray]] = defaultdict(list)
    for line in results.lines:
        path = results.folder / RUNS / str(line["run"]) / "predictions.npz"
        if line["status"] != "done" or line["dataset"] != dataset or not path.is_file():
            continue
        arrays = read_arrays(path)
        for place, value in enumerate(line["evaluations"]):
            name, _, part = value["condition"].partition(": ")
            if name != "sentence_similarity" or not (value["frozen"] or part == JOINED):
                continue
            label = part if value["frozen"] else f"{line['variant']}: {part}"
            judged = sentence_similarity(arrays[f"rows_{place}"], arrays[f"truth_{place}"])
            result[label].append(judged.accuracy)
    return {label: np.mean(shares, axis=0) for label, shares in result.items()}


#: After all colours are used once, lines are dashed, then dotted.
DASHES = ("-", "--", ":")


def tolerance_figure(curves: Mapping[str, np.ndarray], tolerances: np.ndarray) -> Any:
    """One panel per similarity class, one line per way to compare sentences (Faye et al., figure 3); None without lines.

    Args:
        curves: name -> (classes, tolerances) shares within the tolerance.
        tolerances: (tolerances,).
    """
    if not curves:
        return None
    from matplotlib.figure import Figure

    classes = len(next(iter(curves.values())))
    with settings():
        figure = Figure(figsize=(2.2 * classes + 2.4, 2.9), layout="constrained")
        panels = figure.subplots(1, classes, sharey=True)
        for place, panel in enumerate(panels):
            for number, shares in enumerate(curves.values()):
                panel.plot(tolerances, shares[place], lw=1.3, **_look(number))
            panel.set(title=f"score {place} to {place + 1}", xlabel="tolerance", ylim=(0, 1.02))
        panels[0].set_ylabel("share within the tolerance")
        figure.legend(list(panels[0].lines), distinct(list(curves), 40), loc="outside right center")
    return figure


def lines_figure(curves: Mapping[str, Mapping[float, float]], across: str, up: str, *, log: bool = False) -> Any:
    """One line per space; None where none has two points.

    Args:
        curves: name -> place -> value.
        across: label of the x axis.
        up: label of the y axis.
        log: logarithmic x axis.
    """
    options = {name: curve for name, curve in curves.items() if len(curve) > 1}
    if not options:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    with settings():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        panel = figure.subplots()
        for number, curve in enumerate(options.values()):
            places: Sequence[float] = sorted(curve)
            panel.plot(places, [curve[x] for x in places], marker="o", ms=3, lw=1.3, **_look(number))
        panel.set(xlabel=across, ylabel=up)
        if log:
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xticks(sorted({x for curve in options.values() for x in curve}))
        panel.yaxis.grid(True)
        figure.legend(list(panel.lines), distinct(list(options), 34), loc="outside right center")
    return figure


def _look(number: int) -> dict[str, Any]:
    dashes = DASHES[number // len(LINES) % len(DASHES)]
    return {"color": COLOURS[LINES[number % len(LINES)]], "linestyle": dashes}
