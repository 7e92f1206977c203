"""What noise does to one picture and one sound, at several signal-to-noise ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.base.errors import need
from plait.data.media.images import pixels
from plait.encoders.spectrogram import Spectrogram
from plait.evaluation.noise_grid import noise
from plait.papers.early_fusion_conv_lstm.figures import RATIO_NAMES, level_name
from plait.report.canvas import settings

if TYPE_CHECKING:
    from plait.data.modality import Schema


def samples(
    row: Any, schema: Schema, modalities: tuple[str, str], levels: Sequence[float], ratios: Sequence[str]
) -> Any:
    """One picture and the spectrum of one sound at every ratio, a pair of lines for each meaning of a ratio (figure 6).

    Args:
        row: of a table, one.
        schema: of the table.
        modalities: the picture's and the sound's.
        levels: signal-to-noise ratios.
        ratios: what they are, ``snr`` (of powers) or ``amplitude_ratio``.
    """
    figure_class = need("matplotlib.figure", "report").Figure
    with settings():
        size = (len(levels) * 66 / 72, 2 * len(ratios) * 74 / 72)
        figure = figure_class(figsize=size, layout="constrained")
        places = figure.subplots(2 * len(ratios), len(levels), squeeze=False)
        for i, ratio in enumerate(ratios):
            for j, level in enumerate(levels):
                _sample(places[2 * i, j], row, schema, modalities[0], level, ratio)
                _sample(places[2 * i + 1, j], row, schema, modalities[1], level, ratio)
                places[2 * i, j].set_title(level_name(level), fontsize=8.5)
            places[2 * i, 0].set_ylabel(RATIO_NAMES[ratio], fontsize=8.5)
    return figure


def _sample(ax: Any, row: Any, schema: Schema, modality: str, level: float, ratio: str) -> None:
    kind = next(m.kind for m in schema.modalities if m.name == modality)
    cell = noise(modality, level, ratio).apply(row, schema)[modality].iloc[0]
    if kind == "image":
        ax.imshow(pixels(cell).mean(-1), cmap="gray")
    else:
        frames = Spectrogram().fit([cell]).prepare([cell])["spectrogram"][0]  # (F, bins)
        ax.imshow(np.log1p(frames.astype(np.float32).T), cmap="magma", aspect="auto", origin="lower")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
