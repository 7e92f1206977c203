"""Tuning over cached lower layers against the whole network recomputed each epoch: same rows, epochs, batches, seed.

    PLAIT_DATA=... OMP_NUM_THREADS=1 python benchmarks/tuning.py [--data movies] [--rows 600] [--epochs 4] [--layers 3]

Both sides start from prepared arrays (tokenised, decoded and resized once), so that only layers are compared; the cached
side's time includes computing the lower layers once. Seconds are the processor's (one thread), so that a busy machine does
not matter.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from plait import registry, table
from plait.encoders._base import Encoder
from plait.features import make_encoder
from plait.targets import Labels, target_values
from plait.tasks import task_class
from plait.tokens import Tokens
from plait.tuning.learn import Learned, Rows, learn
from plait.tuning.settings import Tuning
from plait.tuning.states import States
from plait.tuning.tuned import as_stored

WHAT = {"movies": ("text", "genres"), "pokemon": ("image", "type_1"), "issues": ("text", "label")}
TOGETHER = 32


class Recomputed:
    """Cells whose lower layers are computed each time a batch asks for them."""

    def __init__(self, lower: torch.nn.Module, prepared: list[dict[str, np.ndarray]], lengths: np.ndarray) -> None:
        self.lower, self.prepared, self.lengths = lower, prepared, lengths

    def batch(self, cells: np.ndarray) -> Tokens:
        with torch.no_grad():
            found = self.lower(joined([self.prepared[cell] for cell in cells]))
        return Tokens(as_stored(found), found.mask)


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Cells prepared one by one as a batch, padded with zeros."""
    found = {}
    for name in parts[0]:
        arrays = [torch.from_numpy(part[name]) for part in parts]
        found[name] = torch.nn.utils.rnn.pad_sequence(arrays, batch_first=True)
    return found


def prepared_cells(encoder: Encoder, cells: list[Any]) -> list[dict[str, np.ndarray]]:
    return [{k: v[0] for k, v in encoder.prepare([cell]).items()} for cell in cells]


def cached(lower: torch.nn.Module, prepared: list[dict[str, np.ndarray]], lengths: np.ndarray) -> States:
    """The lower layers of every cell, once, in half precision."""
    arrays: list[np.ndarray] = [np.zeros(0)] * len(prepared)
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), TOGETHER):
        chosen = order[start : start + TOGETHER]
        with torch.no_grad():
            tokens = lower(joined([prepared[cell] for cell in chosen]))
        for cell, x, there in zip(chosen, tokens.x.numpy(), tokens.mask.numpy(), strict=True):
            arrays[cell] = x[there].astype(np.float16)
    return States(arrays)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--data", default="movies", choices=sorted(WHAT))
    told.add_argument("--rows", type=int, default=600)
    told.add_argument("--epochs", type=int, default=4)
    told.add_argument("--layers", type=int, default=3)
    asked = told.parse_args()
    name, target = WHAT[asked.data]
    frame, schema = registry.find("datasets", asked.data)().load().of(target)
    rng = np.random.default_rng(0)
    frame = frame.iloc[rng.permutation(len(frame))[: asked.rows]].reset_index(drop=True)
    modality = next(m for m in schema.modalities if m.name == name)
    (column,) = table.cells(frame, modality, schema.root)
    encoder = make_encoder(modality)
    there = [i for i, cell in enumerate(column) if cell is not None]
    prepared = prepared_cells(encoder, [column[i] for i in there])
    y: Any = target_values(frame[target].iloc[there], schema.task)
    y = y.indicator if isinstance(y, Labels) else y
    task = task_class(schema.task).learn(y, np.ones(len(there)))
    rows = Rows(np.arange(len(there)), task.encode(y), torch.ones(len(there)))
    split = int(0.85 * len(there))
    parts = rows.take(np.arange(split)), rows.take(np.arange(split, len(there)))
    setting = Tuning(layers=asked.layers, epochs=asked.epochs, patience=asked.epochs)

    cut = encoder.cut(asked.layers)
    learn(
        cut,
        encoder.dim,
        cached(cut.lower, prepared[:8], np.ones(8)),
        rows.take(np.arange(4)),
        rows.take(np.arange(4, 8)),
        task,
        Tuning(layers=asked.layers, epochs=1),
        0,
        name,
    )  # imports peft, warms up
    start = time.process_time()
    lengths = np.array([int(p["length"][0]) if "length" in p else 1 for p in prepared])
    cells = cached(cut.lower, prepared, lengths)
    once = time.process_time() - start
    with_cache = learn(cut, encoder.dim, cells, *parts, task, setting, 0, name)
    middle = time.process_time()
    again = Recomputed(cut.lower, prepared, cells.lengths)
    without = learn(cut, encoder.dim, again, *parts, task, setting, 0, name)
    seconds = middle - start, time.process_time() - middle
    kept = sum(array.nbytes for array in cells.arrays) / 1e6
    print(
        f"{asked.data} {name}: {len(there)} rows, {encoder.name()}, last {asked.layers} layers, {asked.epochs} epochs"
    )
    print(
        f"cached lower layers: {seconds[0]:.1f} s (of which {once:.1f} s once, {kept:.0f} MB); recomputed: {seconds[1]:.1f} s"
    )
    print(f"ratio {seconds[1] / seconds[0]:.2f}; without what is computed once {seconds[1] / (seconds[0] - once):.2f}")
    print(f"largest difference of an epoch's loss: {difference(with_cache, without):.1e}")
    print("validation losses:", [round(r["valid_loss"], 4) for r in with_cache.history], flush=True)


def difference(a: Learned, b: Learned) -> float:
    pairs = zip(a.history, b.history, strict=True)
    return max(abs(x[k] - y[k]) for x, y in pairs for k in ("train_loss", "valid_loss"))


if __name__ == "__main__":
    main()
