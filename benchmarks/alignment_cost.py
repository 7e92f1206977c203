"""Time and peak memory of one contrastive step: blocks and a gradient cache against the whole similarity matrix.

    python benchmarks/alignment_cost.py --rows 4096 32768

Each case runs in a process of its own, so that its peak is its own. ``naive`` is the loss as the papers write it: exp of
all similarities, sorted, autograd through everything. Loss and gradient are compared where both ran. A naive case that
would not fit into ``--limit`` GiB (each N x N matrix takes 4 N^2 bytes; it needs about six of them) is left out, and
said so. Seconds are of the processor, not of the clock: the machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch

from plait.alignment.base import make_stage
from plait.alignment.batches import backward
from plait.alignment.network import unit
from plait.alignment.pairs import Pairs

DIMS = {"a": 256, "b": 384}
WAYS = ("naive", "whole", "blocks")
LOSSES = ("hardest_negatives", "soft_targets", "infonce")


def network_and_pairs(loss: str, rows: int) -> tuple[object, object, Pairs]:
    """The same for every way."""
    generator = torch.Generator().manual_seed(0)
    x = {name: torch.randn(rows, dim, generator=generator) for name, dim in DIMS.items()}
    told: dict[str, object] = {"name": "hardest_negatives", "anchors": ["b"], "dropout": 0.0, "negatives": 10}
    if loss != "hardest_negatives":
        told = {"name": "plain_heads", "loss": loss, "input_dropout": 0.0}
    torch.manual_seed(0)
    stage = make_stage(told)
    return stage, stage.network(DIMS).train(), Pairs.of(x)


def naive(stage: object, network: object, pairs: Pairs, loss: str) -> float:
    """The papers' formulas over whole matrices."""
    name_a, name_b = stage.pairs_of(pairs.names)[0]  # type: ignore[attr-defined]
    a, b = (unit(network(n, pairs.x[n])) for n in (name_a, name_b))  # type: ignore[operator]
    t = network.temperature()  # type: ignore[attr-defined]
    own = torch.eye(len(a), dtype=torch.bool)
    if loss == "hardest_negatives":
        similar = (a @ b.T / t).exp()
        positive = similar.diagonal()
        hardest = similar.masked_fill(own, 0.0).sort(dim=1, descending=True).values[:, :10].sum(1)
        value = -(positive / (positive + hardest + 1e-7)).log().mean()
    else:
        one, two = (a @ b.T / t).log_softmax(1), (b @ a.T / t).log_softmax(1)
        target = ((a @ a.T + b @ b.T) / (2 * t)).softmax(1) if loss == "soft_targets" else own.float()
        value = -(target * one + target.T * two).sum() / (2 * len(a))
    value.backward()
    return float(value.detach())


def case(way: str, loss: str, rows: int) -> dict[str, float]:
    """One step, its cost, its loss and the length of its gradient."""
    stage, network, pairs = network_and_pairs(loss, rows)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    if way == "naive":
        value = naive(stage, network, pairs, loss)
    else:
        told = stage.pairs_of(pairs.names)  # type: ignore[attr-defined]
        value = backward(network, stage.contrast(), told, pairs, rows if way == "whole" else 1024)  # type: ignore[attr-defined, arg-type]
    seconds = time.process_time() - start
    gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])  # type: ignore[attr-defined]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "mb": (peak - before) / 1024, "loss": value, "gradient": float(gradient.norm())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=int, default=[1024, 4096, 32768])
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--limit", type=float, default=8.0, help="GiB that a naive case may take")
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.case:
        print(json.dumps(case(told.case[0], told.case[1], int(told.case[2]))))
        return
    print(f"{'loss':20} {'rows':>7} {'way':8} {'seconds':>8} {'peak MB':>8} {'loss':>10} {'gradient':>10}")
    for loss in told.losses:
        for rows in told.rows:
            for way in WAYS:
                if way != "blocks" and 6 * 4 * rows**2 > told.limit * 2**30:
                    print(f"{loss:20} {rows:7,} {way:8} left out: about {6 * 4 * rows**2 / 2**30:.0f} GiB")
                    continue
                command = [sys.executable, __file__, "--case", way, loss, str(rows)]
                found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                print(
                    f"{loss:20} {rows:7,} {way:8} {found['seconds']:8.2f} {found['mb']:8.0f} {found['loss']:10.5f} "
                    f"{found['gradient']:10.6f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
