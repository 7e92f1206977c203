"""Why a plain concatenation loses, step by step: accuracy on Pokemon (rebuilt) type_1 as each remedy is added.

    PLAIT_DATA=... python benchmarks/concatenation.py [--seeds 5]

Splits are 80/5/15 by rows; settings were chosen within the training part; the test part is only scored.
"""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import numpy as np

from plait import FusionClassifier
from plait.data.table import split
from plait.datasets.pokemon import Pokemon

PLAIN: dict[str, Any] = {
    "branches": ("joint",),
    "members": 1,
    "components": 100_000,
    "input_dropout": 0.0,
    "modality_dropout": 0.0,
    "width": 128,
}
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("plain: two blocks on the standardised concatenation, one network", {}),
    ("+ five members by cross-fitting, averaged", {"members": 5}),
    ("+ at most 256 directions of text and image", {"components": 256}),
    ("+ features and modalities dropped at random in training", {"input_dropout": 0.3, "modality_dropout": 0.2}),
    (
        "+ linear and own branches, mixed by held-out predictions (the default)",
        {"branches": ("joint", "linear", "own"), "width": None},
    ),
]


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--seeds", type=int, default=5)
    seeds = range(told.parse_args().seeds)
    warnings.simplefilter("ignore")
    loaded = Pokemon().load()
    schema = loaded.schemas["type_1"]
    y = loaded.frame["type_1"].to_numpy()
    settings = dict(PLAIN)
    tabular = {m.name: m for m in schema.modalities if m.kind == "tabular"}
    rows: list[tuple[str, Any, dict[str, Any]]] = [
        ("tabular alone, same plain network", next(iter(tabular)), dict(PLAIN))
    ]
    for label, change in STEPS:
        settings |= change
        rows.append((label, None, dict(settings)))
    print("| | accuracy | log loss | trained weights |\n|---|---|---|---|")
    for label, only, chosen in rows:
        found = []
        for seed in seeds:
            train, valid, test = split(loaded.frame, (0.80, 0.05, 0.15), seed, stratify=loaded.frame["type_1"])
            part = np.sort(np.concatenate([train, valid]))
            modalities = schema if only is None else type(schema)((tabular[only],), types=schema.types)
            model = FusionClassifier(modalities=modalities, random_state=seed, progress=False, **chosen)
            model.fit(loaded.frame.iloc[part], y[part])
            chances = model.predict_proba(loaded.frame.iloc[test])
            truth = np.searchsorted(model.classes_, y[test])
            loss = -np.log(chances[np.arange(len(test)), truth].clip(1e-9)).mean()
            found.append((float((chances.argmax(1) == truth).mean()), float(loss), model.record_["trained_weights"]))
        accuracy, loss, weights = np.array(found).T
        print(
            f"| {label} | {accuracy.mean():.3f} ± {accuracy.std(ddof=1):.3f} | {loss.mean():.3f} | {int(weights[0]):,} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
