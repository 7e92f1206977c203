"""One epoch of the same head on the same frozen features: plait, a PyTorch DataLoader in fp32, scikit-learn's MLPClassifier.

    OMP_NUM_THREADS=1 python benchmarks/frozen_epoch.py [--epochs 9] [--rounds 9] [--out results/frozen_epoch.json]

9,500 rows of 1,724 features (the size of the Hearthstone table), a head of one block (1,724 -> 128 -> 13,
batch normalisation, ReLU, dropout) and batches of 512 rows. The ways are measured in turn, ``--rounds`` times in one
process; told are wall and processor seconds (which other processes disturb less) and the ratios of each round. plait's
epoch is that of ``plait.training.loop.train``, validation left out, and with several threads also that of one of as many members,
trained side by side as ``plait fit`` does; the DataLoader's is the usual loop (shuffle, collate, ``torch.optim.AdamW``) over
the same network in plain PyTorch; scikit-learn's has the same width and batch size, in float32 and in float64, numpy's
default (no batch normalisation and no dropout, which makes its epoch cheaper), and as it comes, in float64 with batches of
200. Each way trains for ``--epochs`` epochs (a large table gets nine from ``plait fit``) from arrays in float32; the seconds
are those of one, with all that a training does once (plait rounds the features to bf16) in them.

Told last is what the processor can do: the seconds of the head's products alone (forward, and back to the weights), at
the rate of its own matrix product in bf16 and in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from plait.base.inputs import Inputs
from plait.base.machine import fast_dtype
from plait.base.tokens import Tokens
from plait.networks.tasks import Classification
from plait.training.crossfit import side_by_side
from plait.training.design import Design, maker
from plait.training.loop import train
from plait.training.member import MemberLearner
from plait.training.rows import Examples, Hiding
from plait.training.settings import Training

#: A way: members trained side by side; its seconds are of one epoch of one member.
MEMBERS = "plait, a member per core"


def features(rows: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Standard normal features with a class in them."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (rows,), generator=generator)
    centres = torch.randn(classes, width, generator=generator) * 0.1
    return centres[y] + torch.randn(rows, width, generator=generator), y


def of_plait(x: Tensor, y: Tensor, told: argparse.Namespace) -> Callable[[], None]:
    """One epoch of ``plait.training.loop.train`` on a member with the branch ``joint``."""
    design = Design("concat", "early", 1, told.units, told.dropout, ("joint",), 10**7, 1)
    settings = Training(told.epochs, told.batch, 5e-3, 0.2, 10, 0.0, 0.0, Hiding())
    task, everything, weight = Classification(tuple(range(told.classes))), torch.arange(len(x)), torch.ones(len(x))

    def epoch() -> None:
        torch.manual_seed(0)
        inputs = Inputs({"x": Tokens.of_vectors(x)}, {}, {"x": torch.ones(len(x), dtype=torch.bool)})
        _, make = maker(design, {"x": x.shape[1]}, told.classes, {})
        generator = torch.Generator().manual_seed(0)
        fold = (everything, everything[:0])
        learner = MemberLearner(make(), Examples(task, inputs, y, weight), fold, settings, generator)
        train(learner, settings.epochs, settings.patience)

    return epoch


def of_members(x: Tensor, y: Tensor, told: argparse.Namespace) -> Callable[[], None]:
    """As many members as there are threads, side by side, one core each: how ``plait fit`` trains a large table."""
    one = of_plait(x, y, told)

    def run(_: int) -> list[dict[str, object]]:
        one()
        return []

    def epoch() -> None:
        side_by_side(run, torch.get_num_threads(), threading.Event(), learning=False)

    return epoch


def of_loader(x: Tensor, y: Tensor, told: argparse.Namespace) -> Callable[[], None]:
    """The usual loop, fp32."""

    def epoch() -> None:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(x.shape[1], told.units),
            nn.BatchNorm1d(told.units),
            nn.ReLU(),
            nn.Dropout(told.dropout),
            nn.Linear(told.units, told.classes),
        )
        optimiser = torch.optim.AdamW(network.parameters(), 5e-3, weight_decay=0.2)
        network.train()
        loader = DataLoader(TensorDataset(x, y), told.batch, shuffle=True)
        for _ in range(told.epochs):
            for rows, target in loader:
                loss = nn.functional.cross_entropy(network(rows), target)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimiser.step()

    return epoch


def of_sklearn(x: Tensor, y: Tensor, told: argparse.Namespace, kind: str, batch: int | str) -> Callable[[], None]:
    """MLPClassifier with the same width; ``auto`` are its own batches, of 200 rows."""
    rows, target = x.numpy().astype(kind), y.numpy()

    def epoch() -> None:
        told_it = {"max_iter": told.epochs, "n_iter_no_change": told.epochs + 1, "learning_rate_init": 5e-3}
        model = MLPClassifier((told.units,), batch_size=batch, random_state=0, **told_it)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows, target)

    return epoch


def products(told: argparse.Namespace, kind: torch.dtype, times: int = 15) -> float:
    """Processor seconds of an epoch's products: the first map forward and back to its weights, the fastest of a few."""
    x, weight, gradient = (
        torch.randn(*shape).to(kind)
        for shape in ((told.batch, told.width), (told.units, told.width), (told.units, told.batch))
    )
    seconds = []
    for _ in range(times):
        start = time.process_time()
        torch.mm(x, weight.t())
        torch.mm(gradient, x)
        seconds.append(time.process_time() - start)
    return float(min(seconds) * told.rows / told.batch)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (
        ("rows", 9500),
        ("width", 1724),
        ("classes", 13),
        ("units", 128),
        ("batch", 512),
        ("rounds", 15),
        ("epochs", 1),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    x, y = features(told.rows, told.width, told.classes)
    ways = {"plait": of_plait(x, y, told), "DataLoader": of_loader(x, y, told)}
    ways |= {f"MLPClassifier, {kind}": of_sklearn(x, y, told, kind, told.batch) for kind in ("float32", "float64")}
    ways["MLPClassifier as it is"] = of_sklearn(x, y, told, "float64", "auto")
    threads = torch.get_num_threads()
    members = dict.fromkeys(ways, 1)
    if threads > 1:
        ways |= {MEMBERS: of_members(x, y, told)}
        members[MEMBERS] = threads
    ours = MEMBERS if threads > 1 else "plait"
    for epoch in ways.values():
        epoch()
    clocks = {"wall": time.perf_counter, "processor": time.process_time}
    seconds: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in ways} for clock in clocks}
    for _ in range(told.rounds):
        for name, epoch in ways.items():
            start = {clock: now() for clock, now in clocks.items()}
            epoch()
            for clock, now in clocks.items():
                seconds[clock][name].append((now() - start[clock]) / told.epochs / members[name])
    found: dict[str, object] = {"threads": threads, "ours": ours, "product": str(fast_dtype()), "rows": told.rows}
    found |= {f"products alone, {kind}": products(told, kind) for kind in (torch.bfloat16, torch.float32)}
    for clock, times_of in seconds.items():
        for name, times in times_of.items():
            ratios = np.array(times) / np.array(times_of[ours])
            low, middle, high = (round(float(v), 2) for v in np.quantile(ratios, (0.25, 0.5, 0.75)))
            median = statistics.median(times)
            found[f"{name}, {clock}"] = {
                "median": median,
                "least": min(times),
                "ratio": middle,
                "quartiles": [low, high],
            }
            print(
                f"{clock:9s} {name:24s} median {median:.3f} s  least {min(times):.3f} s  "
                f"{middle:.2f} times plait's ({low:.2f} to {high:.2f})"
            )
    for kind in (torch.bfloat16, torch.float32):
        print(f"processor the products alone, {kind}: {found[f'products alone, {kind}']:.3f} s")
    if told.out is not None:
        told.out.parent.mkdir(parents=True, exist_ok=True)
        told.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
