"""All figures of one report, each as a file and as a part of the page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plait.evaluation.evaluate import Evaluation
from plait.evaluation.explain import Explanation
from plait.report.canvas import inline, svg
from plait.report.figures import fit, modalities


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: of its file, and of its ids in the page.
        caption: what is seen.
        document: SVG file.
        markup: SVG within the page.
        wide: too wide for a phone: scrolled there, not shrunk.
    """

    name: str
    caption: str
    document: str
    markup: str
    wide: bool = False


def draw(name: str, caption: str, figure: Any, wide: bool = False) -> Drawing:
    """A matplotlib Figure as a drawing."""
    document = svg(figure)
    return Drawing(name, caption, document, inline(document, name, html.escape(caption, quote=True)), wide)


def drawings(
    evaluation: Evaluation,
    explanation: Explanation | None,
    baselines: Mapping[str, Mapping[str, float]],
    history: Sequence[Mapping[str, Any]],
) -> dict[str, Drawing]:
    """Every figure that there is something to draw for, by name."""
    by_class = evaluation.task == "classification"
    figures: dict[str, tuple[str, Any]] = {
        "headline": (
            "Score with its 95\N{NO-BREAK SPACE}% interval, beside what it must beat",
            _headline(evaluation, baselines),
        ),
        "subsets": (
            "With only these modalities present; lines: 95\N{NO-BREAK SPACE}% intervals",
            modalities.subsets_figure(evaluation),
        ),
        "calibration": (
            ("The most probable class" if by_class else "Every label of every row")
            + ", in 15 bins; area: rows; on the dashed line probabilities are what they say",
            fit.calibration_figure(evaluation),
        ),
        "values": (
            "Predicted against true values; on the dashed line they agree",
            fit.values_figure(evaluation),
        ),
        "target": ("The target in the test rows", fit.target_figure(evaluation)),
        "absences": ("Rows without a modality, of the test rows", fit.absences_figure(evaluation)),
        "learning": (
            "Loss while training, one colour per member; dashed: on rows learned from, solid: on held-out rows",
            fit.learning_figure(history),
        ),
    }
    result = {name: draw(name, caption, figure) for name, (caption, figure) in figures.items() if figure is not None}
    if evaluation.confusion is not None:
        result["confusion"] = _confusion(evaluation)
    if explanation is not None:
        result |= worths(explanation)
    return result


def _headline(evaluation: Evaluation, baselines: Mapping[str, Mapping[str, float]]) -> Any:
    return fit.headline_figure(evaluation, baselines)


def _confusion(evaluation: Evaluation) -> Drawing:
    assert evaluation.confusion is not None
    caption = "Rows by true and predicted class; darker: a larger share of the true class; blue: right, orange: wrong"
    wide = len(evaluation.confusion["labels"]) > 6
    return draw("confusion", caption, fit.confusion_figure(evaluation.confusion), wide)


def worths(explanation: Explanation) -> dict[str, Drawing]:
    """The modalities' values in the first two scores."""
    result = {}
    for place, game in enumerate(explanation.games[:2]):
        name = "modality-values" if place == 0 else f"modality-values-{place + 1}"
        caption = f"What each modality adds to {game['label']} (Shapley value; lines: 95\N{NO-BREAK SPACE}% intervals)"
        result[name] = draw(name, caption, modalities.worth_figure(explanation, place))
    return result
