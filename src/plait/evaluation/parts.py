"""What in a text or a picture moved an answer: its words, or patches of it, taken away one after the other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from plait.base.errors import CellError, ConfigError, TableError
from plait.base.inputs import Inputs, together
from plait.data.cells import cells
from plait.data.modality import Modality
from plait.evaluation.predictions import as_read, gather, probability_of

if TYPE_CHECKING:
    from plait.estimators.base import FusionEstimator

Array = NDArray[Any]
#: Rows that are looked at, at most.
ROWS = 20
#: Parts of a text: a longer one is taken apart in groups of words.
WORDS = 64
#: A picture is taken apart in so many patches a side.
GRID = 6
#: Below which three decimals of a probability show nothing.
LEAST = 0.0005
#: Pixels a side beyond which a picture is made smaller before it is taken apart.
SIDE = 256


@dataclasses.dataclass(frozen=True)
class Moved:
    """One cell of one row, and what each part of it adds to the answer.

    Attributes:
        row: its label in the table's index.
        answer: what is predicted from everything, as text.
        full: the probability of that answer (of several labels the mean over them; of a number the prediction).
        parts: the words, or groups of words, in order; of a picture ``row,column`` of each patch, row by row.
        values: ``full`` less what the answer has without the part.
        picture: (H, W, 3) of a picture as it was taken apart; None of a text.
        probability: whether ``full`` is one.
        most: how far a part of any cell of its row moves the answer, so that all are told in one unit; None: of this cell.
    """

    row: Any
    modality: str
    column: str
    answer: str
    full: float
    parts: tuple[str, ...]
    values: tuple[float, ...]
    picture: Array | None = dataclasses.field(default=None, compare=False, repr=False)
    probability: bool = True
    most: float | None = dataclasses.field(default=None, compare=False)

    @property
    def saturated(self) -> bool:
        """Whether the answer is so certain that no part of its row moves its probability by as much as three decimals show."""
        return self.probability and 0.0 < (_most(self) if self.most is None else self.most) < LEAST

    @property
    def shown(self) -> Array:
        """The values as they are told: of an answer that is all but certain in log-odds.

        Formula: ``logit(full) - logit(full - value)``, probabilities held within 1e-12 of 0 and 1.
        """
        values = np.asarray(self.values, np.float64)
        if not self.saturated:
            return values
        p = np.clip(np.stack([np.full_like(values, self.full), self.full - values]), 1e-12, 1 - 1e-12)
        return np.asarray(np.subtract(*(np.log(p) - np.log1p(-p))))

    @property
    def grid(self) -> Array:
        """The values of a picture's patches (GRID, GRID), as they are told."""
        return self.shown.reshape(GRID, GRID)

    def said(self, most: int = 5) -> str:
        """The parts that moved the answer most, in words.

        Example:
            >>> Moved(0, "text", "note", "yes", 0.9, ("so", "good"), (0.0, 0.25)).said()
            'good +0.250'
            >>> Moved(0, "text", "note", "yes", 0.999999, ("so", "good"), (0.0, 2e-6)).said()
            'good +1.099 (in log-odds: the answer is all but certain)'
        """
        shown = dict(zip(range(len(self.parts)), self.shown.tolist(), strict=True))
        order = sorted(shown, key=lambda i: -abs(self.values[i]))[:most]
        digits = ".3f" if self.probability else ".3g"
        text = ", ".join(f"{self.parts[i]} {shown[i]:+{digits}}" for i in order if self.values[i])
        certain = " (in log-odds: the answer is all but certain)" if self.saturated else ""
        return text + certain if text else "none moves the answer"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the picture."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("picture", "most")}


def moved(model: FusionEstimator, frame: pd.DataFrame, rows: Sequence[Any]) -> list[Moved]:
    """What each word and each patch adds to the answers of a few rows: the answer less the one without it.

    All changed cells of a modality are encoded in one batch; everything else of a row is encoded once. A text costs at most
    ``WORDS`` cells, a picture ``GRID`` x ``GRID``, which takes the mean colour where a patch was.

    Formula: ``v_part = p(answer | row) - p(answer | row without the part)``.

    Source: Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, section 4 (occlusion).
    """
    part = frame.iloc[_places(frame, rows)]
    modalities = tuple(m.name for m in model.schema_.modalities)
    with model.remembering():
        predictions = gather(model, part, [modalities])
        inputs = model._inputs(part)
    decided = predictions.inputs().get("labels", predictions.full)
    answers = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in as_read(predictions, decided)]
    result = []
    for modality in model.schema_.modalities:
        for column in modality.columns if modality.kind in ("text", "code", "image") else ():
            taken = list(_apart(model, part, modality, column))
            if not taken:
                continue
            index = np.concatenate([[i] * (1 + len(variants)) for i, _, variants, _ in taken])
            values = [cell for _, whole, variants, _ in taken for cell in (whole, *variants)]
            changed = _changed(model, part, inputs, modality, column, index, values)
            scores = probability_of(model.task_, model._decoded(changed), decided[index])
            start = 0
            for i, whole, variants, names in taken:
                full, rest = scores[start], scores[start + 1 : start + 1 + len(variants)]
                start += 1 + len(variants)
                differences = tuple(float(v) for v in full - rest)
                picture = None if isinstance(whole, str) else whole
                where = (part.index[i], modality.name, column)
                of_class = model.task_ != "regression"
                result.append(Moved(*where, answers[i], float(full), names, differences, picture, of_class))
    order = {label: place for place, label in enumerate(part.index)}
    most = {label: max((_most(one) for one in result if one.row == label), default=0.0) for label in order}
    result = [dataclasses.replace(one, most=most[one.row]) for one in result]
    return sorted(result, key=lambda one: order[one.row])


def _most(one: Moved) -> float:
    return max(map(abs, one.values), default=0.0)


def _places(frame: pd.DataFrame, rows: Sequence[object]) -> list[int]:
    if not 0 < len(rows) <= ROWS:
        raise ConfigError(f"rows: {len(rows)} named; texts and pictures of 1 to {ROWS} rows are taken apart")
    known = {label: place for place, label in enumerate(frame.index)}
    unknown = [row for row in rows if row not in known]
    if unknown:
        raise TableError(
            f"rows: row {unknown[0]} is not among the {len(frame):,} rows that are explained (called {frame.index[0]} to "
            f"{frame.index[-1]}); name one of these"
        )
    return [known[row] for row in dict.fromkeys(rows)]


def _apart(
    model: FusionEstimator, part: pd.DataFrame, modality: Modality, column: str
) -> Iterator[tuple[int, Any, list[Any], tuple[str, ...]]]:
    """Place, cell, the cell without each of its parts, and the parts' names, of every row that has one cell there."""
    groups = cells(part, dataclasses.replace(modality, columns=(column,)), model.root, whole=False)
    for i in range(len(part)):
        there = [group[i] for group in groups if group[i] is not None]
        if len(there) != 1:
            continue
        if modality.kind == "image":
            picture = _picture(there[0])
            if picture is not None:
                yield i, picture, _without_patches(picture), tuple(f"{r},{c}" for r in range(GRID) for c in range(GRID))
        else:
            spans = _spans(there[0])
            texts = [f"{there[0][:start]}{there[0][end:]}" for start, end in spans]
            yield i, there[0], texts, tuple(there[0][start:end] for start, end in spans)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where words, or groups of as many words as keep the groups few, begin and end."""
    words = [match.span() for match in re.finditer(r"\S+", text)]
    size = -(-len(words) // WORDS) or 1
    return [(words[i][0], words[min(i + size, len(words)) - 1][1]) for i in range(0, len(words), size)]


def _picture(cell: Any) -> Array | None:
    """A picture of at most ``SIDE`` pixels a side, or None where it cannot be read."""
    from PIL import Image

    from plait.data.media.images import image

    try:
        pixels = image(cell)
    except CellError:
        return None  # it counts as absent, as everywhere, and was told of when the row was encoded
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def _without_patches(picture: Array) -> list[Array]:
    """The picture with one patch after the other in the picture's mean colour."""
    rows, columns = (np.linspace(0, size, GRID + 1).round().astype(int) for size in picture.shape[:2])
    mean = picture.reshape(-1, 3).mean(0).round().astype(picture.dtype)
    result = []
    for r in range(GRID):
        for c in range(GRID):
            changed = picture.copy()
            changed[rows[r] : rows[r + 1], columns[c] : columns[c + 1]] = mean
            result.append(changed)
    return result


def _changed(
    model: FusionEstimator,
    part: pd.DataFrame,
    inputs: Inputs,
    modality: Modality,
    column: str,
    index: Array,
    values: list[Any],
) -> Inputs:
    """The rows at ``index`` with other cells in one column; only that modality is encoded."""
    several = part[list(modality.columns)].iloc[index].reset_index(drop=True)
    held = np.empty(len(values), dtype=object)
    held[:] = values
    several[column] = pd.Series(held, dtype=object)
    own, same = one_modality(model, several, modality), inputs.take(torch.from_numpy(index))
    return together({name: own if name == modality.name else same for name in inputs.present})


def one_modality(model: FusionEstimator, frame: pd.DataFrame, modality: Modality) -> Inputs:
    """Rows of one modality as the model's networks take them; nothing else is encoded."""
    from plait.estimators.preparing import scaled

    return scaled(model.settings(), frame, model.pipeline.alone(modality))
