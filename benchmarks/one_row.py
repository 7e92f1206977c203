"""Prediction of one row in a warm process: milliseconds, its cells' embeddings being in the store already.

    python benchmarks/one_row.py [MODEL TABLE] [--rows 50]

Without a model one is fitted on Hearthstone's cards (text, categories, numbers). Rows are asked one at a time, as a service
would; the first ten warm the process up. ``tabular`` is the same with the table's modality alone present (``partial``), so that
no cell is looked up in the store. On a busy machine look at the processor's time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from plait import FusionClassifier, load
from plait.datasets.hearthstone_cards import HearthstoneCards

WARM = 10


def milliseconds(model: Any, rows: pd.DataFrame) -> tuple[list[float], float]:
    """Of ``predict`` for each row alone, those that warm up left out; and the processor's time of a row."""
    taken, busy = [], 0.0
    for place in range(len(rows)):
        busy = time.process_time() if place == WARM else busy
        start = time.perf_counter()
        model.predict(rows.iloc[place : place + 1])
        taken.append(1000 * (time.perf_counter() - start))
    return taken[WARM:], 1000 * (time.process_time() - busy) / (len(rows) - WARM)


def fitted(folder: Path) -> tuple[Any, pd.DataFrame]:
    """A model of Hearthstone's cards, and the cards."""
    loaded = HearthstoneCards().load()
    frame, schema = loaded.frame, loaded.schemas["cardClass"]
    frame = frame[frame["cardClass"].notna()]
    model = FusionClassifier(modalities=schema, store=str(folder / "store"))
    return model.fit(frame.drop(columns="cardClass"), frame["cardClass"]), frame


def main() -> None:
    """Print medians and the slowest of twenty."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", type=Path)
    options.add_argument("table", nargs="?", type=Path)
    options.add_argument("--rows", type=int, default=50)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            model, frame = fitted(Path(folder))
        else:
            model, frame = load(given.model), pd.read_csv(given.table)
        rows = frame.sample(given.rows + WARM, random_state=0)
        model.predict(rows)  # every cell is in the store now
        model.progress = False
        tables = {c for m in model.schema_.modalities if m.kind == "tabular" for c in m.columns}
        model.partial = True
        for name, asked in (("all modalities", rows), ("tabular", rows[[c for c in rows.columns if c in tables]])):
            taken, busy = milliseconds(model, asked)
            taken.sort()
            slow = taken[int(0.95 * len(taken))]
            median = f"median {statistics.median(taken):.1f} ms, 95 % within {slow:.1f} ms, least {taken[0]:.1f} ms"
            print(f"{name}: {median}; processor {busy:.1f} ms")


if __name__ == "__main__":
    main()
