"""What follows a fit: where it runs, what scores it after each epoch, and where it is kept to be resumed."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plait.base import __version__
from plait.base.errors import PlaitWarning
from plait.base.inputs import Inputs, SharedCells
from plait.branches.branches import ROWS, Branches, moved
from plait.branches.mixture import Mixture
from plait.data.labels import codes_of
from plait.networks.tasks import Task
from plait.training.checkpoint import Checkpoints, digest_of
from plait.training.history import Events, pattern_codes
from plait.training.loop import Callbacks
from plait.training.rows import Examples, Fold
from plait.training.settings import Training


@dataclasses.dataclass
class FitCallbacks:
    """The device of a fit, its scorer and callback for each epoch, and the folder of its checkpoint.

    Attributes:
        device: where members are trained.
        score: judges a member, given its training and held-out rows; a ``Scorer``.
        events: writes the record of every epoch of every member.
        checkpoint: folder, or None.
        identity: settings that tell one fit from another although rows, weights and schedule are the same.
        checkpoints: the opened folder, once ``open`` was called.
    """

    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    score: Callable[[Branches, Tensor, Tensor], dict[str, Any]] | None = None
    events: Events | None = None
    checkpoint: str | None = None
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoints: Checkpoints | None = None

    def open(self, members: Sequence[Branches], folds: Sequence[Fold], examples: Examples, settings: Training) -> None:
        """Find the checkpoint of this very fit: the same first weights, rows, folds, settings and versions."""
        if self.checkpoint is None:
            return
        words: list[Any] = [__version__, torch.__version__, self.device.type, dataclasses.asdict(settings)]
        words += [examples.task.name, examples.task.state(), self.identity, self.score is not None]
        states = [t for member in members for t in member.state_dict().values()]
        given = [*_tensors(examples.inputs), examples.target, examples.weight]
        tensors = [*states, *given, *(rows for fold in folds for rows in fold)]
        self.checkpoints = Checkpoints(self.checkpoint, digest_of(words, tensors))

    def close(self) -> None:
        """Training is over: the event files may be finished."""
        if self.events is not None:
            self.events.close()

    def callbacks(
        self, unit: int, first: int, folds: Sequence[Fold], stopped: Callable[[], bool] = lambda: False
    ) -> Callbacks:
        """For the training of one unit, whose first member is ``first``."""
        score, events = self.score, self.events
        return Callbacks(
            None if score is None else lambda place, model: score(model, *folds[first + place]),
            None if events is None else lambda record: events({**record, "member": first + record.get("member", 0)}),
            stopped,
            None if self.checkpoints is None else self.checkpoints.unit(unit),
        )


def _tensors(inputs: Inputs) -> list[Tensor]:
    result = [t for tokens in inputs.tokens.values() for t in (tokens.x, tokens.mask)]
    for cells in inputs.prepared.values():
        result += [*cells.arrays.values(), cells.place] if isinstance(cells, SharedCells) else list(cells.values())
    return [*result, *inputs.present.values()]


def warn_diverged(history: Sequence[Mapping[str, Any]], settings: Training) -> None:
    """One warning for all members whose training diverged and that kept an earlier state."""
    lost: dict[int, Mapping[str, Any]] = {}
    for record in history:
        if "diverged" in record:
            lost.setdefault(record["member"], record)
    if lost:
        first = next(iter(lost.values()))
        of = ", ".join(f"'{name}'" for name in first["diverged"])
        also = f" (as did {len(lost) - 1} more)" if len(lost) > 1 else ""
        warnings.warn(
            f"training of member {first['member']}{also} diverged in epoch {first['epoch']}: the loss of {of} is no "
            f"number; its best state before is kept; lower learning_rate (it was {settings.learning_rate:.3g})",
            PlaitWarning,
            stacklevel=3,
        )


#: Training rows that are judged, drawn once: more would cost more than the training.
TRAIN_ROWS = 4096


class Scorer:
    """Scores of a member as it is: its branches weigh the same, since their mixture is learned only at the end.

    With one branch (``branches: [joint]``) that is the network itself. It takes nothing from a generator and changes no weight,
    so training gives the same numbers with and without it.
    """

    def __init__(
        self,
        task: Task,
        inputs: Inputs,
        target: Tensor,
        names: Sequence[str],
        prior: Sequence[float],
        test: tuple[Inputs, np.ndarray] | None = None,
    ) -> None:
        """Rows of the fit, and rows to be tested on."""
        self.task, self.inputs, self.target, self.names = task, inputs, target, tuple(names)
        self.prior, self.test = list(prior), test
        self.patterns = pattern_codes(names)
        self._truth = truth_of(task, target)

    def __call__(self, model: Branches, fold: Tensor, valid: Tensor) -> dict[str, Any]:
        """Part -> ``loss`` (test only; of the others the record has it), code of a pattern -> scores, and ``timing``."""
        drawn = torch.Generator().manual_seed(0)
        kept = fold[torch.randperm(len(fold), generator=drawn)[:TRAIN_ROWS]] if len(fold) > TRAIN_ROWS else fold
        result = {"train": self._part(model, self.inputs.take(kept), self._truth[kept.numpy()])}
        if len(valid):
            result["validation"] = self._part(model, self.inputs.take(valid), self._truth[valid.numpy()])
        if self.test is not None:
            result["test"] = self._part(model, *self.test, with_loss=True)
        return result

    def _part(
        self, model: Branches, inputs: Inputs, truth: np.ndarray, *, with_loss: bool = False
    ) -> dict[str, object]:
        mixture = Mixture(self.names, model.sources, self.prior)
        mixture.set_equal()
        outputs, seconds = self._outputs(model, inputs)
        result: dict[str, Any] = {
            "timing": {"total_time": seconds, "avg_batch_time": seconds / max(1, -(-len(inputs) // ROWS))}
        }
        for code, pattern in self.patterns.items():
            gone = {k: torch.zeros_like(v) for k, v in inputs.present.items() if k not in pattern}
            mixed = mixture.combine(outputs[code], {**inputs.present, **gone}, self.task)
            result[code] = scores(self.task.name, truth, self._answers(mixed))
        if with_loss:
            result["loss"] = self._loss(next(iter(outputs.values())), truth)
        return result

    def _outputs(self, model: Branches, inputs: Inputs) -> tuple[dict[str, dict[str, Tensor]], float]:
        """Code of a pattern -> branch -> outputs; and the seconds that the full pattern took. Cells are encoded once."""
        several = any(len(sources) > 1 for sources in model.sources.values())
        parts: dict[str, dict[str, list[Tensor]]] = {
            code: {name: [] for name in model.networks} for code in self.patterns
        }
        seconds = 0.0
        for start in range(0, len(inputs), ROWS):
            clock = time.perf_counter()
            batch = ahead(model, inputs.take(torch.arange(start, min(start + ROWS, len(inputs)))))
            full = out = {name: result.cpu() for name, result in model.outputs(batch).items()}
            seconds += time.perf_counter() - clock
            for code, pattern in self.patterns.items():
                if len(pattern) < len(self.names):  # a branch over one modality says what it said where that is there
                    out = {n: o.cpu() for n, o in model.outputs(batch.only(pattern)).items()} if several else full
                for name in model.networks:
                    parts[code][name].append((out if len(model.sources[name]) > 1 else full)[name])
        return {code: {n: torch.cat(o) for n, o in result.items()} for code, result in parts.items()}, seconds

    def _answers(self, mixed: Tensor) -> np.ndarray:
        decoded = self.task.decode(mixed).numpy()
        if self.task.name == "classification":
            return np.asarray(decoded.argmax(1))
        return np.asarray(decoded >= 0.5) if self.task.name == "multilabel" else decoded.astype(np.float64)

    def _loss(self, out: Mapping[str, Tensor], truth: np.ndarray) -> float | None:
        """Mean over branches and rows of a known class."""
        known = truth >= 0 if self.task.name == "classification" else np.ones(len(truth), dtype=bool)
        if not known.any():
            return None
        target = (
            torch.from_numpy(truth[known]) if self.task.name == "classification" else self.task.encode(truth[known])
        )
        rows = torch.from_numpy(np.flatnonzero(known))
        return float(torch.stack([self.task.row_loss(o[rows], target).mean() for o in out.values()]).mean())


@torch.inference_mode()
def ahead(model: Branches, inputs: Inputs) -> Inputs:
    """The rows on the model's device with the tokens of learning encoders computed, as they are in evaluation."""
    model.eval()
    batch = moved(inputs, model.device)
    return Inputs(model.encode(batch), {}, batch.present)


def truth_of(task: Task, target: Tensor) -> np.ndarray:
    """An encoded target as scores take it: codes, indicators, or values in the target's own unit."""
    return target.numpy() if task.name != "regression" else task.decode(target.double()).numpy()


def truth_given(task: Task, y: object) -> np.ndarray:
    """Targets of test rows as the estimator is given them; a class never seen is -1."""
    if task.name == "classification":
        return codes_of(y, task.classes)  # type: ignore[attr-defined]
    values = np.asarray(getattr(y, "indicator", y))
    return values.astype(np.int64 if task.name == "multilabel" else np.float64)


Array = np.ndarray

#: Task -> what is recorded of each pattern: as in ``plait.metrics``, but sixty times as fast, for it is asked after every epoch.
METRICS = {
    "classification": ("accuracy", "f1_macro", "f1_micro", "f1_weighted"),
    "multilabel": ("accuracy", "f1_samples", "f1_macro", "f1_micro", "f1_weighted"),
    "regression": ("mae", "rmse", "r2"),
}


def scores(task: str, y: Array, array: Array) -> dict[str, float]:
    """What is recorded of the answers to a part's rows.

    Shape:
        classification: y and array are codes (n,), -1 a class never seen; multilabel: indicators (n, C); regression:
        values (n,).

    Example:
        >>> scores("classification", np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))["accuracy"]
        0.75
    """
    if not len(y):
        return {}
    return {"classification": _classes, "multilabel": _labels, "regression": _numbers}[task](y, array)


def _f1(both: Array, either: Array) -> Array:
    """F1 of each class; NaN for one that is neither true nor said."""
    return np.where(either > 0, 2.0 * both / np.maximum(either, 1), np.nan)


def _classes(y: Array, array: Array) -> dict[str, float]:
    count = int(max(y.max(), array.max())) + 1
    true, said = np.bincount(y + 1, minlength=count + 1), np.bincount(array + 1, minlength=count + 1)
    both = np.bincount(y[y == array] + 1, minlength=count + 1)
    of_each = _f1(both, true + said)
    accuracy = float(np.mean(y == array))
    return {
        "accuracy": accuracy,
        "f1_macro": float(np.nanmean(of_each)),
        "f1_micro": accuracy,  # each row has one class and gets one
        "f1_weighted": float(np.nansum(np.nan_to_num(of_each) * true) / len(y)),
    }


def _labels(y: Array, array: Array) -> dict[str, float]:
    y, array = y.astype(bool), array.astype(bool)
    both, size = y & array, y.sum(1) + array.sum(1)
    rows = np.where(size > 0, 2.0 * both.sum(1) / np.maximum(size, 1), 1.0)  # rightly left without labels: 1
    true = y.sum(0)
    of_each = _f1(both.sum(0), true + array.sum(0))
    whole = int(true.sum() + array.sum())
    return {
        "accuracy": float((y == array).all(1).mean()),
        "f1_samples": float(rows.mean()),
        "f1_macro": float(np.nanmean(of_each)) if whole else float("nan"),
        "f1_micro": float(2.0 * both.sum() / whole) if whole else float("nan"),
        "f1_weighted": float(np.nansum(np.nan_to_num(of_each) * true) / true.sum()) if true.sum() else float("nan"),
    }


def _numbers(y: Array, array: Array) -> dict[str, float]:
    error = array - y
    spread = float(np.square(y - y.mean()).sum())
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "r2": 1.0 - float(np.square(error).sum()) / spread if spread > 0 else float("nan"),
    }
