"""What each modality is worth: exact Shapley values over all subsets, through absence.

Per row the game is the *probability* of the class that the model predicts from everything (and, beside it, of the true
class): bounded, and the parts add up to a number that the user sees. (The logarithm, which adds up to the loss, is told
overall.) Of a multi-label row it is the mean over the labels of the probability of what is decided; of a number it is
the prediction itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any, TypedDict, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plait.base import notebook
from plait.base.errors import ConfigError
from plait.base.inputs import subsets_of
from plait.data.table import as_frame
from plait.evaluation.baselines import constant_answer
from plait.evaluation.parts import Moved, moved
from plait.evaluation.predictions import Predictions, Subset, as_read, check_one, gather, probability_of
from plait.metrics.base import MAIN, SECOND, Metric, metrics
from plait.metrics.bootstrap import affordable, interval, resample_means, resample_outputs
from plait.store.model_files import plain_values

Array = NDArray[Any]
#: Modalities up to which all subsets are computed: 1,024 of them.
MOST = 10


class Worth(TypedDict):
    """What a modality adds (its Shapley value), with a 95 % bootstrap interval over rows.

    Attributes:
        modality: its name; of an interaction two, joined by ``&``.
        modalities: the one name, or the two.
        value: the same unit as the score; what lowers a loss is above 0.
        low: and ``high``: bounds of the interval.
    """

    modality: str
    modalities: list[str]
    value: float
    low: float
    high: float


class Game(TypedDict):
    """One score shared out among the modalities: base + sum of values = full.

    Attributes:
        name: a metric's name, or ``confidence``: the mean of the rows' games, which needs no target.
        base: score of the best constant answer; of ``confidence``: the answer with every modality absent.
        full: score with everything.
        values: of each modality, in the schema's order.
    """

    name: str
    label: str
    base: float
    full: float
    values: list[Worth]
    interactions: list[Worth]


@dataclass(frozen=True, repr=False)
class Explanation:
    """Worth of the modalities, overall and per row.

    Attributes:
        games: the main metric, a second one, and ``confidence``; only the last without a target.
        rows: per row, in the frame's index: ``predicted``, ``base``, ``full``, ``value_<modality>`` of the predicted
            class; with a target ``true``, ``true_base``, ``true_full``, ``true_value_<modality>`` of the true class.
        resamples: how many resamples the intervals come from.
        note: that the model is no better than a constant answer, so that its modalities' values say nothing; else empty.
        parts: what each word and each patch of a picture adds to the answers of the rows that were named.
    """

    task: str
    modalities: Subset
    games: list[Game]
    rows: pd.DataFrame
    resamples: int
    seed: int
    note: str = ""
    parts: Sequence[Moved] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """Worth of each modality in every score, with its interval: columns (score, ``value``, ``low`` or ``high``)."""
        by_game = {
            game["label"]: pd.DataFrame(game["values"]).set_index("modality")[["value", "low", "high"]]
            for game in self.games
        }
        return pd.concat(by_game, axis=1)

    def __repr__(self) -> str:
        """A table of the modalities' worths."""
        return f"worth of each modality; low and high: 95 % intervals\n{self.frame.to_string(float_format='{:,.3f}'.format)}"

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        title = "worth of each modality; low and high: 95 % intervals"
        note = notebook.paragraphs([self.note] if self.note else [])
        return notebook.box(title, notebook.table(notebook.records_of(self.frame)), note)

    @property
    def overall(self) -> list[Worth]:
        """Worth of each modality in the main metric (without a target: in the answers)."""
        return self.games[0]["values"]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values of all but the rows (``rows`` is a table of its own); NaN becomes None."""
        options = {"task": self.task, "modalities": list(self.modalities), "overall": self.overall, "games": self.games}
        plain = plain_values(
            options | {"rows": len(self.rows), "resamples": self.resamples, "seed": self.seed, "note": self.note}
        )
        assert isinstance(plain, dict)
        return plain | ({"parts": plain_values([one.to_dict() for one in self.parts])} if self.parts else {})


def explain(
    model: Any,
    frame: pd.DataFrame,
    *,
    y: Any = None,
    bootstrap: int = 1000,
    seed: int = 0,
    partial: bool = False,
    outputs: Mapping[Subset, Array] | None = None,
    rows: Sequence[Any] = (),
) -> Explanation:
    """Share the model's score, and every row's answer, out among the modalities.

    Args:
        model: a fitted estimator of at most 10 modalities.
        frame: rows; with the target their score is shared out, without it only the answers are.
        y: the target where it is not a column of the frame.
        bootstrap: resamples of the rows for the intervals; 0: none.
        seed: of the resamples.
        partial: columns that the frame lacks make their modality absent instead of being an error.
        outputs: what ``model.predict_subsets(frame, None)`` gave already for these rows.
        rows: labels of the frame's index: of these rows also what each word and each patch of a picture adds to the answer
            (``plait.evaluation.parts``).
    """
    check_one(model)
    frame = as_frame(frame)
    modalities = tuple(m.name for m in model.schema_.modalities)
    if len(modalities) > MOST:
        raise ConfigError(
            f"{len(modalities)} modalities have {2 ** len(modalities):,} subsets; exact values are told for at most "
            f"{MOST}: put columns of one kind together in the schema"
        )
    predictions = gather(model, frame, None, y=y, outputs=outputs, partial=partial)
    subsets = sorted(subsets_of(modalities), key=lambda s: sum(1 << modalities.index(name) for name in s))
    values, confidence = _rows(predictions, subsets, frame.index)
    names = () if predictions.y is None else _names(predictions)
    games = [_scored(predictions, name, subsets, bootstrap, seed) for name in names]
    games.append(_confidence(predictions, confidence, bootstrap, seed))
    note = "" if predictions.y is None else _no_better_than_constant(predictions, bootstrap, seed)
    parts = moved(model, frame, rows) if len(rows) else ()
    resamples = affordable(bootstrap, len(frame))
    return Explanation(predictions.task, modalities, games, values, resamples, seed, note, parts)


def _no_better_than_constant(predictions: Predictions, bootstrap: int, seed: int) -> str:
    """What to say where no score lies certainly above that of the best constant answer; else nothing."""
    shown = []
    for name in _names(predictions):
        metric = metrics(predictions.task)[name]
        sign = metric.sign
        outputs = _from_constant(predictions, [(), predictions.modalities], metric)
        constant, full = (sign * metric.score(predictions.truth, output).value for output in outputs)
        low = full - constant
        if bootstrap:
            drawn = sign * resample_outputs(metric, predictions.truth, outputs, bootstrap, seed)
            low = min(low, interval(drawn[:, 1] - drawn[:, 0])[0])
        if low > 0:
            return ""
        shown.append(f"{metric.label} {sign * full:.3f} against {sign * constant:.3f}")
    return (
        f"The model is not certainly better than the best constant answer on these {len(predictions.truth):,} rows "
        f"({'; '.join(shown)}): what its modalities are worth is not decided."
    )


def _from_constant(predictions: Predictions, subsets: list[Subset], metric: Metric) -> list[Array]:
    """The outputs of subsets, the empty one first; where a subset changes nothing the best constant answer stands.

    A model that answers worse than a constant without any modality would otherwise show modalities that are worth something
    for putting that right.
    """
    outputs = [predictions.inputs(s)[metric.input] for s in subsets]
    truth, nothing = predictions.truth, outputs[0]
    constant = constant_answer(predictions.task, truth, metric, len(predictions.classes))
    sign = metric.sign
    if sign * metric.score(truth, nothing).value > sign * metric.score(truth, constant).value:
        constant = nothing
    return [constant if np.array_equal(output, nothing) else output for output in outputs]


def _names(predictions: Predictions) -> tuple[str, ...]:
    """The metric that leads and the finer one, of costs the usual ones: there is no best constant answer of them here."""
    task, main = predictions.task, predictions.main
    lead = MAIN[task] if metrics(task)[main].input == "costs" or main == SECOND[task] else main
    return lead, SECOND[task]


def _rows(predictions: Predictions, subsets: list[Subset], index: pd.Index[Any]) -> tuple[pd.DataFrame, Array]:
    """The table per row, and the rows' games for what is predicted (n, 2^M)."""
    answer = predictions.inputs().get("labels", predictions.full)
    game = _row_game(predictions, subsets, answer)
    columns = {"predicted": as_read(predictions, answer)} | _columns(predictions.modalities, game, "")
    if predictions.y is not None:
        columns["true"] = as_read(predictions, predictions.y)
        if predictions.task != "regression":
            columns |= _columns(predictions.modalities, _row_game(predictions, subsets, predictions.y), "true_")
    return pd.DataFrame(columns, index=index), game


def _columns(modalities: Subset, game: Array, prefix: str) -> dict[str, Array]:
    shares = shapley_values(game)
    named = {f"{prefix}value_{name}": shares[:, i] for i, name in enumerate(modalities)}
    return {f"{prefix}base": game[:, 0], f"{prefix}full": game[:, -1]} | named


def _row_game(predictions: Predictions, subsets: list[Subset], decided: Array) -> Array:
    """Each row's game (n, 2^M): the probability of what is decided, or the number that is predicted."""
    game = np.stack(
        [probability_of(predictions.task, np.asarray(predictions.outputs[s], np.float64), decided) for s in subsets],
        axis=1,
    )
    # Each subset without the row's absent modalities: what is not there gets exactly 0, not a rounding error.
    present = (~predictions.absent) @ (1 << np.arange(len(predictions.modalities)))  # (n,) bits
    own = np.arange(game.shape[1])[None, :] & present[:, None]
    return np.asarray(np.take_along_axis(game, own, axis=1))


def _scored(predictions: Predictions, name: str, subsets: list[Subset], bootstrap: int, seed: int) -> Game:
    """A metric shared out, its sign turned where lower is better."""
    metric = metrics(predictions.task)[name]
    sign = metric.sign
    outputs = _from_constant(predictions, subsets, metric)
    game = sign * np.array([metric.score(predictions.truth, o).value for o in outputs])
    drawn = sign * resample_outputs(metric, predictions.truth, outputs, bootstrap, seed) if bootstrap else None
    label = "log-likelihood" if name == "log_loss" else f"minus {metric.label}" if sign < 0 else metric.label
    return _game(predictions.modalities, name, label, game, drawn)


def _confidence(predictions: Predictions, game: Array, bootstrap: int, seed: int) -> Game:
    """The mean of the rows' games: what moves the answers, right or wrong."""
    label = "prediction" if predictions.task == "regression" else "probability of the answer"
    drawn = resample_means(game.T, bootstrap, seed) if bootstrap else None
    return _game(predictions.modalities, "confidence", label, game.mean(0), drawn)


def _game(modalities: Subset, name: str, label: str, game: Array, drawn: Array | None) -> Game:
    singles = [[m] for m in modalities]
    doubles = [list(pair) for pair in combinations(modalities, 2)]
    return {
        "name": name,
        "label": label,
        "base": float(game[0]),
        "full": float(game[-1]),
        "values": _worths(singles, shapley_values, game, drawn),
        "interactions": _worths(doubles, shapley_interactions, game, drawn),
    }


def _worths(names: list[list[str]], share: Callable[[Array], Array], game: Array, drawn: Array | None) -> list[Worth]:
    values, resampled = share(game), None if drawn is None else share(drawn)
    result: list[Worth] = []
    for i, name in enumerate(names):
        low, high = (math.nan, math.nan) if resampled is None else interval(resampled[:, i])
        bounds = {"value": float(values[i]), "low": low, "high": high}
        result.append(cast(Worth, {"modality": " & ".join(name), "modalities": name, **bounds}))
    return result


def shapley_values(game: Array) -> Array:
    """Shapley value of each player.

    Formula: phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! * (v(S + i) - v(S))
    Shape: (..., 2^M) -> (..., M)
    Source: Shapley, 1953.

    Example:
        >>> shapley_values(np.array([0.0, 1.0, 2.0, 5.0])).tolist()
        [2.0, 3.0]
    """
    players = _players(game)
    subsets = np.arange(1 << players)
    size = np.array([int(s).bit_count() for s in subsets])
    weight = np.array([factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)])
    parts = []
    for i in range(players):
        without = subsets[subsets >> i & 1 == 0]
        # The differences first: a player that never changes anything gets exactly 0, not a rounding error.
        parts.append((game[..., without | 1 << i] - game[..., without]) @ weight[size[without]])
    return np.stack(parts, axis=-1)


def shapley_interactions(game: Array) -> Array:
    """Shapley interaction index of each pair: above 0 they help each other, below 0 they say the same.

    Formula: I_ij = sum over S without i, j of |S|! (M - |S| - 2)! / (M - 1)! * (v(S+ij) - v(S+i) - v(S+j) + v(S))
    Shape: (..., 2^M) -> (..., M (M - 1) / 2), pairs in the order of ``pairs``
    Source: Grabisch and Roubens, 1999.

    Example:
        >>> shapley_interactions(np.array([0.0, 1.0, 2.0, 5.0])).tolist()
        [2.0]
    """
    players = _players(game)
    subsets = np.arange(1 << players)
    size = np.array([int(s).bit_count() for s in subsets])
    weight = np.array([factorial(s) * factorial(players - s - 2) / factorial(players - 1) for s in range(players - 1)])
    parts = []
    for i, j in combinations(range(players), 2):
        a, b = 1 << i, 1 << j
        rest = subsets[subsets & (a | b) == 0]
        joint = (game[..., rest | a | b] - game[..., rest | a]) - (game[..., rest | b] - game[..., rest])
        parts.append(joint @ weight[size[rest]])
    return np.stack(parts, axis=-1) if parts else np.zeros((*game.shape[:-1], 0))


def _players(game: Array) -> int:
    return int(game.shape[-1]).bit_length() - 1
