"""Figures of curves: accuracy under a tolerance, precision over k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plait.alignment_evaluation.sentence_similarity import SentenceSimilarity
from plait.errors import need


def tolerance_figure(path: str | Path, judged: Mapping[str, SentenceSimilarity]) -> None:
    """One panel per similarity class, one line per model (Faye et al., figure 3)."""
    need("matplotlib", "report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.2), layout="constrained")
    panels = figure.subplots(1, 5, sharey=True)
    for place, panel in enumerate(panels):
        for name, found in judged.items():
            panel.plot(found.tolerances, found.accuracy[place], label=name)
        panel.set(title=f"score {place} to {place + 1}", xlabel="tolerance", ylim=(0, 1.02))
    panels[0].set_ylabel("share within the tolerance")
    panels[-1].legend(fontsize="small")
    figure.savefig(path)


def precision_figure(path: str | Path, curves: Mapping[str, Mapping[int, float]], label: str) -> None:
    """Lines over k on a logarithmic axis (Faye et al., figure 4); ``label`` says what they are."""
    need("matplotlib", "report")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    panel = figure.subplots()
    for name, curve in curves.items():
        ks: Sequence[int] = sorted(curve)
        panel.plot(ks, [curve[k] for k in ks], marker="o", label=name)
    panel.set(xscale="log", xlabel="k", title=label)
    panel.title.set_fontsize("medium")
    panel.legend(fontsize="small")
    figure.savefig(path)
