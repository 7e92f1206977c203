"""Accuracy of one model over a grid of signal-to-noise ratios, and what it thinks while it listens."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plait.base.errors import ConfigError, TableError
from plait.base.inputs import Inputs, together
from plait.conditions.parse import parse
from plait.data.labels import codes_of, label_text
from plait.encoders.pixels import Pixels

if TYPE_CHECKING:
    from plait.data.modality import Schema
    from plait.estimators.estimators import FusionClassifier

#: Signal-to-noise ratios of the test grid; infinite is the original. The paper names 2 to 0.125 and draws ten.
LEVELS = (math.inf, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
RATIOS = ("snr", "amplitude_ratio", "snr_db")


@dataclasses.dataclass(frozen=True)
class Grid:
    """What a model got right at every pair of ratios.

    Attributes:
        modalities: of the rows and of the columns.
        levels: ratios of the rows and of the columns.
        correct: (R, C, n) bool, for the same n test rows everywhere.
        trained: the two ratios it was trained at, if there were such.
        label: what pictures call it.
        ratio: what the levels are, one of ``RATIOS``.
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

    def save(self, path: str | Path) -> None:
        """Write one ``.npz`` file of plain arrays."""
        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "correct"}
        np.savez_compressed(
            path, correct=np.packbits(self.correct, axis=-1), n=self.correct.shape[2], told=json.dumps(options)
        )

    @classmethod
    def load(cls, path: str | Path) -> Grid:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            value = json.loads(str(archive["told"]))
            correct = np.unpackbits(archive["correct"], axis=-1, count=int(archive["n"])).astype(bool)
        modalities, levels = tuple(value["modalities"]), tuple(tuple(axis) for axis in value["levels"])
        trained = None if value["trained"] is None else tuple(value["trained"])
        return cls(modalities, levels, correct, trained, value["label"], value["ratio"])  # type: ignore[arg-type]


def evaluate(
    model: FusionClassifier,
    frame: pd.DataFrame,
    target: Sequence[Any] | np.ndarray,
    levels: Mapping[str, Sequence[float]],
    *,
    ratio: str = "snr",
    seed: int = 0,
    trained: tuple[float, float] | None = None,
    label: str = "",
) -> Grid:
    """Test a classifier of two modalities, whatever its network, at every pair of ratios.

    Each modality is noised and encoded once per ratio, not once per pair: twenty passes for a hundred cells.

    Args:
        model: fitted.
        frame: test rows.
        target: their classes (n,).
        levels: modality -> ratios, first the one whose ratios are the grid's rows.
        ratio: what the ratios are: ``snr`` (power), ``amplitude_ratio`` or ``snr_db``.
        seed: of the noise.
        trained: the two ratios it was trained at.
        label: what pictures call it.
    """
    axes = _axes(model, levels)
    truth = codes_of(target, model.classes_)
    if len(truth) != len(frame):
        raise TableError(f"the table has {len(frame)} rows and the target {len(truth)}; they must be equal")
    passes = {m: [noised(model, frame, m, level, ratio, seed) for level in levels[m]] for m in axes}
    correct = np.zeros((len(levels[axes[0]]), len(levels[axes[1]]), len(frame)), bool)
    for r, first in enumerate(passes[axes[0]]):
        for c, second in enumerate(passes[axes[1]]):
            result = model._decoded(together({axes[0]: first, axes[1]: second})).argmax(1)
            correct[r, c] = result == truth
    values = (tuple(map(float, levels[axes[0]])), tuple(map(float, levels[axes[1]])))
    return Grid(axes, values, correct, trained, label, ratio)


def _axes(model: FusionClassifier, levels: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    names = tuple(levels)
    if len(names) != 2 or set(names) != set(model.modality_names_):
        have = ", ".join(model.modality_names_)
        raise ConfigError(
            f"a grid has the ratios of two modalities, all that the model has ({have}); found {', '.join(names)}"
        )
    return names[0], names[1]


def noise(modality: str, level: float, ratio: str = "snr", seed: int = 0, side: int | None = None) -> Any:
    """White noise on one modality at a ratio; infinite is none. Pictures are first scaled down to ``side``."""
    if ratio not in RATIOS:
        raise ConfigError(f"unknown ratio '{ratio}'; known: {', '.join(RATIOS)}")
    return parse({"white_noise": {"modality": modality, ratio: float(level), "seed": seed, "side": side}})


def zeroed(frame: pd.DataFrame, schema: Schema, modality: str, root: str | None = None) -> pd.DataFrame:
    """The table with one modality black or silent, as the paper makes models of one modality (section 5.3).

    It is still there, and as long as it was; for true absence leave the modality out of the schema.
    """
    return parse({"zeroed": {"modality": modality}}).apply(frame, schema, root)


def noised(
    model: FusionClassifier, frame: pd.DataFrame, modality: str, level: float, ratio: str = "snr", seed: int = 0
) -> Inputs:
    """The rows as the model's networks take them, one modality noised and every other one absent, so never encoded."""
    from plait.estimators.preparing import scaled

    schema = model.schema_
    own = {c for m in schema.modalities if m.name == modality for c in m.columns}
    others = [c for c in schema.columns if c not in own]
    alone = frame.assign(**{c: np.full(len(frame), None, object) for c in others})
    encoder = model.features_.encoders[modality]
    side = encoder.size if isinstance(encoder, Pixels) else None  # the ratio is that of what enters the network
    changed = noise(modality, level, ratio, seed, side).apply(alone, schema, model.root)
    parts = (schema, model.features_, model.scalers_, model.enhancers_, model.pairs_)
    return scaled(model.settings(), changed, *parts)


@dataclasses.dataclass(frozen=True)
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
    from plait.networks.conv_lstm import ConvLSTM

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
