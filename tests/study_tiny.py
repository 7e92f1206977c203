"""A study small enough for tests: two modalities, a hundred rows, one epoch or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plait.study import Study

WORDS = (("red apple", "sour lemon", "green pear"), ("blue sky", "deep sea", "cold night"))


def table(rows: int = 90) -> pd.DataFrame:
    """Numbers and words that each say something of the label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    said = [WORDS[v if rng.random() < 0.85 else 1 - v][rng.integers(3)] + f" {i}" for i, v in enumerate(y)]
    return pd.DataFrame(
        {
            "size": rng.normal(size=rows) + 1.5 * y,
            "weight": rng.normal(size=rows),
            "text": said,
            "day": np.arange(rows),
            "owner": [f"o{i % 12}" for i in range(rows)],
            "label": np.where(y, "pos", "neg"),
        }
    )


SCHEMA = """
target: label
task: classification
modalities:
  tabular: {kind: tabular, columns: [size, weight]}
  text: {kind: text, columns: [text], encoder: {name: hashed_ngrams, width: 64}}
ignored: {day: when, owner: who}
"""

TOLD: dict[str, Any] = {
    "name": "tiny",
    "data": {"table": "tiny.csv", "schema": "tiny.yaml"},
    "model": {"members": 1, "epochs": 2, "branches": ["joint"], "width": 8},
    "grid": {"depth": ["early", "late"]},
    "seeds": 2,
    "split": {"kind": "holdout", "fractions": [0.7, 0.3]},
    "metrics": ["accuracy", "log_loss"],
}


def study(folder: Path, **told: Any) -> Study:
    """The study, its table beside it; ``told`` replaces fields, None takes them out."""
    if not (folder / "tiny.csv").exists():
        table().to_csv(folder / "tiny.csv", index=False)
        (folder / "tiny.yaml").write_text(SCHEMA)
    merged = {k: v for k, v in {**TOLD, **told}.items() if v is not None}
    return Study.from_dict(merged, base=folder)


def values(results: Any) -> pd.DataFrame:
    """What a study found, in an order of its own."""
    keys = ["run", "evaluation", "metric"]
    return results.frame[[*keys, "value"]].sort_values(keys).reset_index(drop=True)
