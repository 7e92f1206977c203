"""The part of the pretraining page on one modality alone: is a pretrained network worse there than one from scratch?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import evidence_lines as ev

#: Named before anything was measured: the least difference of F1 by sample that matters.
MARGIN = 0.02
RARE = "rare"
LESS = "From scratch less pretrained, F1 by sample, the absent masked; claim: pretrained is worse alone.\n"


def section(lines: Sequence[ev.Line], baselines: Sequence[ev.Line], page: Path) -> list[str]:
    """The part of the page, and its picture beside ``page``."""
    if not lines:
        return ["Not measured yet.\n"]
    seeds, constant = len({x["seed"] for x in lines}), np.mean([x["constant"] for x in lines])
    linear = [
        x["value"] for x in baselines if (x["data"], x["arm"]) == (RARE, "linear") and x["present"] == x["subset"]
    ]
    single = [
        x["value"] for x in baselines if (x["data"], x["arm"]) == (RARE, "single") and x["present"] == x["subset"]
    ]
    text = f"""Films (rebuilt) without the genres that stand on more than 30 %, answered from 0.5, nothing hidden in training,
{seeds} seeds. The best constant answer to the test rows scores {constant:.3f}; it answers always, a model at 0.5 may stay
silent. With both modalities a tuned linear model, whose threshold is chosen, has {ev.mean(linear)}, the best single
modality {ev.mean(single)}.
*Empty*: share of films that get no genre at all. *Attention*: what goes to the modality that is not there.
"""
    text += _silence(lines)
    rows = []
    for regime in dict.fromkeys(x["regime"] for x in lines):
        for fusion in dict.fromkeys(x["fusion"] for x in lines):
            for absence in ("masked", "zeros"):
                rows.append([regime, fusion, absence, *_cells(lines, regime, fusion, absence)])
    columns = ("regime", "joined by", "absent", "both", "text alone", "image alone", "empty: both, text, image",
               "attention on the absent: text alone, image alone")  # fmt: skip
    tests = fallen(lines)
    shown = ev.tests_table(tests, "present", "joined by")
    return [
        text, ev.table(columns, rows), LESS,
        ev.draw(page.with_name("pretraining-collapse.svg"), tests, "scratch less pretrained"), shown,
    ]  # fmt: skip


def _silence(lines: Sequence[ev.Line]) -> str:
    """What is seen where nothing can be concluded: how often nothing is answered, and where attention goes."""

    def of(key: str, regime: str, present: str, absence: str) -> str:
        keys = {"regime": regime, "present": present, "absence": absence}
        values = [x[key] for x in lines if key in x and all(x[k] == v for k, v in keys.items())]
        return f"{np.mean(values):.2f}" if values else "–"

    text, image = (
        f"pretrained networks give {of('empty', 'pretrain', present, 'masked')} of the films no genre, "
        f"from scratch {of('empty', 'scratch', present, 'masked')}"
        for present in ("text", "image")
    )
    away = [of("attention_on_absent", regime, "text", "zeros") for regime in ("scratch", "pretrain")]
    return f"""
What is seen, without a verdict: **silence**. With the text alone {text};
with the image alone {image}; means over six ways of joining.
In the thesis it is the image alone that falls. With zeros in the place of the absent image, attention gives it
{away[0]} of its weight from scratch and {away[1]} after pretraining.
"""


def _cells(lines: Sequence[ev.Line], regime: str, fusion: str, absence: str) -> list[str]:
    def of(present: str, key: str) -> list[float]:
        keys = {"regime": regime, "fusion": fusion, "absence": absence, "present": present}
        return [x[key] for x in lines if key in x and all(x[k] == v for k, v in keys.items())]

    patterns = ("text+image", "text", "image")
    empty = ", ".join(f"{np.mean(of(p, 'empty')):.2f}" for p in patterns if of(p, "empty"))
    attention = ", ".join(
        f"{np.mean(of(p, 'attention_on_absent')):.2f}" for p in patterns[1:] if of(p, "attention_on_absent")
    )
    return [*(ev.mean(of(p, "f1_samples")) for p in patterns), empty, attention or "–"]


def fallen(lines: Sequence[ev.Line]) -> list[ev.Test]:
    """Claim: with one modality alone the pretrained network is worse than the one from scratch."""
    flat = [
        {
            "data": x["present"], "arm": f"{x['regime']} {x['fusion']}", "seed": x["seed"], "split": 0, "metric": "f1_samples",
            "value": x["f1_samples"], "present": x["present"], "subset": x["present"], "test_rows": x["rows"],
            "train_rows": x["rows"] * 7 // 2,
        }
        for x in lines
        if x["absence"] == "masked" and x["present"] != "text+image"
    ]  # fmt: skip
    flat += [
        line | {"arm": "majority", "value": x["constant"]}
        for line, x in zip(
            flat, [x for x in lines if x["absence"] == "masked" and x["present"] != "text+image"], strict=True
        )
    ]
    fusions = dict.fromkeys(x["fusion"] for x in lines)
    pairs = [
        (f, {"data": p, "arm": f"scratch {f}"}, {"data": p, "arm": f"pretrain {f}"})
        for p in ("text", "image")
        for f in fusions
    ]
    return ev.compared(flat, pairs, MARGIN) if flat else []
