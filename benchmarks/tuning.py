"""Tuning the last layers over cached lower ones, against the whole network recomputed each epoch.

    PLAIT_DATA=... OMP_NUM_THREADS=1 python benchmarks/tuning.py [--data movies] [--rows 64] [--epochs 4] [--rounds 2]

Three ways do the same: the encoders of all folds are tuned, each on its rows and for so many epochs (validation rows judged
after each), then every row is embedded by the one that has not seen it. All begin with the cells themselves.

- ``plait``: ``train: tuned`` as a fit does it (``plait.training.finetuning``); what the lower layers give is
  kept, computed once for all folds and epochs. The store is empty at first and held in memory.
- ``no cache``: the same code, numbers and number types, but each batch goes through the lower layers again. What the cache
  alone saves.
- ``ordinary``: what a user would otherwise write: the same weights as a ``transformers`` model (a picture's network: in
  plain torch), peft's LoRA on the last layers, the whole network for every batch, a shuffled DataLoader that pads each batch
  to its longest, torch's AdamW, float32. Same rows, folds, epochs, batch size, rank, head, rates.

Each round draws other rows and another seed. Seconds are the processor's, so that a busy machine disturbs less; the
ratios are those of each round.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from plait.base import registry
from plait.base.encoder import Encoder
from plait.base.tokens import Tokens
from plait.data.cells import cells as cells_of
from plait.data.targets import Labels, target_values
from plait.encoders import minilm as minilm_file
from plait.encoders.efficientnet_lite0 import Above, below, lite0
from plait.encoders.embed import Column
from plait.encoders.featurize import make_encoder
from plait.encoders.packages import package_file
from plait.networks.tasks import task_class
from plait.training.finetuning import FinetuningTarget, Single, validation_part
from plait.training.lora import Head
from plait.training.settings import Tuning
from plait.training.tuned import as_stored

WHAT = {"movies": ("text", "genres"), "pokemon": ("image", "type_1"), "issues": ("text", "label")}


class Recomputed:
    """Cells whose lower layers are computed each time a batch asks for them."""

    def __init__(self, lower: nn.Module, prepared: list[dict[str, np.ndarray]]) -> None:
        self.lower, self.prepared = lower, prepared
        self.lengths = np.array([int(p["length"][0]) if "length" in p else 1 for p in prepared])

    def batch(self, cells: np.ndarray) -> Tokens:
        """The given cells through the lower layers, rounded as the cache would."""
        with torch.no_grad():
            found = self.lower(joined([self.prepared[cell] for cell in cells]))
        return Tokens(as_stored(found), found.mask)


class NoCache(Single):
    """``Single`` without what it keeps."""

    def _parts(self) -> Any:
        if self._loaded is None:
            cells = [self.column.cells[self.column.rows[key][0]] for key in self.keys]
            cut = self.base.cut(self.tuning.layers)
            self._loaded = cut, Recomputed(cut.lower, prepared_cells(self.base, cells))  # type: ignore[assignment]
        return self._loaded


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Cells prepared one by one as a batch, padded with zeros."""
    arrays = {name: [torch.from_numpy(part[name]) for part in parts] for name in parts[0]}
    return {name: nn.utils.rnn.pad_sequence(found, batch_first=True) for name, found in arrays.items()}


def prepared_cells(encoder: Encoder, cells: list[Any]) -> list[dict[str, np.ndarray]]:
    """Each cell tokenised, or decoded and resized."""
    return [{k: v[0] for k, v in encoder.prepare([cell]).items()} for cell in cells]


class Bert(nn.Module):
    """MiniLM as ``transformers`` has it, with peft's LoRA on the last layers; the mean over the tokens, of length one."""

    def __init__(self, told: Tuning) -> None:
        super().__init__()
        import peft
        from transformers import AutoModel
        from transformers.utils import logging

        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        package, install = minilm_file._PACKAGE, minilm_file._INSTALL
        folder = package_file(package, "model/model.safetensors", minilm_file._WEIGHTS, install).parent
        network = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
        count = network.config.num_hidden_layers
        settings = peft.LoraConfig(
            r=told.rank,
            lora_alpha=int(told.alpha),
            target_modules=["query", "key", "value", "dense"],
            layers_to_transform=list(range(count - told.layers, count)),
            layers_pattern="layer",
        )
        self.network = peft.get_peft_model(network, settings)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        mask = (torch.arange(batch["ids"].shape[1]) < batch["length"]).long()
        found = self.network(input_ids=batch["ids"].long(), attention_mask=mask).last_hidden_state
        mean = (found * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(mean, dim=1)


class Lite0(nn.Module):
    """EfficientNet-Lite0 in float32 with peft's LoRA on the last layers."""

    def __init__(self, told: Tuning) -> None:
        super().__init__()
        import peft

        upper = Above(lite0(fast=False), told.layers)
        settings = peft.LoraConfig(r=told.rank, lora_alpha=int(told.alpha), target_modules=list(upper.targets()))
        self.lower, self.upper = below(lite0(fast=False), told.layers), peft.inject_adapter_in_model(settings, upper)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            tokens = self.lower(batch)
        out: Tensor = self.upper(tokens).pooled()
        return out


def ordinary(column: Column, encoder: Encoder, told: Tuning, known: FinetuningTarget) -> list[float]:
    """The loop that a user would write; the least validation loss of each fold."""
    one = Single(column, encoder, told, known, None, False)  # for the same rows in the same folds
    cells = prepared_cells(encoder, [column.cells[column.rows[key][0]] for key in one.keys])
    fold, found = one._fold(), []
    embeddings = torch.zeros(len(one.rows.cell), encoder.dim)

    def loader(places: np.ndarray, shuffle: bool) -> DataLoader[Any]:
        rows: Any = [(cells[one.rows.cell[i]], one.rows.target[i], one.rows.weight[i]) for i in places.tolist()]

        def collate(batch: list[Any]) -> tuple[dict[str, Tensor], Tensor, Tensor]:
            parts, targets, weights = zip(*batch, strict=True)
            return joined(list(parts)), torch.stack(targets), torch.stack(weights)

        return DataLoader(rows, told.batch_size if shuffle else 2 * told.batch_size, shuffle, collate_fn=collate)

    for number in range(told.folds):
        chosen, seed = np.flatnonzero(fold != number), known.seed + number
        valid = validation_part(one.strata[chosen], one.units[chosen], told.validation, seed)
        torch.manual_seed(seed)
        network: nn.Module = Bert(told) if "text" in encoder.kinds else Lite0(told)
        head = Head(encoder.dim, known.task.out_dim, told.dropout)
        learning = [p for name, p in network.named_parameters() if "lora_" in name]
        for name, parameter in network.named_parameters():
            parameter.requires_grad_("lora_" in name)
        groups: list[dict[str, Any]] = [{"params": learning}, {"params": head.parameters(), "lr": told.head_rate}]
        optimiser = torch.optim.AdamW(groups, told.learning_rate, weight_decay=told.weight_decay)
        batches, held = loader(chosen[~valid], True), loader(chosen[valid], False)
        steps = told.epochs * len(batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_factor, steps=steps))
        least = math.inf
        for _ in range(told.epochs):
            network.train(), head.train()
            for batch, target, weight in batches:
                loss = (known.task.row_loss(head(network(batch)), target) * weight).sum() / weight.sum()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_([*learning, *head.parameters()], 1.0)
                optimiser.step()
                schedule.step()
            network.eval(), head.eval()
            total = mass = 0.0
            with torch.no_grad():
                for batch, target, weight in held:
                    total += float((known.task.row_loss(head(network(batch)), target) * weight).sum())
                    mass += float(weight.sum())
            least = min(least, total / mass)
        found.append(least)
        rest = np.flatnonzero(fold == number)
        with torch.no_grad():
            embeddings[rest] = torch.cat([network(batch) for batch, _, _ in loader(rest, False)])
    return found


def _factor(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    share = (step - warm) / max(1, steps - warm)
    return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def problem(asked: argparse.Namespace, seed: int, rows: int) -> tuple[list[Any], Encoder, FinetuningTarget]:
    """Cells of so many rows, what encodes them, and what is learned of them."""
    name, target = WHAT[asked.data]
    frame, schema = registry.find("datasets", asked.data)().load().of(target)
    frame = frame.iloc[np.random.default_rng(seed).permutation(len(frame))[:rows]].reset_index(drop=True)
    modality = next(m for m in schema.modalities if m.name == name)
    (column,) = cells_of(frame, modality, schema.root)
    y: Any = target_values(frame[target], schema.task)
    y = (
        y.indicator
        if isinstance(y, Labels)
        else np.unique(y, return_inverse=True)[1]
        if schema.task == "classification"
        else y
    )
    task = task_class(schema.task).learn(y, np.ones(len(frame)))
    known = FinetuningTarget(task, task.encode(y), torch.ones(len(frame)), task.strata(y), None, seed)
    return list(column), make_encoder(modality), known


def ways(asked: argparse.Namespace, told: Tuning, seed: int, rows: int) -> dict[str, Callable[[], list[float]]]:
    """What is compared; each gives the least validation loss of every fold."""
    cells, encoder, known = problem(asked, seed, rows)

    def by(kind: type[Single]) -> Callable[[], list[float]]:
        def run() -> list[float]:
            one = kind(Column(cells, name="cells"), encoder, told, known, None, False)
            return list(one.run()[2]["valid_loss"])

        return run

    def users() -> list[float]:
        return ordinary(Column(cells, name="cells"), encoder, told, known)

    found = {"plait": by(Single), "no cache": by(NoCache), "ordinary": users}
    return {name: found[name] for name in asked.ways}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movies", choices=sorted(WHAT))
    for name, value in (("rows", 64), ("epochs", 4), ("layers", 3), ("folds", 3), ("rounds", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--ways", nargs="+", default=["plait", "no cache", "ordinary"])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    told = Tuning(layers=asked.layers, epochs=asked.epochs, patience=asked.epochs, folds=asked.folds)
    for way in ways(asked, Tuning(layers=asked.layers, epochs=1, folds=2), 99, 12).values():
        way()  # imports, first touches
    seconds: dict[str, list[float]] = {name: [] for name in asked.ways}
    losses: dict[str, list[float]] = {name: [] for name in asked.ways}
    for seed in range(asked.rounds):
        for name, way in ways(asked, told, seed, asked.rows).items():
            start = time.process_time()
            found = way()
            seconds[name].append(time.process_time() - start)
            losses[name].append(statistics.mean(found))
            print(f"round {seed}: {name:9s} {seconds[name][-1]:6.1f} s  least validation losses {found}", flush=True)
    print(f"{asked.data}: {asked.rows} rows, last {asked.layers} layers, {asked.folds} folds of {asked.epochs} epochs")
    for name in asked.ways:
        ratios = [a / b for a, b in zip(seconds[name], seconds["plait"], strict=True)]
        print(
            f"{name:9s} {statistics.median(seconds[name]):6.1f} s  {statistics.median(ratios):.2f} times plait's "
            f"({min(ratios):.2f} to {max(ratios):.2f})  mean of the least validation losses {statistics.mean(losses[name]):.4f}"
        )
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps({"told": vars(asked) | {"out": ""}, "seconds": seconds, "losses": losses}))


if __name__ == "__main__":
    main()
