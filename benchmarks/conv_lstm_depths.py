"""The experiments of the convolutional LSTM's paper on spoken and written digits: depths, noise, single modalities.

    PLAIT_DATA=... python benchmarks/conv_lstm_depths.py WHAT [--size reduced|paper] [--seeds 5] [--out out]

    depths       the three depths at one pair of training ratios, tested over 10 x 10 (figures 1 and 7 to 10)
    equal        the same with equal numbers of trained weights
    grid         one depth at 4 x 4 training ratios, tested over 10 x 10 (figure 2)
    unimodal     one modality, the other zeroed and truly absent, at four training ratios (figures 3 and 4)
    frozen       early, late and decision fusion of frozen features over the same grid, with and without modality dropout
    activations  the last layer over the steps at four settings (figures 11 to 16)

What is done is kept in ``--out`` and not done again; pictures and tables are made of all that is there. ``reduced`` is for two
cores: 14 x 14 pixels, frames of 50 ms every 50 ms (mean 9, longest 46), 16 units, 20,000 pairs, 4 epochs. ``paper``: 28 x 28,
201 bins every 25 ms, all sounds front-padded to the longest, 64 units, 87,516 pairs, parts pooled 8:1:1, power spectrogram, Adam
at 1e-3; the paper does not say how many epochs. Its figures' axes are not in its text: the ratios are ours where it names none.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plait import FusionClassifier, noise_grid
from plait.datasets.av_digits import AvDigits
from plait.networks.conv_lstm import ConvLSTM
from plait.noise_grid import LEVELS, Grid
from plait.report import conv_lstm_figures as figures
from plait.schema import Schema
from plait.train import trained_weights

NAMES = {0: "initial layer", 1: "second layer", 2: "fully connected"}
#: Of the paper's figure 1, image and audio.
TRAINED = (0.25, 0.5)
TRAIN_IMAGE, TRAIN_AUDIO = (1.0, 0.5, 0.25, 0.125), (math.inf, 2.0, 1.0, 0.5)


@dataclasses.dataclass(frozen=True)
class Size:
    pairs: int
    side: int
    stride: int
    width: int
    dense: int
    scale: str
    parts: str
    least_steps: int
    epochs: int
    learning_rate: float
    test_pairs: int = 1000


SIZES = {
    "tiny": Size(300, 10, 400, 4, 8, "magnitude", "official", 4, 1, 3e-3, 40),
    "reduced": Size(20_000, 14, 400, 16, 64, "magnitude", "official", 8, 4, 3e-3),
    "paper": Size(87_516, 28, 200, 64, 128, "power", "pooled", 92, 10, 1e-3, 5000),
}


class Experiment:
    def __init__(self, told: argparse.Namespace) -> None:
        self.told, self.size, self.ratio = told, SIZES[told.size], told.ratio
        self.out = Path(told.out) / told.size
        self.out.mkdir(parents=True, exist_ok=True)
        self._data: dict[int, Any] = {}

    def data(self, seed: int) -> tuple[Any, Any, Schema]:
        """Training rows of this seed, and test rows, which are the same for all seeds."""
        if seed not in self._data:
            size = self.size
            frame, schema = AvDigits(size.pairs, size.test_pairs, seed, parts=size.parts).load().of("digit")
            test, _ = AvDigits(1, size.test_pairs, 0, parts=size.parts).load().of("digit")
            if size.parts == "pooled" and seed:
                raise SystemExit("pooled parts depend on the seed: run the paper's size with --seeds 1")
            self._data = {seed: (frame[frame["split"] == "train"], test[test["split"] == "test"], schema)}
        found: tuple[Any, Any, Schema] = self._data[seed]
        return found

    def noisy(self, frame: Any, schema: Schema, levels: Mapping[str, float]) -> Any:
        for modality, level in levels.items():
            frame = noise_grid.noise(modality, level, self.ratio).apply(frame, schema)
        return frame

    def conv_lstm(self, schema: Schema, depth: int, seed: int, **settings: Any) -> FusionClassifier:
        size = self.size
        told = {"name": "conv_lstm", "dense": size.dense, "least_steps": size.least_steps, "precision": "fast"}
        encoders = {
            "image": {"name": "pixels", "size": size.side, "channels": 1},
            "audio": {"name": "spectrogram", "stride": size.stride, "scale": size.scale},
        }
        plain = {
            "input_dropout": 0.0,
            "modality_dropout": 0.0,
            "weight_decay": 0.0,
            "branches": ("joint",),
            "store": "none",
        }
        plain |= {"batch_size": 64, "epochs": size.epochs, "learning_rate": size.learning_rate, "width": size.width}
        names = [m.name for m in schema.modalities]
        return FusionClassifier(
            modalities=schema,
            network=told,
            depth=depth,
            encoders={name: encoders[name] for name in names},
            random_state=seed,
            **plain | settings,
        )

    def model(self, name: str, model: FusionClassifier, train: Any) -> FusionClassifier:
        """The fitted model, from its folder if it is there."""
        folder = self.out / "models" / name
        if folder.is_dir():
            return FusionClassifier.load(folder)
        start = time.perf_counter()
        model.fit(train, train["digit"], groups=train["recording"])
        record = model.record_
        print(f"{name}: {record['trained_weights']:,} weights, {time.perf_counter() - start:.0f} s", flush=True)
        folder.parent.mkdir(exist_ok=True)
        model.save(folder)
        return model

    def tested(self, name: str, make: Any, seed: int, trained: tuple[float, float] | None, label: str) -> Grid:
        """The grid of the model of this name, made and fitted where it is not there yet."""
        path = self.out / f"{name}.npz"
        if path.is_file():
            return Grid.load(path)
        train, test, schema = self.data(seed)
        levels = dict(zip(("image", "audio"), trained, strict=True)) if trained else {}
        fitted = self.model(name, make(schema), self.noisy(train, schema, levels))
        axes = {"image": LEVELS, "audio": LEVELS}
        found = noise_grid.evaluate(fitted, test, test["digit"], axes, ratio=self.ratio, trained=trained, label=label)
        found.save(path)
        return found

    def depths(self, equal: bool = False) -> None:
        kind, runs = "equal" if equal else "depths", {}
        for depth in NAMES:
            settings = {"width": "match", "max_weights": self.weights()} if equal else {}
            runs[depth] = [
                self.tested(
                    f"{kind}-{depth}-{seed}",
                    lambda schema, d=depth, s=seed, more=settings: self.conv_lstm(schema, d, s, **more),
                    seed,
                    TRAINED,
                    NAMES[depth],
                )
                for seed in range(self.told.seeds)
            ]
        self.compared(kind, list(runs.values()))

    def weights(self) -> int:
        size = self.size
        options = {"dense": size.dense}
        with torch.device("meta"):
            shape = {"image": (size.side, size.side)}
            return trained_weights(
                ConvLSTM({"image": 1, "audio": 201}, 10, pictures=shape, width=size.width, options=options)
            )

    def compared(self, name: str, runs: Sequence[Sequence[Grid]]) -> None:
        """A table and a picture of the first against the others."""
        marks = {}
        print(f"\n{name}: accuracy, mean over the grid and at the training ratios, over {len(runs[0])} seeds\n")
        print("| | grid: mean (sd) | at training ratios | first minus this | p | cells better / worse (Holm, 5 %) |")
        print("|---|---|---|---|---|---|")
        for place, grids in enumerate(runs):
            means = [g.accuracy.mean() for g in grids]
            row, column = (LEVELS.index(level) for level in TRAINED)
            there = np.mean([g.accuracy[row, column] for g in grids])
            line = (
                f"| {grids[0].label} | {np.mean(means):.3f} ({np.std(means, ddof=len(means) > 1):.3f}) | {there:.3f} |"
            )
            if place and len(grids) > 1:
                told = noise_grid.compare(runs[0], grids)
                marks[place] = sure = told.p < 0.05
                better, worse = (int((sure & sign).sum()) for sign in (told.difference > 0, told.difference < 0))
                line += f" {told.overall.mean():+.3f} | {told.overall_p:.3f} | {better} / {worse} |"
            else:
                line += " | | |"
            print(line)
        means_of = [figures.mean_grid(grids) for grids in runs]
        print(figures.write(figures.comparison(means_of, marks), self.out / f"{name}.png"))

    def grid(self) -> None:
        depth = self.told.depth
        found = [
            self.tested(
                f"grid-{depth}-{image:g}-{audio:g}",
                lambda schema: self.conv_lstm(schema, depth, 0),
                0,
                (image, audio),
                f"image {figures.level_name(image)}, audio {figures.level_name(audio)}",
            )
            for image in TRAIN_IMAGE
            for audio in TRAIN_AUDIO
        ]
        print(figures.write(figures.heat_maps(found), self.out / f"grid-{depth}.png"))

    def unimodal(self) -> None:
        for modality, levels in (("image", (math.inf, *TRAIN_IMAGE[1:])), ("audio", TRAIN_AUDIO)):
            for way in ("zeroed", "absent"):
                lines = {figures.level_name(v): self.curve(modality, way, v) for v in levels}
                trained = {figures.level_name(v): v for v in levels}
                drawn = figures.curves(LEVELS, lines, modality=modality, trained=trained)
                print(figures.write(drawn, self.out / f"unimodal-{modality}-{way}.png"))

    def curve(self, modality: str, way: str, level: float) -> list[float]:
        """Accuracy at every ratio of a model that only ever had this modality."""
        name = f"unimodal-{modality}-{way}-{level:g}"
        path = self.out / f"{name}.npy"
        if path.is_file():
            return [float(v) for v in np.load(path, allow_pickle=False)]
        train, test, schema = self.data(0)
        other = next(m.name for m in schema.modalities if m.name != modality)
        if way == "zeroed":
            train, test = (noise_grid.zeroed(frame, schema, other) for frame in (train, test))
        else:
            alone = tuple(m for m in schema.modalities if m.name == modality)
            schema = dataclasses.replace(schema, modalities=alone, ignored={**schema.ignored, other: "left out"})
        model = self.model(name, self.conv_lstm(schema, 0, 0), self.noisy(train, schema, {modality: level}))
        truth = test["digit"].to_numpy()
        found = [float((model.predict(self.noisy(test, schema, {modality: v})) == truth).mean()) for v in LEVELS]
        np.save(path, np.array(found))
        print(name, np.round(found, 3), flush=True)
        return found

    def frozen(self) -> None:
        runs = []
        for depth, fusion in (("early", "concat"), ("late", "concat"), ("decision", "mean")):
            for dropped in (0.0, 0.2):
                for trained in (None, TRAINED):
                    label = f"{depth}, dropout {dropped:g}, {'noisy' if trained else 'clean'}"
                    name = label.replace(", ", "-").replace(" ", "")
                    settings = {"depth": depth, "fusion": fusion, "modality_dropout": dropped, "branches": ("joint",)}
                    runs.append(
                        [
                            self.tested(
                                f"frozen-{name}-{seed}",
                                lambda schema, s=seed, more=settings: FusionClassifier(
                                    modalities=schema, random_state=s, store=self.told.store, **more
                                ),
                                seed,
                                trained,
                                label,
                            )
                            for seed in range(self.told.seeds)
                        ]
                    )
        self.compared("frozen", runs)

    def activations(self) -> None:
        train, test, schema = self.data(0)
        depth = self.told.depth
        noisy = self.noisy(train, schema, dict(zip(("image", "audio"), TRAINED, strict=True)))
        model = self.model(f"depths-{depth}-0", self.conv_lstm(schema, depth, 0), noisy)
        settings = [(math.inf, math.inf), (0.25, 1.0), (1.0, 0.25), (0.5, 0.5)]
        for row in range(self.told.examples):
            one = test.iloc[row : row + 1]
            levels = [dict(zip(("image", "audio"), pair, strict=True)) for pair in settings]
            found = noise_grid.activations(model, one, one["digit"].iloc[0], levels, ratio=self.ratio)
            print(figures.write(figures.activation_lines(found), self.out / f"activations-{depth}-{row}.png"))


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("what", choices=("depths", "equal", "grid", "unimodal", "frozen", "activations"))
    told.add_argument("--size", choices=tuple(SIZES), default="reduced")
    told.add_argument("--seeds", type=int, default=5)
    told.add_argument("--depth", type=int, default=0, help="of grid and activations")
    told.add_argument("--examples", type=int, default=6, help="rows of activations")
    told.add_argument("--ratio", choices=noise_grid.RATIOS, default="snr", help="what a ratio is")
    told.add_argument("--store", default=None, help="store of embeddings of frozen; 'none' keeps nothing")
    told.add_argument("--out", default="out")
    found = told.parse_args()
    warnings.simplefilter("ignore")
    experiment = Experiment(found)
    experiment.depths(equal=True) if found.what == "equal" else getattr(experiment, found.what)()


if __name__ == "__main__":
    main()
