"""The convolutional LSTM against the naive one that concatenates everything at each place and step, in one run.

    [PLAIT_DATA=...] python benchmarks/conv_lstm.py [speed | memory] [--rows 8] [--repeats 3] [--side 28] [--width 64]

``speed``: processor seconds of forward and backward of the whole network (depth 0, the paper's sizes: two layers of 64 units,
28 x 28, 201 bins) and their ratio, in brackets by the clock: on a machine that others use the clock tells more of them. All
compute the same outputs; that is checked. Three sets of sounds:

    equal     all as long as the mean spoken digit: what is saved by computing the picture once and the sound once per step
    batch     spoken digits as they come, front-padded to the longest of the batch
    paper     spoken digits as they come, front-padded to the longest of all 3,000, as the paper does

Lengths come from FSDD in PLAIT_DATA, without it from its deciles. ``memory``: MiB per row and step, as peak of a fresh process.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from naive_conv_lstm import naive_outputs
from plait.base.tokens import Tokens
from plait.networks.conv_lstm import ConvLSTM

BINS, STRIDE = 201, 200
#: Deciles of the frames of a spoken digit (FSDD), its shortest and longest.
DECILES = [6, 11, 14, 15, 16, 17, 18, 19, 21, 24, 92]


def digit_lengths() -> np.ndarray:
    root = os.environ.get("PLAIT_DATA")
    path = Path(root) / "fsdd" / "fsdd.npz" if root else None
    if path is None or not path.is_file():
        return np.array(DECILES)
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(-(-np.diff(archive["offset"]) // STRIDE))


def network(side: int, width: int, precision: str, least_steps: int = 1, checkpoint: int = 0) -> ConvLSTM:
    torch.manual_seed(0)
    options = {"precision": precision, "least_steps": least_steps, "checkpoint": checkpoint}
    dims = {"image": 1, "audio": BINS}
    return ConvLSTM(dims, 10, pictures={"image": (side, side)}, width=width, options=options)


def batch(lengths: np.ndarray, side: int) -> tuple[dict[str, Tokens], Tensor, Tensor]:
    """Tokens, the picture (B, 1, H, W), and the front-padded sound (B, T, F)."""
    generator = torch.Generator().manual_seed(0)
    rows, longest = len(lengths), int(lengths.max())
    image = torch.rand(rows, side * side, 1, generator=generator)
    frames = torch.rand(rows, longest, BINS, generator=generator)
    there = torch.arange(longest)[None] < torch.from_numpy(lengths)[:, None]
    sound = torch.zeros_like(frames)
    for row, length in enumerate(lengths.tolist()):
        sound[row, longest - length :] = frames[row, :length]
    everywhere = torch.ones(rows, side * side, dtype=torch.bool)
    tokens = {"image": Tokens(image, everywhere), "audio": Tokens(frames, there)}
    return tokens, image.view(rows, 1, side, side), sound


@dataclasses.dataclass
class Spent:
    """Seconds of forward and backward, by the clock and of the processor."""

    wall: list[float] = dataclasses.field(default_factory=list)
    processor: list[float] = dataclasses.field(default_factory=list)

    def run(self, model: ConvLSTM, answer: Callable[[], Tensor]) -> Tensor:
        model.zero_grad()
        wall, processor = time.perf_counter(), time.process_time()
        out = answer()
        out.square().sum().backward()  # type: ignore[no-untyped-call]
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)
        return out.detach()

    def ratio(self, other: Spent) -> str:
        """How many times as long: median over the repeats, processor time and, in brackets, by the clock."""
        found = [np.median(np.divide(getattr(self, c), getattr(other, c))) for c in ("processor", "wall")]
        return f"{found[0]:.1f} ({found[1]:.1f})"


def speed(told: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    digits = digit_lengths()
    drawn = rng.choice(digits[digits < digits.max()], told.rows)
    print(
        f"{torch.get_num_threads()} threads, {told.rows} rows, {told.side} x {told.side}, {told.width} units, "
        f"medians of {told.repeats}\n\n| sounds | steps: mean, padded to | naive, s | float32, s | bf16, s "
        "| ratio float32 | ratio bf16 |\n|---|---|---|---|---|---|---|"
    )
    compare("equal", np.full(told.rows, round(digits.mean())), 0, told)
    compare("batch", drawn, 0, told)
    compare("paper", drawn, int(digits.max()), told)


def compare(name: str, lengths: np.ndarray, padded: int, told: argparse.Namespace) -> None:
    """One line: the naive one over sounds front-padded to ``padded`` steps, ours over what is there."""
    tokens, picture, sound = batch(lengths, told.side)
    steps = max(padded, sound.shape[1])
    whole = torch.cat([torch.zeros(told.rows, steps - sound.shape[1], BINS), sound], 1)
    begun = torch.arange(steps)[None] >= steps - torch.from_numpy(lengths)[:, None]
    exact, fast = (network(told.side, told.width, precision).train() for precision in ("float32", "auto"))
    slow, ours, rounded = Spent(), Spent(), Spent()
    for model in (exact, fast):
        Spent().run(model, partial(model, tokens))  # what is done once is not counted
    for _ in range(told.repeats):  # in turn, so that another process on the machine disturbs all of them alike
        expected = slow.run(exact, lambda: naive_outputs(exact, picture, whole, begun))
        found = ours.run(exact, lambda: exact(tokens))
        rounded.run(fast, lambda: fast(tokens))
    difference = float((found - expected).abs().max())
    assert difference < 1e-4, f"not the same: {difference}"
    seconds = " | ".join(f"{np.median(way.processor):.2f}" for way in (slow, ours, rounded))
    print(
        f"| {name} | {lengths.mean():.1f}, {steps} | {seconds} | {slow.ratio(ours)} | {slow.ratio(rounded)} |",
        flush=True,
    )


def memory(told: argparse.Namespace) -> None:
    print("| steps | naive | float32 | bf16 | bf16, pieces of 16 steps |\n|---|---|---|---|---|")
    for steps in (8, 16, 32, 64, 92):
        row = []
        for way in ("naive", "float32", "auto", "pieces"):
            command = [sys.executable, __file__, "one", "--way", way, "--steps", str(steps), "--rows", str(told.rows)]
            command += ["--side", str(told.side), "--width", str(told.width)]
            row.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(f"| {steps} | " + " | ".join(f"{v:.1f}" for v in row) + " |", flush=True)


def one(told: argparse.Namespace) -> None:
    """MiB that one row took in forward and backward."""
    tokens, picture, sound = batch(np.full(told.rows, told.steps), told.side)
    precision = "float32" if told.way in ("naive", "float32") else "auto"
    model = network(told.side, told.width, precision, checkpoint=16 if told.way == "pieces" else 0).train()
    small = {name: found.take(torch.arange(1)) for name, found in tokens.items()}
    small["audio"] = Tokens(small["audio"].x[:, :1], small["audio"].mask[:, :1])
    model(small).sum().backward()  # what the libraries take once is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = torch.ones(told.rows, told.steps, dtype=torch.bool)
    out = naive_outputs(model, picture, sound, begun) if told.way == "naive" else model(tokens)
    out.square().sum().backward()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 / told.rows)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("what", nargs="?", default="speed", choices=("speed", "memory", "one"))
    told.add_argument("--rows", type=int, default=8)
    told.add_argument("--repeats", type=int, default=3)
    told.add_argument("--side", type=int, default=28)
    told.add_argument("--width", type=int, default=64)
    told.add_argument("--steps", type=int, default=16)
    told.add_argument("--way", default="auto")
    found = told.parse_args()
    {"speed": speed, "memory": memory, "one": one}[found.what](found)


if __name__ == "__main__":
    main()
