"""Grids of signal-to-noise ratios out of the results of a study, one design against another, and what a network thinks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, TableError
from plait.base.inputs import Inputs, together
from plait.conditions.parse import parse
from plait.data.labels import label_text
from plait.encoders.pixels import Pixels
from plait.estimators.estimators import FusionClassifier
from plait.estimators.preparing import scaled
from plait.networks.conv_lstm import ConvLSTM
from plait.study import conditions
from plait.study.results import Results
from plait.study.statistics.paired import Difference, crossed_t, family_variance, holm, resampled_t

#: What results call noise over a grid; a modality that is zeroed beside it is no axis.
NOISE = "white_noise"
#: Ratio -> from the amplitude of the noise over that of the signal.
_RATIOS = {"amplitude_ratio": 1.0, "snr": 2.0, "snr_db": 0.0}


@dataclass(frozen=True)
class Grid:
    """What a model got right at every pair of ratios.

    Attributes:
        modalities: of the rows and of the columns.
        levels: ratios of the rows and of the columns.
        correct: (R, C, n) bool, for the same n test rows everywhere.
        trained: the two ratios it was trained at, if there were such.
        label: what pictures call it.
        ratio: what the levels are, ``snr`` (power), ``amplitude_ratio`` or ``snr_db``.
    """

    modalities: tuple[str, str]
    levels: tuple[tuple[float, ...], tuple[float, ...]]
    correct: np.ndarray
    trained: tuple[float, float] | None = None
    label: str = ""
    ratio: str = "snr"

    @property
    def accuracy(self) -> np.ndarray:
        """(R, C)."""
        return np.asarray(self.correct.mean(2))


@dataclass(frozen=True)
class Design:
    """What models of a study share but for their seeds.

    Attributes:
        trained: label of the condition on the training rows.
    """

    dataset: str
    variant: str
    subset: str
    trained: str


@dataclass(frozen=True)
class Seeds:
    """The grids of one design, by seed and split.

    Attributes:
        rows: (2, n) position and class of each test row, by seed and split: other classes at the same positions are other
            rows, of a data set that each seed draws anew.
        share: test rows by training rows.
    """

    grids: Mapping[tuple[int, int], Grid]
    rows: Mapping[tuple[int, int], np.ndarray]
    share: float

    @property
    def mean(self) -> Grid:
        """One grid whose accuracy is the mean."""
        result = list(self.grids.values())
        return dataclasses.replace(result[0], correct=np.concatenate([g.correct for g in result], axis=2))


def grids(results: Results, modalities: tuple[str, str], ratio: str = "amplitude_ratio") -> dict[Design, Seeds]:
    """What every model of a study got right at every pair of ratios it was tested at.

    Args:
        results: of a study whose test conditions are white noise on both modalities, every strength with every other; where
            it has noise on one of them alone, the grid has one row or column, without noise.
        modalities: of the grid's rows and columns.
        ratio: what its levels are: ``amplitude_ratio``, ``snr`` or ``snr_db``.

    Raises:
        ConfigError: no run is done yet, or the conditions are no grid.
    """
    if ratio not in _RATIOS:
        raise ConfigError(f"unknown ratio '{ratio}'; known: {', '.join(_RATIOS)}")
    result: dict[Design, dict[tuple[int, int], Grid]] = {}
    rows: dict[Design, dict[tuple[int, int], np.ndarray]] = {}
    shares: dict[Design, float] = {}
    for line in results.lines:
        if line["status"] != "done":
            continue
        value = Design(line["dataset"], line["variant"], "+".join(line["subset"]), line["train_condition"])
        at = (int(line["seed"]), int(line["split"]))
        grid, places = _grid(results, line, modalities, ratio)
        result.setdefault(value, {})[at] = grid
        rows.setdefault(value, {})[at] = places
        shares[value] = line["test_rows"] / line["train_rows"]
    if not result:
        raise ConfigError(f"{results.folder}: no run is done yet")
    return {value: Seeds(dict(sorted(result[value].items())), rows[value], shares[value]) for value in result}


def _grid(
    results: Results, line: Mapping[str, object], modalities: tuple[str, str], ratio: str
) -> tuple[Grid, np.ndarray]:
    evaluations = line["evaluations"]
    assert isinstance(evaluations, list)
    places = [_strengths(str(value["condition"]), modalities) for value in evaluations]
    axes = [sorted({place[i] for place in places}) for i in (0, 1)]
    if len(set(places)) != len(places) or len(places) != len(axes[0]) * len(axes[1]):
        size = f"{len(axes[0])} x {len(axes[1])}"
        raise ConfigError(f"{results.folder}: {len(places)} test conditions are no grid of {size} strengths of noise")
    correct, rows = None, np.zeros((2, 0), np.int64)
    for number, place in enumerate(places):
        value = results.predictions(str(line["run"]), number)
        if correct is None:
            correct = np.zeros((len(axes[0]), len(axes[1]), len(value.rows)), bool)
            rows = np.stack([value.rows, value.target.astype(np.int64)])
        correct[axes[0].index(place[0]), axes[1].index(place[1])] = value.output.argmax(1) == value.target
    assert correct is not None
    levels = tuple(tuple(_level(s, ratio) for s in axis) for axis in axes)
    trained = _strengths(str(line["train_condition"]), modalities)
    at = (_level(trained[0], ratio), _level(trained[1], ratio))
    return Grid(modalities, (levels[0], levels[1]), correct, at, str(line["variant"]), ratio), rows


def _strengths(label: str, modalities: tuple[str, str]) -> tuple[float, float]:
    """Strength of a condition's white noise on each modality; 0 where it has none."""
    condition = conditions.parsed(label)
    result = dict.fromkeys(modalities, 0.0)
    for part in () if condition is None else conditions.parts(condition):
        if part.name() == NOISE and part.modality in result:
            result[str(part.modality)] = float(f"{part.strength:.9g}")
    return result[modalities[0]], result[modalities[1]]


def _level(strength: float, ratio: str) -> float:
    """A ratio of signal to noise from the strength of the noise.

    Example:
        >>> _level(4.0, "amplitude_ratio"), _level(2.0, "snr"), _level(0.0, "snr"), _level(0.1, "snr_db")
        (0.25, 0.25, inf, 20.0)
    """
    if strength == 0 or math.isinf(strength):
        return (-math.inf if ratio == "snr_db" else 0.0) if strength else math.inf
    value = -20 * math.log10(strength) if ratio == "snr_db" else strength ** -_RATIOS[ratio]
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class GridComparison:
    """How much better one design is than another.

    Attributes:
        difference: (R, C) mean over the seeds of accuracy, first minus second.
        p: (R, C), by Holm's method for all cells together; NaN where there is no telling.
        overall: of each seed's mean over the grid.
        seeds: that both have.
    """

    difference: np.ndarray
    p: np.ndarray
    overall: Difference
    seeds: tuple[tuple[int, int], ...]

    def cells(self, level: float = 0.05) -> tuple[int, int]:
        """How many cells are significantly better, and how many worse."""
        sure = self.p < level
        return int((sure & (self.difference > 0)).sum()), int((sure & (self.difference < 0)).sum())


def compare(first: Seeds, second: Seeds) -> GridComparison:
    """Two designs on the seeds that both have, cell by cell and over the grid.

    Where seeds share their test rows both are reckoned with (``crossed_t``), where each draws its own the test is
    ``resampled_t``; in the cells no variance is taken below the median of all cells (``family_variance``).

    Raises:
        TableError: fewer than two seeds in common, or other ratios or test rows on one side.
    """
    common = tuple(at for at in first.grids if at in second.grids)
    if len(common) < 2:
        raise TableError(f"a paired comparison needs two or more seeds that both have; found {len(common)}")
    pairs = [(first.grids[at], second.grids[at]) for at in common]
    if any(a.levels != b.levels or a.correct.shape != b.correct.shape for a, b in pairs):
        raise TableError("the grids differ in their ratios or test rows; evaluate both on the same")
    gaps = np.stack([a.correct.astype(np.float32) - b.correct for a, b in pairs])  # (S, R, C, n)
    rows = [first.rows[at] for at in common]
    shared = all(np.array_equal(rows[0], other) for other in rows[1:])
    by_cell = gaps.reshape(len(common), -1, gaps.shape[-1])  # (S, R C, n)
    means = by_cell.mean(2, dtype=np.float64)
    least = family_variance(list(means.T))
    cells = [_tested(by_cell[:, i], shared, first.share, least) for i in range(by_cell.shape[1])]
    p = holm(np.array([cell.p for cell in cells])).reshape(gaps.shape[1:3])
    whole = by_cell.mean(1, dtype=np.float64)
    return GridComparison(means.mean(0).reshape(p.shape), p, _tested(whole, shared, first.share), common)


def _tested(gaps: np.ndarray, shared: bool, share: float, least: float = 0.0) -> Difference:
    """The test of the mean of gaps (S, n) of correct answers."""
    by_seed = gaps.mean(1, dtype=np.float64)
    if not shared:
        return resampled_t(by_seed, share, least)
    by_row = gaps.mean(0, dtype=np.float64)
    return crossed_t(by_seed, float(by_row.var(ddof=1)) / len(by_row), len(by_row), least)


def table(result: Sequence[tuple[str, Seeds]]) -> list[dict[str, object]]:
    """The first of several designs against every other: what a page says of them, one row each."""
    records = []
    for place, (name, seeds) in enumerate(result):
        means = np.array([grid.accuracy.mean() for grid in seeds.grids.values()])
        row: dict[str, object] = {"design": name, "seeds": len(means), "grid": float(means.mean())}
        row["sd"] = float(means.std(ddof=1)) if len(means) > 1 else math.nan
        row["trained"] = _at_training(seeds)
        if place and len(set(seeds.grids) & set(result[0][1].grids)) > 1:
            value = compare(result[0][1], seeds)
            better, worse = value.cells()
            row |= {"difference": value.overall.value, "low": value.overall.low, "high": value.overall.high}
            row |= {"p": value.overall.p, "better": better, "worse": worse}
        records.append(row)
    return records


def _at_training(seeds: Seeds) -> float:
    """Accuracy at the ratios of the training rows, NaN where the grid has not got them."""
    grid = seeds.mean
    places = [axis.index(v) if v in axis else -1 for v, axis in zip(grid.trained or (), grid.levels, strict=False)]
    return float(grid.accuracy[places[0], places[1]]) if len(places) == 2 and min(places) >= 0 else math.nan


# -- what a model thinks while it listens -----------------------------------------------------------------------------


def noise(modality: str, level: float, ratio: str = "snr", seed: int = 0, side: int | None = None) -> Any:
    """White noise on one modality at a ratio; infinite is none. Pictures are first scaled down to ``side``."""
    if ratio not in _RATIOS:
        raise ConfigError(f"unknown ratio '{ratio}'; known: {', '.join(_RATIOS)}")
    return parse({"white_noise": {"modality": modality, ratio: float(level), "seed": seed, "side": side}})


def noised(
    model: FusionClassifier, frame: pd.DataFrame, modality: str, level: float, ratio: str = "snr", seed: int = 0
) -> Inputs:
    """The rows as the model's networks take them, one modality noised and every other one absent, so never encoded."""
    schema = model.schema_
    own = {c for m in schema.modalities if m.name == modality for c in m.columns}
    others = [c for c in schema.columns if c not in own]
    alone = frame.assign(**{c: np.full(len(frame), None, object) for c in others})
    encoder = model.features_.encoders[modality]
    side = encoder.size if isinstance(encoder, Pixels) else None  # the ratio is that of what enters the network
    changed = noise(modality, level, ratio, seed, side).apply(alone, schema, model.root)
    return scaled(model.settings(), changed, model.pipeline)


@dataclass(frozen=True)
class Activations:
    """The last layer of a convolutional LSTM after every step.

    Attributes:
        values: (T, C) raw outputs.
        padding: steps before the sound sets in.
        classes: names of the outputs.
        truth: the class that is right.
        levels: modality -> ratio.
    """

    values: np.ndarray
    padding: int
    classes: tuple[str, ...]
    truth: str
    levels: Mapping[str, float]


def activations(
    model: FusionClassifier,
    row: pd.DataFrame,
    truth: object,
    settings: Iterable[Mapping[str, float]],
    *,
    ratio: str = "snr",
    seed: int = 0,
) -> list[Activations]:
    """What the network answers after every step of one row, at each setting of ratios by modality.

    Raises:
        ConfigError: the model's network is not ``conv_lstm``.
    """
    member = model.members_.members[0].eval()
    network = dict(member.networks.items()).get("joint")
    if not isinstance(network, ConvLSTM):
        raise ConfigError(f"activations over time are of the network conv_lstm; the model has {model.network!r}")
    result = []
    for levels in settings:
        inputs = together({m: noised(model, row, m, level, ratio, seed) for m, level in levels.items()})
        tokens = member.encode(inputs)
        values, begun = network.over_time({m: tokens[m] for m in member.sources["joint"]})
        heard = int(tokens[network.sequence].mask[0].sum()) if network.sequence else 0
        shown = values[0][begun[0]].numpy()
        classes = tuple(label_text(c) for c in model.classes_)
        result.append(Activations(shown, len(shown) - heard, classes, label_text(truth), dict(levels)))
    return result
